"""Classic BPF instructions, and the C that does what they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import RuleError

# The parts of an opcode (linux/bpf_common.h, linux/filter.h).
_LD, _LDX, _ST, _STX, _ALU, _JMP, _RET, _MISC = range(8)
_IMM, _ABS, _IND, _MEM, _LEN, _MSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0
_BYTES = {0x00: 4, 0x08: 2, 0x10: 1}
_SOURCE_X = 0x08
_NEG, _DIVISIONS, _SHIFTS = 0x80, {0x30: "/", 0x90: "%"}, {0x60: "<<", 0x70: ">>"}
_PLAIN = {0x00: "+", 0x10: "-", 0x20: "*", 0x40: "|", 0x50: "&", 0xA0: "^"}
_COMPARISONS = {0x10: "a == {}", 0x20: "a > {}", 0x30: "a >= {}", 0x40: "a & {}"}
_SCRATCH_WORDS = 16
_FARTHEST = 0xFFFF  # of an offset: view_load() goes no further

_HEAD = """\
/* Generated from a compiled pcap expression. */
static __always_inline int rule_matches(const struct view *v)
{
\tu32 a = 0, x = 0, ok = 1;
"""
_QUIET = "\t(void)v; (void)a; (void)x; (void)ok;"


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


def to_c(instructions: Sequence[Instruction]) -> str:
    """Return a C header that defines ``rule_matches()``: a filter without an interpreter.

    The text is straight-line C with forward jumps and holds nothing but fixed words
    and numbers out of `instructions`.  It does what libpcap's ``bpf_filter()`` does: a
    load that reaches outside of the packet and a division by zero reject.

    Parameters
    ----------
    instructions : sequence of Instruction
        What :func:`cmonlab.kernel.pcapfilter.compile_expression` returned.

    Returns
    -------
    str
        The text of ``rule.h``; it needs ``packet.h`` before it.

    Raises
    ------
    RuleError
        An opcode that cmonlab does not know, a jump backwards or out of the program, or
        an end without a return.

    Notes
    -----
    Source: the kernel's Documentation/networking/filter.rst.  Loads are limited to the
    first 64 KiB of a packet and to its linear part (see ``view_load()``).
    """
    body: list[str] = []
    labels: set[int] = set()
    reachable = True
    for at, instruction in enumerate(instructions):
        if at in labels:
            body.append(f"l{at}:")
        elif not reachable:
            continue
        lines, jumps = _statements(instruction, at)
        if any(jump >= len(instructions) for jump in jumps):
            raise _broken(f"instruction {at} jumps out of the program")
        labels.update(jumps)
        body += [f"\t{line}" for line in lines]
        reachable = not lines[-1].startswith(("return", "goto"))
    if reachable:
        raise _broken("it ends without a return")
    scratch = [
        f"\tu32 m{slot} __attribute__((unused)) = 0;"
        for slot in sorted({i.k for i in instructions if _uses_scratch(i.code)})
    ]
    return _HEAD + "\n".join([*scratch, "", _QUIET, *body]) + "\n}\n"


def _statements(instruction: Instruction, at: int) -> tuple[list[str], list[int]]:
    """Return the C of the instruction at index `at`, and the indices that it jumps to."""
    kind, code, k = instruction.code & 7, instruction.code, instruction.k
    if kind == _JMP:
        return _jump(instruction, at)
    if kind in (_LD, _LDX):
        return _load(code, k), []
    if kind in (_ST, _STX) and code == kind:
        return [f"{_slot(k)} = {'a' if kind == _ST else 'x'};"], []
    if kind == _ALU:
        return _arithmetic(code, k), []
    if kind == _RET and code in (0x06, 0x0E, 0x16):
        return [f"return {int(k != 0)};" if code == 0x06 else f"return {'x' if code == 0x0E else 'a'} != 0;"], []
    if kind == _MISC and code in (0x07, 0x87):
        return ["x = a;" if code == 0x07 else "a = x;"], []
    raise _unknown(code)


def _load(code: int, k: int) -> list[str]:
    kind, size, mode = code & 7, _BYTES.get(code & 0x18), code & 0xE0
    into = "a" if kind == _LD else "x"
    if kind == _LD and mode in (_ABS, _IND) and size:
        if k > _FARTHEST:
            return ["return 0;"]
        if mode == _ABS:
            return _checked(f"a = view_load(v, {k}, {size}, &ok);")
        return [f"if (x > {_FARTHEST}) return 0;", *_checked(f"a = view_load(v, x + {k}, {size}, &ok);")]
    if kind == _LDX and mode == _MSH and size == 1:
        return _checked(f"x = (view_load(v, {k}, 1, &ok) & 15) * 4;") if k <= _FARTHEST else ["return 0;"]
    if size == 4 and mode == _IMM:
        return [f"{into} = {k:#x}u;"]
    if size == 4 and mode == _LEN:
        return [f"{into} = v->total;"]
    if size == 4 and mode == _MEM:
        return [f"{into} = {_slot(k)};"]
    raise _unknown(code)


def _checked(load: str) -> list[str]:
    return [load, "if (!ok) return 0;"]


def _arithmetic(code: int, k: int) -> list[str]:
    operation, by_x = code & 0xF0, bool(code & _SOURCE_X)
    operand = "x" if by_x else f"{k:#x}u"
    if code > 0xFF:
        raise _unknown(code)
    if operation in _PLAIN:
        return [f"a {_PLAIN[operation]}= {operand};"]
    if operation == _NEG and not by_x:
        return ["a = 0u - a;"]
    if operation in _DIVISIONS:
        divide = f"a {_DIVISIONS[operation]}= {operand};"
        if by_x:
            return ["if (!x) return 0;", divide]
        return [divide] if k else ["return 0;"]
    if operation in _SHIFTS:  # C leaves a shift by 32 or more open; bpf_filter() says 0
        if by_x:
            return [f"a = x < 32 ? a {_SHIFTS[operation]} x : 0;"]
        return [f"a {_SHIFTS[operation]}= {k};" if k < 32 else "a = 0;"]
    raise _unknown(code)


def _jump(instruction: Instruction, at: int) -> tuple[list[str], list[int]]:
    operation = instruction.code & 0xF0
    operand = "x" if instruction.code & _SOURCE_X else f"{instruction.k:#x}u"
    if instruction.code == _JMP:
        return [f"goto l{at + 1 + instruction.k};"], [at + 1 + instruction.k]
    if operation not in _COMPARISONS or instruction.code > 0xFF:
        raise _unknown(instruction.code)
    condition = _COMPARISONS[operation].format(operand)
    jt, jf = at + 1 + instruction.jt, at + 1 + instruction.jf
    if jt == jf:
        return [f"goto l{jt};"], [jt]
    if not instruction.jf:
        return [f"if ({condition}) goto l{jt};"], [jt]
    if not instruction.jt:
        return [f"if (!({condition})) goto l{jf};"], [jf]
    return [f"if ({condition}) goto l{jt};", f"goto l{jf};"], [jt, jf]


def _uses_scratch(code: int) -> bool:
    return code in (_ST, _STX, _LD | _MEM, _LDX | _MEM)


def _slot(k: int) -> str:
    if k >= _SCRATCH_WORDS:
        raise _broken(f"it uses scratch word {k} of {_SCRATCH_WORDS}")
    return f"m{k}"


def _unknown(code: int) -> RuleError:
    return _broken(f"it holds opcode {code:#06x}, which cmonlab cannot translate")


def _broken(why: str) -> RuleError:
    return RuleError("the filter program cannot be compiled into the kernel", why=why, fix="write a simpler expression")
