"""A researcher's own points: checked against this kernel, and put behind ``points.c`` as C.

The code of a `Probe` is the user's own program in the user's own process.  It comes in
through Python alone: rules name probes, and carry none.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence

from cmonlab.errors import NotTraceable, ProbeError
from cmonlab.points.catalogue import BY_NAME, CATALOGUE, FIRST_CUSTOM, GROUPS, MOST_CUSTOM, Point
from cmonlab.points.probe import Probe

from . import loader, programs
from .btf import ARRAY, FUNC, STRUCT, TYPEDEF, UNION, Btf, module_of, types_of, vmlinux
from .headers import Member

_TRACEPOINT = "btf_trace_"
#: There the header is at the begin of the data, and nothing else says where.
_RECEIVE = ("netif_r", "napi_gro")
_DIAGNOSTIC = re.compile(r"(?P<file>[^:\n]+):(?P<line>\d+):(?P<column>\d+): (?P<kind>\w[\w ]*): (?P<text>.*)")
_SHOWN = 36  # lines of messages
_WIDEST = 120


def points(probes: Sequence[Probe]) -> list[Point]:
    """Return probes as points, in the order in which they are given.

    Raises
    ------
    ProbeError
        Two have one name, the catalogue has it, there are too many, or this kernel has no
        such place, argument or member.
    NotTraceable
        This kernel has no type information.
    """
    if len(probes) > MOST_CUSTOM:
        raise ProbeError(f"{len(probes)} points of one's own are too many", fix=f"at most {MOST_CUSTOM} at a time")
    seen: set[str] = set()
    for probe in probes:
        if probe.name in {*BY_NAME, *GROUPS, *seen}:
            raise ProbeError(f"there is a point or a group {probe.name!r} already", fix="give it another name")
        seen.add(probe.name)
    return [_point(FIRST_CUSTOM + number, probe) for number, probe in enumerate(probes)]


def _point(number: int, probe: Probe) -> Point:
    arguments, kind = _arguments(probe), "sk_buff" if probe.socket is None else "sock"
    if arguments[probe.argument : probe.argument + 1] != [kind]:
        told = ", ".join(f"{n} {f'struct {name} *' if name else 'a value'}" for n, name in enumerate(arguments))
        fitting = [str(n) for n, name in enumerate(arguments) if name == kind]
        word = "socket" if kind == "sock" else "packet"
        raise ProbeError(
            f"point {probe.name!r}: argument {probe.argument} of {probe.place} is no {word}",
            why=f"its arguments are: {told or 'none'}",
            fix=f"give {word}={' or '.join(fitting)}" if fitting else f"no argument is a {word}: choose another place",
        )
    point = Point(
        number,
        probe.name,
        probe.name,
        "function" if probe.socket is None else "note",
        f"a point of one's own at {probe.place}",
        at=probe.place,
        packet=-1 if probe.packet is None else probe.packet,
        is_function=bool(probe.function),
    )
    lacking = programs.why_missing(point)
    if lacking:
        raise ProbeError(
            f"point {probe.name!r}: {probe.place} cannot be traced", why=lacking, fix="choose a tracepoint"
        )
    return point


def _arguments(probe: Probe) -> list[str | None]:
    """Return the structs that the arguments of the probe's place point to."""
    if probe.at:
        if vmlinux().tracepoint(probe.at) is None:
            names = (
                name.removeprefix(_TRACEPOINT) for name in vmlinux().names(TYPEDEF) if name.startswith(_TRACEPOINT)
            )
            raise ProbeError(
                f"point {probe.name!r}: this kernel has no tracepoint {probe.at!r}", fix=_near(probe.at, names)
            )
        return vmlinux().arguments(probe.at)
    module = module_of(probe.function)
    if module is None:
        raise ProbeError(
            f"point {probe.name!r}: this kernel has no function {probe.function!r}",
            why="it is in no loaded module, or inlined",
            fix=_near(probe.function, vmlinux().names(FUNC)),
        )
    return types_of(module).parameters(probe.function)


