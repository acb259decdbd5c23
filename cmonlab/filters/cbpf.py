"""Classic BPF: its instructions, and the control flow of a program.

Source: linux/bpf_common.h and the kernel's ``Documentation/networking/filter.rst``.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cmonlab.errors import RuleError

# Parts of an opcode: class, addressing mode, source of the operand, operation.
LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)
IMM, ABS, IND, MEM, LEN, MSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0
X = 0x08
NEG, DIVISIONS, SHIFTS = 0x80, (0x30, 0x90), (0x60, 0x70)
RETURN_K, RETURN_X, RETURN_A = RET, RET | X, RET | 0x10
JUMP, TAX, TXA = JMP, MISC, MISC | 0x80
ACCEPT, REJECT = "accept", "reject"
SURE_BYTES = 20  # every packet has at least these: cmonlab does not match shorter ones
SHORT_HEADER_BYTES = 20  # an IPv4 header without options
MAX_OFFSET = 0xFFFF  # of a load
_BYTES = {0x00: 4, 0x08: 2, 0x10: 1}
_SCRATCH_WORDS = 16
_OPERATIONS = (0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0)
_CONDITIONS = (0x10, 0x20, 0x30, 0x40)

_KNOWN = frozenset(
    {LD | IMM, LD | LEN, LD | MEM, LDX | IMM, LDX | LEN, LDX | MEM, LDX | MSH | 0x10, ST, STX, ALU | NEG}
    | {LD | mode | size for mode in (ABS, IND) for size in _BYTES}
    | {ALU | operation | source for operation in _OPERATIONS for source in (0, X)}
    | {JMP | condition | source for condition in _CONDITIONS for source in (0, X)}
    | {JUMP, RETURN_K, RETURN_X, RETURN_A, TAX, TXA}
)


@dataclass(frozen=True)
class Instruction:
    """One instruction of classic BPF.

    Attributes
    ----------
    code : int
        Opcode, 16 bits.
    jt, jf : int
        Number of instructions to skip if a comparison is true, and if it is false; 8 bits.
    k : int
        Operand, 32 bits, unsigned.

    Raises
    ------
    RuleError
        A field is not an integer, or does not fit into its bits.
    """

    code: int
    jt: int
    jf: int
    k: int

    def __post_init__(self) -> None:
        for name, top in (("code", 0xFFFF), ("jt", 0xFF), ("jf", 0xFF), ("k", 0xFFFFFFFF)):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= top:
                raise RuleError(
                    f"an instruction of the filter has {name} = {value!r}",
                    why=f"it must be a whole number from 0 to {top}",
                    fix="take the instructions from compile_expression()",
                )

    @property
    def kind(self) -> int:
        """Class of the instruction, `LD` to `MISC`."""
        return self.code & 0x07

    @property
    def mode(self) -> int:
        """Addressing mode of a load, `IMM` to `MSH`."""
        return self.code & 0xE0

    @property
    def operation(self) -> int:
        """Condition of a jump, or operation of an arithmetic instruction; eBPF uses the same numbers."""
        return self.code & 0xF0

    @property
    def size_bytes(self) -> int:
        """Number of bytes that a load reads from the packet; 0 if the instruction does not read the packet."""
        return _BYTES[self.code & 0x18] if self.kind in (LD, LDX) and self.mode in (ABS, IND, MSH) else 0

    @property
    def by_x(self) -> bool:
        """Whether X is the operand of a comparison or of an arithmetic instruction."""
        return self.kind in (ALU, JMP) and bool(self.code & X)

    @property
    def scratch(self) -> bool:
        """Whether the instruction loads or stores scratch word `k`."""
        return self.kind in (ST, STX) or (self.kind in (LD, LDX) and self.mode == MEM)


class State(NamedTuple):
    """Node of the control flow graph: an instruction, and what is known about X before it runs.

    Attributes
    ----------
    at : int
        Index of the instruction in the program.
    any_x : bool
        True if X may have any value here; False if X is `SHORT_HEADER_BYTES`.
    """

    at: int
    any_x: bool


class Paths:
    """Control flow graph of a program; it has no loops.

    X nearly always holds the length of an IPv4 header, which is nearly always 20 bytes. The instructions after the
    load of X are therefore in the graph twice: once for X = 20, and once for any X. Jumps to jumps are resolved, and
    a return of a constant becomes `ACCEPT` or `REJECT`.

    Parameters
    ----------
    program : sequence of Instruction
        Classic BPF, which only jumps forwards.

    Attributes
    ----------
    program : tuple of Instruction
        The program as given.
    needed : dict of int to frozenset of str
        By index of each reachable instruction: the registers (``"A"``, ``"X"``) whose values are read by this
        instruction or a later one (liveness).
    start : State or str
        First state; `ACCEPT` or `REJECT` if the program does nothing else.
    targets : dict of State to tuple of State or str
        Successors of each state: one, or two (if a condition is true, if it is false). A successor is a state,
        `ACCEPT` or `REJECT`.
    sure_bytes : dict of State to int
        Number of bytes of the packet that are known to exist when a state is reached.

    Raises
    ------
    RuleError
        The program has an opcode that cmonlab does not know, uses a scratch word that does not exist, jumps out of
        the program, or ends without a return.
    """

    def __init__(self, program: Sequence[Instruction]):
        self.program = tuple(program)
        self.needed = _needed(self.program)
        self.start = self._resolved(State(0, True))
        self.targets: dict[State, tuple[State | str, ...]] = {}
        self.sure_bytes = {self.start: SURE_BYTES} if isinstance(self.start, State) else {}
        for at in self.needed:
            for state in (State(at, False), State(at, True)):
                if state in self.sure_bytes:
                    self._add_successors(state)

    @property
    def accepts(self) -> bool:
        """Whether any path accepts the packet."""
        return self.start == ACCEPT or any(ACCEPT in targets for targets in self.targets.values())

    def offset(self, state: State) -> int | None:
        """Return the offset in bytes of a load from the packet; None if it depends on X."""
        instruction = self.program[state.at]
        if instruction.mode != IND:
            return instruction.k
        return None if state.any_x else SHORT_HEADER_BYTES + instruction.k

    def order(self) -> Iterator[tuple[State, State | str]]:
        """Yield the states in topological order, each with the one that follows it in this order.

        Yields
        ------
        state : State
            A state; all its predecessors have been yielded before.
        following : State or str
            The next state that will be yielded. After the last state: `ACCEPT`, or `REJECT` if no path accepts.
        """
        waiting_for = Counter(target for targets in self.targets.values() for target in targets)
        state: State | str | None = self.start
        others: list[State] = []
        while isinstance(state, State):
            waiting_for.subtract(self.targets[state])
            ready = sorted(t for t in self.targets[state] if isinstance(t, State) and not waiting_for[t])
            for target in ready[1:]:
                heapq.heappush(others, target)
            following = ready[0] if ready else heapq.heappop(others) if others else None
            yield state, following or (ACCEPT if self.accepts else REJECT)
            state = following

    def _add_successors(self, state: State) -> None:
        """Enter the successors of a state, and how many bytes are known to exist there."""
        sure, size, offset = self.sure_bytes[state], self.program[state.at].size_bytes, self.offset(state)
        if size and offset is not None:
            sure = max(sure, offset + size)
        targets = [self._resolved(goal) if isinstance(goal, State) else goal for goal in self._goals(state)]
        self.targets[state] = tuple(dict.fromkeys(targets))
        for target in targets:
            if isinstance(target, State):
                self.sure_bytes[target] = min(sure, self.sure_bytes.get(target, sure))

    def _goals(self, state: State) -> list[State | str]:
        """Return the successors as the instruction itself names them."""
        instruction, at = self.program[state.at], state.at + 1
        if self._always_rejects(state):
            return [REJECT]
        if instruction.kind == RET:  # returns of a constant are no states, see _resolved()
            return [ACCEPT] if instruction.code == RETURN_X and not state.any_x else [ACCEPT, REJECT]
        if instruction.kind == LDX and instruction.mode == MSH and "X" in self.needed[at]:
            return [State(at, False), State(at, True)]
        # Before an instruction that sets X, X is not needed, so any_x is True there already: see _resolved().
        return [State(target, state.any_x) for target in _following(self.program, state.at)]

    def _always_rejects(self, state: State) -> bool:
        """Return whether the instruction rejects every packet: a load beyond 64 KiB, or a division by 0."""
        instruction = self.program[state.at]
        if instruction.size_bytes:
            offset = self.offset(state)
            return (instruction.k if offset is None else offset) > MAX_OFFSET
        divides = instruction.kind == ALU and instruction.operation in DIVISIONS
        return divides and not instruction.by_x and not instruction.k

    def _resolved(self, goal: State) -> State | str:
        """Return the state behind unconditional jumps; X counts as unknown if no later instruction reads it."""
        at = goal.at
        while self.program[at].code == JUMP:
            (at,) = _following(self.program, at)
        if self.program[at].code == RETURN_K:
            return ACCEPT if self.program[at].k else REJECT
        return State(at, goal.any_x or "X" not in self.needed[at])


def _following(program: Sequence[Instruction], at: int) -> tuple[int, ...]:
    """Return the indices of the instructions that may run after the one at `at`."""
    instruction = program[at]
    if instruction.code not in _KNOWN:
        raise _not_usable(f"it contains opcode {instruction.code:#06x}, which cmonlab cannot translate")
    if instruction.scratch and instruction.k >= _SCRATCH_WORDS:
        raise _not_usable(f"it uses scratch word {instruction.k} of {_SCRATCH_WORDS}")
    if instruction.kind == RET:
        return ()
    if instruction.kind == JMP:
        skips = (instruction.k,) if instruction.code == JUMP else (instruction.jt, instruction.jf)
        if at + 1 + max(skips) >= len(program):
            raise _not_usable(f"instruction {at} jumps out of the program")
        return tuple(at + 1 + skip for skip in skips)
    if at + 1 == len(program):
        raise _not_usable("it ends without a return")
    return (at + 1,)


def _needed(program: Sequence[Instruction]) -> dict[int, frozenset[str]]:
    """Return, for each reachable instruction, in order, the registers that are live before it."""
    if not program:
        raise _not_usable("it ends without a return")
    following: dict[int, tuple[int, ...]] = {}
    reached = {0}
    for at in range(len(program)):
        if at in reached:
            following[at] = _following(program, at)
            reached.update(following[at])
    need: dict[int, frozenset[str]] = {}
    for at in reversed(following):
        reads, writes = _registers(program[at])
        after = frozenset().union(*(need[target] for target in following[at]))
        need[at] = frozenset(reads) | (after - frozenset(writes))
    return dict(reversed(need.items()))


def _registers(instruction: Instruction) -> tuple[str, str]:
    """Return the registers that an instruction reads, and those that it writes."""
    kind, code = instruction.kind, instruction.code
    if kind in (LD, LDX):
        return "X" if instruction.mode == IND else "", "A" if kind == LD else "X"
    if kind in (ST, STX):
        return "A" if kind == ST else "X", ""
    if kind == MISC:
        return ("A", "X") if code == TAX else ("X", "A")
    if kind == RET:
        return {RETURN_K: "", RETURN_X: "X", RETURN_A: "A"}[code], ""
    if code == JUMP:
        return "", ""
    return "AX" if instruction.by_x else "A", "A" if kind == ALU else ""


def _not_usable(why: str) -> RuleError:
    return RuleError("the filter program cannot be compiled into the kernel", why=why, fix="write a simpler expression")
