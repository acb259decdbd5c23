"""Classic BPF: its instructions, and the paths that a program of them may take.

Source: linux/bpf_common.h and the kernel's ``Documentation/networking/filter.rst``.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cmonlab.errors import RuleError

# The parts of an opcode: class, addressing mode, source of the operand, operation.
LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)
IMM, ABS, IND, MEM, LEN, MSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0
X = 0x08
NEG, DIVISIONS, SHIFTS = 0x80, (0x30, 0x90), (0x60, 0x70)
RETURN_K, RETURN_X, RETURN_A = RET, RET | X, RET | 0x10
JUMP, TAX, TXA = JMP, MISC, MISC | 0x80
ACCEPT, REJECT = "accept", "reject"
SURE_BYTES = 20  # of every packet; cmonlab shows no shorter one to a rule
SHORT_HEADER_BYTES = 20  # an IPv4 header without options
FARTHEST = 0xFFFF  # offset of a load
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
        Instructions to skip where a comparison holds, and where it does not; 8 bits.
    k : int
        The operand, 32 bits, unsigned.
    """

    code: int
    jt: int
    jf: int
    k: int

    def __post_init__(self):
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
        """The instruction's class, `LD` to `MISC`."""
        return self.code & 0x07

    @property
    def mode(self) -> int:
        """How a load finds its operand, `IMM` to `MSH`."""
        return self.code & 0xE0

    @property
    def operation(self) -> int:
        """What a jump compares or arithmetic computes; eBPF has the same numbers."""
        return self.code & 0xF0

    @property
    def size_bytes(self) -> int:
        """How much a load takes out of the packet, 0 for the loads that take nothing."""
        return _BYTES[self.code & 0x18] if self.kind in (LD, LDX) and self.mode in (ABS, IND, MSH) else 0

    @property
    def by_x(self) -> bool:
        """Whether the operand of a comparison or of arithmetic is X."""
        return self.kind in (ALU, JMP) and bool(self.code & X)

    @property
    def scratch(self) -> bool:
        """Whether it loads or stores scratch word `k`."""
        return self.kind in (ST, STX) or (self.kind in (LD, LDX) and self.mode == MEM)


class State(NamedTuple):
    """A place in a program, and whether X may be anything there; else it is `SHORT_HEADER_BYTES`."""

    at: int
    any_x: bool


