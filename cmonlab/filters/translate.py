"""From classic BPF to eBPF: all rules in one function, which the programs call for each packet.

No rule meets a compiler: what gets into the code are numbers out of classic programs.
Loads from the first bytes of the packet are plain loads, all others, which are rare,
calls of ``bpf_probe_read_kernel``; that a load is inside of the packet is checked where
no earlier check says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from cmonlab.errors import RuleError

from . import cbpf
from .cbpf import ACCEPT, REJECT, Instruction, Paths, State
from .ebpf import ADD, AND, JEQ, JGE, JGT, JLE, JLT, JNE, LSH, MOV, OR, SUB, Assembler, Register

WINDOW_BYTES = 48
SLOTS = 32
_PROBE_READ_KERNEL = 113
_INVERSE = {JEQ: JNE, JNE: JEQ, JGT: JLE, JGE: JLT}

_SPARE, _WINDOW, _LINEAR, _TOTAL, _ADDRESS, _A, _X = (Register(number) for number in range(7))
_FRAME = Register.R10
# The frame: arguments as (size, offset); A during a call; what a call read; scratch words. The lengths are compared in
# copies read from here, where the verifier does not follow them, as they are not at a multiple of 8: if it knew what
# is left of their range on each path, it would walk through all later rules once for each range.
_HOMES = {_WINDOW: (8, -8), _ADDRESS: (8, -16), _LINEAR: (4, -20), _TOTAL: (4, -28)}
_HOME_OF_A, _READ, _WORDS = -24, -32, -36
_MASK = -100  # the result lies there, too, and for the same reason


def match_program(rules: Sequence[tuple[int, Sequence[Instruction]]]) -> bytes:
    """Translate rules into one eBPF function that says which of them take a packet.

    It does what libpcap's ``bpf_filter()`` does with a packet that begins with its IP
    header.  Loads are big-endian; one that reaches outside of the linear part, or begins
    beyond 64 KiB, and a division by zero reject; a shift by 32 or more gives 0.

    Parameters
    ----------
    rules : sequence of (int, sequence of Instruction)
        Each rule's slot, 0 to 31, and its classic BPF.

    Returns
    -------
    bytes
        eBPF instructions, 8 bytes each, without relocations: a function to be called
        from programs in the same load.  Arguments: r1 a copy of the first `WINDOW_BYTES` of
        the packet from its IP header on, on the caller's stack, aligned to 8 bytes;
        r2 the bytes that are linear from there on, u32, at least 20; r3 the packet's
        length from there on, u32; r4 the kernel address of that place, a scalar.  Result
        in r0: a bit for each slot whose rule takes the packet.  The function needs at
        most 104 bytes of stack.

    Raises
    ------
    RuleError
        An opcode that cmonlab does not know, a jump out of the program, an end without a
        return, a rule too long for the kernel's jumps, or a slot that the result has no
        bit for.
    """
    for slot, _ in rules:
        if not 0 <= slot < SLOTS:
            raise RuleError(f"there is no slot {slot} for a rule", why=f"they are 0 to {SLOTS - 1}")
    asm, head = Assembler(), Assembler()
    kept: set[Register] = set()
    for slot, program in rules:
        _Translation(asm, 1 << slot, Paths(program), kept).emit()
    asm.load(4, _SPARE, _FRAME, _MASK)
    asm.exit()
    for register in sorted(kept):
        size, offset = _HOMES[register]
        head.store(size, _FRAME, offset, register)
    # A 0 that the verifier takes for any number, so that a bit that is set is nothing new to it.
    head.alu(MOV, _SPARE, _TOTAL, wide=True)
    head.alu(SUB, _SPARE, _TOTAL, wide=True)
    head.store(4, _FRAME, _MASK, _SPARE)
    return head.assemble() + asm.assemble()


class _Translation:
    """One rule's part of the function; its labels are (itself, a state or `ACCEPT` or `REJECT`)."""

    def __init__(self, asm: Assembler, bit: int, paths: Paths, kept: set[Register]):
        self._asm, self._bit, self._paths, self._kept = asm, bit, paths, kept

    def emit(self) -> None:
        """Append the code, and enter into `kept` which arguments have to be in the frame."""
        self._clear()
        for state, following in self._paths.order():
            targets = self._paths.targets[state]
            self._asm.place((self, state))
            if targets != (REJECT,):
                self._compute(state)
            self._go_on(state, targets, following)
        if self._paths.accepts:
            self._asm.place((self, ACCEPT))
            self._asm.load(4, _SPARE, _FRAME, _MASK)
            self._asm.alu(OR, _SPARE, self._bit)
            self._asm.store(4, _FRAME, _MASK, _SPARE)
        self._asm.place((self, REJECT))

    def _clear(self) -> None:
        """Set to 0 what may be read before it is set."""
        program, first = self._paths.program, self._paths.needed[0]
        for name, register in (("A", _A), ("X", _X)):
            if name in first:
                self._asm.alu(MOV, register, 0)
        loads = (program[state.at] for state in self._paths.targets)
        for word in sorted({i.k for i in loads if i.scratch and i.kind in (cbpf.LD, cbpf.LDX)}):
            self._asm.store(4, _FRAME, _home(word), 0)

    def _go_on(self, state: State, targets: tuple[State | str, ...], following: State | str) -> None:
        """Append the jumps to the targets, given which of them needs none."""
        if len(targets) == 1:
            if targets[0] != following:
                self._asm.jump((self, targets[0]))
            return
        holds, fails = targets
        condition, register, operand = self._condition(state)
        if holds == following and condition in _INVERSE:
            self._asm.jump_if(_INVERSE[condition], register, operand, (self, fails))
            return
        self._asm.jump_if(condition, register, operand, (self, holds))
        if fails != following:
            self._asm.jump((self, fails))

    def _condition(self, state: State) -> tuple[int, Register, Register | int]:
        instruction = self._paths.program[state.at]
        if instruction.kind == cbpf.LDX:
            return JEQ, _X, cbpf.SHORT_HEADER_BYTES
        if instruction.kind == cbpf.RET:
            return JNE, _X if instruction.code == cbpf.RETURN_X else _A, 0
        return instruction.operation, _A, self._operand(state)

    def _compute(self, state: State) -> None:
        """Append what an instruction does apart from jumping."""
        asm, instruction = self._asm, self._paths.program[state.at]
        into = _A if instruction.kind == cbpf.LD else _X
        if instruction.kind == cbpf.ALU:
            self._arithmetic(state, instruction.operation)
        elif instruction.kind in (cbpf.ST, cbpf.STX):
            asm.store(4, _FRAME, _home(instruction.k), _A if instruction.kind == cbpf.ST else self._x(state))
        elif instruction.code == cbpf.TAX:
            asm.alu(MOV, _X, _A)
        elif instruction.code == cbpf.TXA:
            asm.alu(MOV, _A, self._x(state))
        elif instruction.size_bytes:
            self._packet(state, into, instruction.size_bytes)
            if instruction.mode == cbpf.MSH:
                asm.alu(AND, _X, 0x0F)
                asm.alu(LSH, _X, 2)
        elif instruction.kind in (cbpf.LD, cbpf.LDX):
            if instruction.mode == cbpf.MEM:
                asm.load(4, into, _FRAME, _home(instruction.k))
            elif instruction.mode == cbpf.LEN:
                self._fetch(into, _TOTAL)
            else:
                asm.alu(MOV, into, instruction.k)

    def _arithmetic(self, state: State, operation: int) -> None:
        asm, operand = self._asm, self._operand(state)
        by_register = isinstance(operand, Register)
        if operation == cbpf.NEG:
            asm.alu(operation, _A)
        elif operation in cbpf.SHIFTS and not by_register and operand > 31:
            asm.alu(MOV, _A, 0)
        else:
            if operation in cbpf.DIVISIONS and by_register:
                asm.jump_if(JEQ, operand, 0, (self, REJECT))
            asm.alu(operation, _A, operand)
            if operation in cbpf.SHIFTS and by_register:
                asm.jump_if(JLT, operand, 32, (self, state, "shifted"))
                asm.alu(MOV, _A, 0)
                asm.place((self, state, "shifted"))

    def _packet(self, state: State, into: Register, size: int) -> None:
        """Append a checked load of `size` bytes out of the packet."""
        asm, offset = self._asm, self._paths.offset(state)
        if offset is None:
            k = self._paths.program[state.at].k
            asm.jump_if(JGT, _X, cbpf.FARTHEST - k, (self, REJECT))
            asm.alu(MOV, _SPARE, _X)
            asm.alu(ADD, _SPARE, k + size)
            self._fetch(_LINEAR, _LINEAR)
            asm.jump_if(JGT, _SPARE, _LINEAR, (self, REJECT))
        elif offset + size > self._paths.sure_bytes[state]:
            self._fetch(_LINEAR, _LINEAR)
            asm.jump_if(JLT, _LINEAR, offset + size, (self, REJECT))
        if self._is_far(state):
            self._far(state, into, size)
        elif offset % size == 0:
            self._near(into, offset, size)
        else:
            self._pieces(into, offset, size)

    def _near(self, into: Register, offset: int, size: int) -> None:
        self._asm.load(size, into, _WINDOW, offset)
        if size > 1:
            self._asm.big_endian(into, size)

    def _pieces(self, into: Register, offset: int, size: int) -> None:
        """Append a load that the verifier would refuse as a whole: from the stack it takes aligned ones only."""
        cuts = [at for at in range(offset, offset + size + 1) if at % 2 == 0 or at in (offset, offset + size)]
        for start, end in pairwise(cuts):
            self._near(into if start == offset else _SPARE, start, end - start)
            if start > offset:
                self._asm.alu(LSH, into, 8 * (end - start))
                self._asm.alu(OR, into, _SPARE)

    def _far(self, state: State, into: Register, size: int) -> None:
        """Append a call that reads kernel memory; r1 to r5 do not survive it."""
        asm, offset = self._asm, self._paths.offset(state)
        keep_a = into == _X and "A" in self._paths.needed[state.at + 1]
        if keep_a:
            asm.store(4, _FRAME, _HOME_OF_A, _A)
        self._fetch(Register.R3, _ADDRESS)
        if offset is None:
            asm.alu(ADD, Register.R3, _X, wide=True)
            offset = self._paths.program[state.at].k
        if offset:
            asm.alu(ADD, Register.R3, offset, wide=True)
        asm.alu(MOV, Register.R1, _FRAME, wide=True)
        asm.alu(ADD, Register.R1, _READ, wide=True)
        asm.alu(MOV, Register.R2, size)
        asm.call(_PROBE_READ_KERNEL)
        self._fetch(_WINDOW, _WINDOW)
        asm.jump_if(JNE, _SPARE, 0, (self, REJECT))
        asm.load(size, into, _FRAME, _READ)
        if size > 1:
            asm.big_endian(into, size)
        if keep_a:
            asm.load(4, _A, _FRAME, _HOME_OF_A)

    def _fetch(self, into: Register, argument: Register) -> None:
        """Append a load of an argument from its home."""
        size, offset = _HOMES[argument]
        self._kept.add(argument)
        self._asm.load(size, into, _FRAME, offset)

    def _is_far(self, state: State) -> bool:
        offset = self._paths.offset(state)
        return offset is None or offset + self._paths.program[state.at].size_bytes > WINDOW_BYTES

    def _operand(self, state: State) -> Register | int:
        instruction = self._paths.program[state.at]
        return self._x(state) if instruction.by_x else instruction.k

    def _x(self, state: State) -> Register | int:
        return _X if state.any_x else cbpf.SHORT_HEADER_BYTES


def _home(word: int) -> int:
    """Return where in the frame a scratch word lies."""
    return _WORDS - 4 * word
