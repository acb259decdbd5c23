"""Translation of all rules' filters from classic BPF to one eBPF function.

Problem. Every traced packet must be compared with up to 32 filters, in a few tens of nanoseconds. libpcap compiles a
filter to classic BPF, which tracing programs cannot run. Each filter must therefore become eBPF that the kernel's
verifier accepts, and rules come and go while programs run.

Why the obvious approaches fail. Generating C would put the user's text in front of a compiler, and run it for each
change. An interpreter in eBPF is slow and needs a loop over instructions. Translating instruction by instruction has
three costs:

- A packet lies in kernel memory, which a tracing program may only read by a helper call
  (``bpf_probe_read_kernel``): one call per load.
- Each load needs a check that it is inside the packet, although most checks repeat an earlier one.
- The verifier follows each path with all that it knows about each value. Every filter that compares a length
  multiplies the number of paths through the filters after it, until the verifier's limit is reached.

Approach.

1. The calling program copies the first 48 bytes of the packet, from its IP header on, to its stack (the window). A
   load at a constant offset in the window is a plain load instruction; unaligned ones are put together from aligned
   pieces, because the verifier requires aligned reads of the stack.
2. Offsets behind the IPv4 header depend on register X, the header's length. `cbpf.Paths` splits the program: where X
   is 20, which is nearly always, these offsets are constant; elsewhere the helper reads the bytes.
3. `cbpf.Paths` also knows how many bytes are certain to exist in each state. A length is compared only where a load
   goes beyond them.
4. All filters are in one function. Each one sets its bit in a mask on the stack if it accepts the packet.
5. Mask and lengths are read from stack slots that the verifier does not track (4 bytes, not at a multiple of 8). It
   then treats them as unknown numbers, and visits each filter once and not once per earlier outcome.
6. A (r5) and X (r6) are 32-bit registers. Arguments are stored to the stack if a filter needs them later, as r1 to r5
   do not survive a helper call.

No text of a user reaches the output: only numbers of checked classic BPF instructions do.
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
# Layout of the stack frame, as offsets from its end. The lengths and the mask are at offsets that are not multiples of
# 8 (step 5 above).
_ARGUMENTS = {_WINDOW: (8, -8), _ADDRESS: (8, -16), _LINEAR: (4, -20), _TOTAL: (4, -28)}  # size, offset
_SAVED_A, _READ_BUFFER, _SCRATCH = -24, -32, -36
_MASK = -100


def match_program(rules: Sequence[tuple[int, Sequence[Instruction]]]) -> bytes:
    """Translate rules into one eBPF function that returns which of them match a packet.

    The function gives the same results as libpcap's ``bpf_filter()`` for a packet that begins with its IP header.
    Loads are big-endian. A load outside of the linear part of the packet or beyond 64 KiB rejects the packet, and so
    does a division by zero. A shift by 32 or more gives 0.

    Parameters
    ----------
    rules : sequence of (int, sequence of Instruction)
        Slot of each rule, 0 to 31, and its classic BPF.

    Returns
    -------
    bytes
        eBPF instructions, 8 bytes each, without relocations: a function that programs loaded together with it can
        call. Its arguments, where "start" is the first byte of the packet's IP header:

        - r1: address of a copy of the first `WINDOW_BYTES` from the start, on the caller's stack, aligned to 8 bytes
        - r2: number of linear bytes from the start, u32, at least 20
        - r3: length of the packet from the start, bytes, u32
        - r4: kernel address of the start, a scalar

        Result in r0: bit ``1 << slot`` is set for each rule that matches. The function needs at most 104 bytes of
        stack.

    Raises
    ------
    RuleError
        A program has an opcode that cmonlab does not know, jumps out of itself, ends without a return or is too long
        for eBPF's 16-bit jumps; or a slot is not in 0 to 31.
    """
    for slot, _ in rules:
        if not 0 <= slot < SLOTS:
            raise RuleError(f"there is no slot {slot} for a rule", why=f"they are 0 to {SLOTS - 1}")
    asm, head = Assembler(), Assembler()
    stored: set[Register] = set()
    for slot, program in rules:
        _Translation(asm, 1 << slot, Paths(program), stored).emit()
    asm.load(4, _SPARE, _FRAME, _MASK)
    asm.exit()
    for register in sorted(stored):
        size, offset = _ARGUMENTS[register]
        head.store(size, _FRAME, offset, register)
    # Mask = 0, computed as total - total: the verifier sees an unknown number, so setting a bit later does not create
    # a new verifier state.
    head.alu(MOV, _SPARE, _TOTAL, wide=True)
    head.alu(SUB, _SPARE, _TOTAL, wide=True)
    head.store(4, _FRAME, _MASK, _SPARE)
    return head.assemble() + asm.assemble()


class _Translation:
    """Code of one rule. Its labels are pairs of the object itself and a state, `ACCEPT` or `REJECT`.

    Parameters
    ----------
    asm : Assembler
        Receives the code.
    bit : int
        The rule's bit in the mask.
    paths : Paths
        Control flow graph of the rule's program.
    stored : set of Register
        Receives the arguments that the function has to store in its frame.
    """

    def __init__(self, asm: Assembler, bit: int, paths: Paths, stored: set[Register]):
        self._asm, self._bit, self._paths, self._stored = asm, bit, paths, stored

    def emit(self) -> None:
        """Append the code, and add the arguments that it reads from the frame to `stored`."""
        self._initialise()
        for state, following in self._paths.order():
            targets = self._paths.targets[state]
            self._asm.place((self, state))
            if targets != (REJECT,):
                self._compute(state)
            self._jump(state, targets, following)
        if self._paths.accepts:
            self._asm.place((self, ACCEPT))
            self._asm.load(4, _SPARE, _FRAME, _MASK)
            self._asm.alu(OR, _SPARE, self._bit)
            self._asm.store(4, _FRAME, _MASK, _SPARE)
        self._asm.place((self, REJECT))

    def _initialise(self) -> None:
        """Set registers and scratch words to 0 that may be read before they are written."""
        program, first = self._paths.program, self._paths.needed[0]
        for name, register in (("A", _A), ("X", _X)):
            if name in first:
                self._asm.alu(MOV, register, 0)
        loads = (program[state.at] for state in self._paths.targets)
        for word in sorted({i.k for i in loads if i.scratch and i.kind in (cbpf.LD, cbpf.LDX)}):
            self._asm.store(4, _FRAME, _scratch(word), 0)

    def _jump(self, state: State, targets: tuple[State | str, ...], following: State | str) -> None:
        """Append the jumps to the targets; the one that follows in the code needs no jump."""
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
        """Append the effect of an instruction, without its jumps."""
        asm, instruction = self._asm, self._paths.program[state.at]
        into = _A if instruction.kind == cbpf.LD else _X
        if instruction.kind == cbpf.ALU:
            self._arithmetic(state, instruction.operation)
        elif instruction.kind in (cbpf.ST, cbpf.STX):
            asm.store(4, _FRAME, _scratch(instruction.k), _A if instruction.kind == cbpf.ST else self._x(state))
        elif instruction.code == cbpf.TAX:
            asm.alu(MOV, _X, _A)
        elif instruction.code == cbpf.TXA:
            asm.alu(MOV, _A, self._x(state))
        elif instruction.size_bytes:
            self._load_packet(state, into, instruction.size_bytes)
            if instruction.mode == cbpf.MSH:
                asm.alu(AND, _X, 0x0F)
                asm.alu(LSH, _X, 2)
        elif instruction.kind in (cbpf.LD, cbpf.LDX):
            if instruction.mode == cbpf.MEM:
                asm.load(4, into, _FRAME, _scratch(instruction.k))
            elif instruction.mode == cbpf.LEN:
                self._load_argument(into, _TOTAL)
            else:
                asm.alu(MOV, into, instruction.k)

    def _arithmetic(self, state: State, operation: int) -> None:
        """Append an operation on A; classic BPF and eBPF differ in division by 0 and in shifts by 32 or more."""
        asm, operand = self._asm, self._operand(state)
        if operation == cbpf.NEG:
            asm.alu(operation, _A)
        elif isinstance(operand, Register):
            if operation in cbpf.DIVISIONS:
                asm.jump_if(JEQ, operand, 0, (self, REJECT))
            asm.alu(operation, _A, operand)
            if operation in cbpf.SHIFTS:
                asm.jump_if(JLT, operand, 32, (self, state, "shifted"))
                asm.alu(MOV, _A, 0)
                asm.place((self, state, "shifted"))
        elif operation in cbpf.SHIFTS and operand > 31:
            asm.alu(MOV, _A, 0)
        else:
            asm.alu(operation, _A, operand)

    def _load_packet(self, state: State, into: Register, size: int) -> None:
        """Append a load of `size` bytes from the packet, with a check of the length where it is needed."""
        asm, offset = self._asm, self._paths.offset(state)
        if offset is None:
            k = self._paths.program[state.at].k
            asm.jump_if(JGT, _X, cbpf.MAX_OFFSET - k, (self, REJECT))
            asm.alu(MOV, _SPARE, _X)
            asm.alu(ADD, _SPARE, k + size)
            self._load_argument(_LINEAR, _LINEAR)
            asm.jump_if(JGT, _SPARE, _LINEAR, (self, REJECT))
        elif offset + size > self._paths.sure_bytes[state]:
            self._load_argument(_LINEAR, _LINEAR)
            asm.jump_if(JLT, _LINEAR, offset + size, (self, REJECT))
        if offset is None or offset + size > WINDOW_BYTES:
            self._load_by_helper(state, into, size)
        elif offset % size == 0:
            self._load_window(into, offset, size)
        else:
            self._load_unaligned(into, offset, size)

    def _load_window(self, into: Register, offset: int, size: int) -> None:
        self._asm.load(size, into, _WINDOW, offset)
        if size > 1:
            self._asm.big_endian(into, size)

    def _load_unaligned(self, into: Register, offset: int, size: int) -> None:
        """Append a load from the window in aligned pieces: the verifier refuses unaligned reads of the stack."""
        cuts = [at for at in range(offset, offset + size + 1) if at % 2 == 0 or at in (offset, offset + size)]
        for start, end in pairwise(cuts):
            self._load_window(into if start == offset else _SPARE, start, end - start)
            if start > offset:
                self._asm.alu(LSH, into, 8 * (end - start))
                self._asm.alu(OR, into, _SPARE)

    def _load_by_helper(self, state: State, into: Register, size: int) -> None:
        """Append a call of ``bpf_probe_read_kernel``; r1 to r5 do not survive it."""
        asm, offset = self._asm, self._paths.offset(state)
        save_a = into == _X and "A" in self._paths.needed[state.at + 1]
        if save_a:
            asm.store(4, _FRAME, _SAVED_A, _A)
        self._load_argument(Register.R3, _ADDRESS)
        if offset is None:
            asm.alu(ADD, Register.R3, _X, wide=True)
            offset = self._paths.program[state.at].k
        if offset:
            asm.alu(ADD, Register.R3, offset, wide=True)
        asm.alu(MOV, Register.R1, _FRAME, wide=True)
        asm.alu(ADD, Register.R1, _READ_BUFFER, wide=True)
        asm.alu(MOV, Register.R2, size)
        asm.call(_PROBE_READ_KERNEL)
        self._load_argument(_WINDOW, _WINDOW)
        asm.jump_if(JNE, _SPARE, 0, (self, REJECT))
        asm.load(size, into, _FRAME, _READ_BUFFER)
        if size > 1:
            asm.big_endian(into, size)
        if save_a:
            asm.load(4, _A, _FRAME, _SAVED_A)

    def _load_argument(self, into: Register, argument: Register) -> None:
        """Append a load of an argument of the function from the frame."""
        size, offset = _ARGUMENTS[argument]
        self._stored.add(argument)
        self._asm.load(size, into, _FRAME, offset)

    def _operand(self, state: State) -> Register | int:
        instruction = self._paths.program[state.at]
        return self._x(state) if instruction.by_x else instruction.k

    def _x(self, state: State) -> Register | int:
        return _X if state.any_x else cbpf.SHORT_HEADER_BYTES


def _scratch(word: int) -> int:
    """Return the offset of a scratch word in the frame."""
    return _SCRATCH - 4 * word
