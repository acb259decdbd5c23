"""A small assembler for eBPF: instructions by name, jumps by label.

Source: the kernel's ``Documentation/bpf/standardization/instruction-set.rst``. Arithmetic and comparisons use 32 bits,
as those of classic BPF do, unless ``wide`` is given; a 32-bit result clears the upper half of its register.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable
from enum import IntEnum

from cmonlab.errors import RuleError

# Instruction classes, and the bits that are or-ed to them.
_LDX, _ST, _STX, _ALU, _JMP, _JMP32, _ALU64 = 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07
_MEM, _REGISTER, _CALL, _EXIT, _BIG_ENDIAN = 0x60, 0x08, 0x80, 0x90, 0xD8
_MAP_VALUE, _ATOMIC_8_BYTES, _FETCH = 0x18, 0xDB, 0x01  # BPF_LD_IMM64 of BPF_PSEUDO_MAP_VALUE; STX; with ADD
_SIZES = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}  # bytes → size bits
_MAX_JUMP = 0x7FFF

ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR, MOV = range(0x00, 0xC0, 0x10)
_JA, JEQ, JGT, JGE, JSET, JNE = range(0x00, 0x60, 0x10)
JLT, JLE = 0xA0, 0xB0


class Register(IntEnum):
    """Registers: r0 results, r1–r5 arguments (calls destroy them), r6–r9 preserved, r10 end of the stack frame."""

    R0, R1, R2, R3, R4, R5, R6, R7, R8, R9, R10 = range(11)


def encode(opcode: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    """Encode one instruction.

    Parameters
    ----------
    opcode : int
        8 bits.
    dst, src : int
        Numbers of the destination and the source register, 0 to 10.
    offset : int
        16 bits, signed.
    imm : int
        Immediate operand, 32 bits, signed or unsigned.

    Returns
    -------
    bytes
        8 bytes.
    """
    return struct.pack("<BBhI", opcode, src << 4 | dst, offset, imm & 0xFFFFFFFF)


class Assembler:
    """Collects instructions, and resolves jumps to labels.

    An operand is a `Register` or an immediate number. A label is any hashable value; it is placed once, and jumps to
    it may come before or after.
    """

    def __init__(self) -> None:
        self._code: list[bytes] = []
        self._jumps: list[tuple[int, Hashable]] = []
        self._labels: dict[Hashable, int] = {}

    def __len__(self) -> int:
        """Return the number of instructions so far."""
        return len(self._code)

    def alu(self, operation: int, dst: Register, operand: Register | int = 0, *, wide: bool = False) -> None:
        """Append ``dst operation= operand``.

        Parameters
        ----------
        operation : int
            `ADD` to `MOV`.
        dst : Register
            Left operand and result.
        operand : Register or int
            Right operand; a number has 32 bits.
        wide : bool
            Compute with 64 bits, else with 32.
        """
        self._operate((_ALU64 if wide else _ALU) | operation, dst, operand)

    def big_endian(self, dst: Register, size_bytes: int) -> None:
        """Append a conversion of a big-endian number, as loaded from a packet, to the host's byte order.

        Parameters
        ----------
        dst : Register
            Holds the number, and then the result.
        size_bytes : int
            Size of the number: 2 or 4.
        """
        self._code.append(encode(_BIG_ENDIAN | _ALU, dst, imm=size_bytes * 8))

    def load(self, size_bytes: int, dst: Register, base: Register, offset: int) -> None:
        """Append a load from memory.

        Parameters
        ----------
        size_bytes : int
            1, 2, 4 or 8.
        dst : Register
            Receives the value.
        base : Register
            Holds an address.
        offset : int
            Bytes after that address, 16 bits, signed.
        """
        self._code.append(encode(_LDX | _MEM | _SIZES[size_bytes], dst, base, offset))

    def store(self, size_bytes: int, base: Register, offset: int, operand: Register | int) -> None:
        """Append a store to memory.

        Parameters
        ----------
        size_bytes : int
            1, 2, 4 or 8.
        base : Register
            Holds an address.
        offset : int
            Bytes after that address, 16 bits, signed.
        operand : Register or int
            Value to store; a number has 32 bits.
        """
        kind = _STX if isinstance(operand, Register) else _ST
        self._operate(kind | _MEM | _SIZES[size_bytes], base, operand, offset, source_bit=0)

    def map_value(self, dst: Register, map_fd: int) -> None:
        """Append a load of the address of an array map's first value.

        Parameters
        ----------
        dst : Register
            Receives the address.
        map_fd : int
            File descriptor of the map.
        """
        self._code += [encode(_MAP_VALUE, dst, 2, imm=map_fd), encode(0)]

    def fetch_and_add(self, base: Register, offset: int, register: Register) -> None:
        """Append an atomic addition to a 64-bit number in memory.

        Parameters
        ----------
        base : Register
            Holds an address.
        offset : int
            Bytes after that address, 16 bits, signed.
        register : Register
            Number to add; then holds the number in memory before the addition.
        """
        self._code.append(encode(_ATOMIC_8_BYTES, base, register, offset, ADD | _FETCH))

    def jump_if(self, condition: int, left: Register, operand: Register | int, label: Hashable) -> None:
        """Append a jump that is taken if ``left condition operand`` is true for unsigned 32-bit numbers.

        Parameters
        ----------
        condition : int
            `JEQ` to `JLE`.
        left : Register
            Left operand.
        operand : Register or int
            Right operand.
        label : hashable
            Target of the jump.
        """
        self._jumps.append((len(self._code), label))
        self._operate(_JMP32 | condition, left, operand)

    def jump(self, label: Hashable) -> None:
        """Append an unconditional jump to a label."""
        self._jumps.append((len(self._code), label))
        self._code.append(encode(_JMP | _JA))

    def call(self, helper: int) -> None:
        """Append a call of the kernel helper with this number (``enum bpf_func_id``)."""
        self._code.append(encode(_JMP | _CALL, imm=helper))

    def exit(self) -> None:
        """Append a return of r0."""
        self._code.append(encode(_JMP | _EXIT))

    def place(self, label: Hashable) -> None:
        """Set a label to the position of the next instruction."""
        self._labels[label] = len(self._code)

    def assemble(self) -> bytes:
        """Return the instructions, 8 bytes each, with the distances of jumps filled in.

        Raises
        ------
        RuleError
            A jump is longer than 16 bits can express.
        """
        code = list(self._code)
        for at, label in self._jumps:
            distance = self._labels[label] - at - 1
            if abs(distance) > _MAX_JUMP:
                raise RuleError(
                    "the rule is too long for the kernel",
                    why=f"it needs a jump over {distance} instructions of at most {_MAX_JUMP}",
                    fix="write a simpler expression",
                )
            code[at] = code[at][:2] + struct.pack("<h", distance) + code[at][4:]
        return b"".join(code)

    def _operate(
        self, opcode: int, dst: Register, operand: Register | int, offset: int = 0, source_bit: int = _REGISTER
    ) -> None:
        if isinstance(operand, Register):
            self._code.append(encode(opcode | source_bit, dst, operand, offset))
        else:
            self._code.append(encode(opcode, dst, 0, offset, operand))