class Paths:
    """Where a program goes, told apart by what is known of X: a graph without loops.

    X is nearly always the length of an IPv4 header, and that nearly always 20 bytes, so
    what follows its computation stands in the graph twice: for 20, and for anything.
    Jumps to jumps are resolved, and returns of a constant are `ACCEPT` or `REJECT`.

    Parameters
    ----------
    program : sequence of Instruction
        Classic BPF, which jumps forwards only.

    Attributes
    ----------
    program : tuple of Instruction
        As given.
    needed : dict of int to frozenset of str
        Which of the registers ``"A"`` and ``"X"`` an instruction or one after it reads.
    start : State or str
        Where it begins, `ACCEPT` or `REJECT` where it does nothing else.
    targets : dict of State to tuple
        Where a state goes on: one state, `ACCEPT` or `REJECT`, or two of them (where a
        condition holds, where it does not).
    sure_bytes : dict of State to int
        How much of the packet is surely there before the state.

    Raises
    ------
    RuleError
        An opcode that cmonlab does not know, a scratch word that does not exist, a jump
        out of the program, or an end without a return.
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
                    self._leave(state)

    @property
    def accepts(self) -> bool:
        """Whether any path takes the packet."""
        return self.start == ACCEPT or any(ACCEPT in targets for targets in self.targets.values())

    def offset(self, state: State) -> int | None:
        """Return the offset of a load from the packet, None where it depends on X."""
        instruction = self.program[state.at]
        if instruction.mode != IND:
            return instruction.k
        return None if state.any_x else SHORT_HEADER_BYTES + instruction.k

    def order(self) -> Iterator[tuple[State, State | str]]:
        """Yield every state after all those that lead to it, with what comes next in this order.

        What is last of all is followed by `ACCEPT`, or by `REJECT` where nothing accepts.
        """
        waits = Counter(target for targets in self.targets.values() for target in targets)
        state, others = self.start, []
        while isinstance(state, State):
            waits.subtract(self.targets[state])
            ready = sorted(t for t in self.targets[state] if isinstance(t, State) and not waits[t])
            for target in ready[1:]:
                heapq.heappush(others, target)
            following = ready[0] if ready else heapq.heappop(others) if others else None
            yield state, following or (ACCEPT if self.accepts else REJECT)
            state = following

    def _leave(self, state: State) -> None:
        """Enter where a state goes on, and what is known there."""
        sure, size = self.sure_bytes[state], self.program[state.at].size_bytes
        if size and self.offset(state) is not None:
            sure = max(sure, self.offset(state) + size)
        targets = [self._resolved(goal) if isinstance(goal, State) else goal for goal in self._goals(state)]
        self.targets[state] = tuple(dict.fromkeys(targets))
        for target in targets:
            if isinstance(target, State):
                self.sure_bytes[target] = min(sure, self.sure_bytes.get(target, sure))

    def _goals(self, state: State) -> list[State | str]:
        """Return where the instruction itself says that it goes on."""
        instruction, at = self.program[state.at], state.at + 1
        if self._hopeless(state):
            return [REJECT]
        if instruction.kind == RET:  # of a constant: no state, see _resolved()
            return [ACCEPT] if instruction.code == RETURN_X and not state.any_x else [ACCEPT, REJECT]
        if instruction.kind == LDX and instruction.mode == MSH and "X" in self.needed[at]:
            return [State(at, False), State(at, True)]
        # What sets X needs no X before, so there X is anything already: see _resolved().
        return [State(target, state.any_x) for target in _following(self.program, state.at)]

    def _hopeless(self, state: State) -> bool:
        """Whether the instruction can do nothing but reject."""
        instruction = self.program[state.at]
        if instruction.size_bytes:
            offset = self.offset(state)
            return (instruction.k if offset is None else offset) > FARTHEST
        divides = instruction.kind == ALU and instruction.operation in DIVISIONS
        return divides and not instruction.by_x and not instruction.k

    def _resolved(self, goal: State) -> State | str:
        """Return what there is to do at a place, without jumps and what is known of an X that nobody reads."""
        at = goal.at
        while self.program[at].code == JUMP:
            (at,) = _following(self.program, at)
        if self.program[at].code == RETURN_K:
            return ACCEPT if self.program[at].k else REJECT
        return State(at, goal.any_x or "X" not in self.needed[at])


def _following(program: Sequence[Instruction], at: int) -> tuple[int, ...]:
    """Return the indices at which a program may go on after the instruction at `at`."""
    instruction = program[at]
    if instruction.code not in _KNOWN:
        raise _broken(f"it holds opcode {instruction.code:#06x}, which cmonlab cannot translate")
    if instruction.scratch and instruction.k >= _SCRATCH_WORDS:
        raise _broken(f"it uses scratch word {instruction.k} of {_SCRATCH_WORDS}")
    if instruction.kind == RET:
        return ()
    if instruction.kind == JMP:
        skips = (instruction.k,) if instruction.code == JUMP else (instruction.jt, instruction.jf)
        if at + 1 + max(skips) >= len(program):
            raise _broken(f"instruction {at} jumps out of the program")
        return tuple(at + 1 + skip for skip in skips)
    if at + 1 == len(program):
        raise _broken("it ends without a return")
    return (at + 1,)


def _needed(program: Sequence[Instruction]) -> dict[int, frozenset[str]]:
    """Return, for each instruction that can run, in order, the registers that are read from there on."""
    if not program:
        raise _broken("it ends without a return")
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
    """Return the registers that an instruction reads, and those that it sets."""
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


def _broken(why: str) -> RuleError:
    return RuleError("the filter program cannot be compiled into the kernel", why=why, fix="write a simpler expression")