def _near(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else "look for its name in the kernel's source"


def members(probes: Sequence[Probe]) -> dict[str, list[Member]]:
    """Return the members of kernel structs that probes read, by struct.

    Raises
    ------
    ProbeError
        This kernel has no such struct or member, or it is none that C code can read at once.
    """
    found: dict[str, list[Member]] = {}
    for probe in probes:
        for read in probe.reads:
            struct_name, *path = read.split(".")
            if vmlinux().id_of(STRUCT, struct_name) is None:
                fix = _near(struct_name, vmlinux().names(STRUCT))
                raise ProbeError(f"point {probe.name!r}: this kernel has no struct {struct_name!r}", fix=fix)
            found.setdefault(struct_name, []).append(_member(probe, vmlinux(), struct_name, path))
    return found


def _member(probe: Probe, btf: Btf, struct_name: str, path: list[str]) -> Member:
    offsets, within, fields, count = [], f"struct {struct_name}", btf.fields(struct_name), 0
    for step, name in enumerate(path):
        if name not in fields:
            raise ProbeError(
                f"point {probe.name!r}: {within} has no member {name!r} that can be read",
                why="no such name is in this kernel's type information, or it is a bit field",
                fix=_near(name, fields),
            )
        field = fields[name]
        offsets.append(field.offset_bytes)
        if step + 1 < len(path):
            within, fields = f"{within}.{name}", btf.fields_of(field.type_id)
    type_id = btf.resolve(field.type_id)
    if btf.kind(type_id) == ARRAY:
        type_id, count = btf.element(type_id)
    if not btf.c_type(type_id):
        inner = ", ".join(list(btf.fields_of(type_id))[:8]) if btf.kind(btf.resolve(type_id)) in (STRUCT, UNION) else ""
        raise ProbeError(
            f"point {probe.name!r}: {'.'.join([struct_name, *path])} is no number and no pointer",
            why=f"it is a struct of {inner}, …" if inner else "its type is none that a program can copy",
            fix="name the member of it that the code uses",
        )
    return Member(tuple(path), tuple(offsets), btf.c_type(type_id), count)


def source(probes: Sequence[Probe], own: Sequence[Point]) -> str:
    """Return the C code of probes; their own lines keep their numbers."""
    return "".join(map(_program, probes, own))


def _program(probe: Probe, point: Point) -> str:
    fields = "".join(f"\t{kind} {name} __attribute__((aligned(8)));\n" for name, kind in probe.fields.items())
    known = "struct sk_buff *skb" if probe.socket is None else "struct sock *sk"
    head = f"""\
#line 1 "probe {probe.name} (made)"
struct {probe.name}_fields {{
{fields}}};
static __always_inline void {probe.name}_body(void *ctx, {known}, struct {probe.name}_fields *out)
{{
#line {probe.first_line} "probe {probe.name}"
"""
    if probe.socket is None:
        receives = {p.tracepoint for p in CATALOGUE if p.stage == "receive"}
        place = "PLACE_RX" if probe.at in receives or probe.at.startswith(_RECEIVE) else "PLACE_TX"
        made = f"PACKET_PROBE({probe.name}, {point.id}, {probe.packet}, {place})"
    else:
        made = f"SOCKET_PROBE({probe.name}, {point.id}, {probe.socket})"
    return f'{head}{probe.body}\n#line 9 "probe {probe.name} (made)"\n}}\n{made}\n'


def compiled(probes: Sequence[Probe], own: Sequence[Point], cpus: int, slots: int) -> loader.Module:
    """Compile ``points.c``, and probes behind it.

    Parameters
    ----------
    probes : sequence of Probe
    own : sequence of Point
        The same from `points`.
    cpus : int
        One more than the highest CPU number.
    slots : int
        Of each CPU's ring.

    Raises
    ------
    ProbeError
        The code of a probe does not compile; the message has its own line numbers.
    NotTraceable
        bcc is missing, or refuses what is not the user's.
    """
    text = loader.expand(loader.SOURCES / "points.c")
    sizes = dict.fromkeys(("slots", "note_slots"), cpus * slots)
    if not probes:
        return loader.Module(text, programs.macros(cpus), entries=sizes)
    text += loader.expand(loader.SOURCES / "custom.h") + source(probes, own)
    try:
        return loader.Module(text, programs.macros(cpus), members(probes), sizes)
    except NotTraceable as error:
        told = messages(error.why, probes)
        if not told:
            raise
        names = sorted({line.split(":", 1)[0] for line in told if _of_probe(line, probes)})
        raise ProbeError(
            f"the code of {' and '.join(names)} does not compile",
            why="\n".join(["the compiler says:", *told]),
            fix="name every member of a kernel struct that the code uses in reads=[...]"
            if any("no member named" in line or "incomplete" in line for line in told)
            else "",
        ) from error


def messages(said: str, probes: Sequence[Probe]) -> list[str]:
    """Return the lines of a compiler's messages that are errors in the code of probes."""
    blocks: list[list[str]] = []
    ours = False
    for line in said.splitlines():
        if _DIAGNOSTIC.fullmatch(line):
            ours = _of_probe(line, probes)
            blocks += [[]] if ours else []
        elif re.fullmatch(r"(\d+ (warning|error)s?.*generated\..*|In file included from.*)", line):
            ours = False
        if ours:
            blocks[-1].append(line)
    errors = [block for block in blocks if _DIAGNOSTIC.fullmatch(block[0])["kind"].endswith("error")]
    different = {"\n".join(block): block for block in errors}  # a macro's argument may be compiled twice
    return [line for block in different.values() for line in block][:_SHOWN]


def _of_probe(line: str, probes: Sequence[Probe]) -> bool:
    return any(line.startswith(f"probe {probe.name}:") for probe in probes)


def refused(point: Point, error: NotTraceable) -> ProbeError:
    """Return what to raise where the kernel refuses the program of a custom point."""
    told = [line for line in error.why.splitlines() if not line.startswith(("cur state:", "old state:", "processed "))]
    return ProbeError(
        f"the kernel refuses the code of point {point.name!r}",
        why="\n".join(line if len(line) < _WIDEST else line[:_WIDEST] + "…" for line in told),
        fix="read what pointers point to with READ(...), and bound loops and indices",
    )


def described(probes: Sequence[Probe], own: Sequence[Point]) -> list[dict]:
    """Return probes for the manifest, with the ids of their points."""
    return [{"id": point.id, **probe.describe()} for probe, point in zip(probes, own, strict=True)]
