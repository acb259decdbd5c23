"""Custom probes: checked against this kernel, and compiled with ``points.c``.

The code of a `Probe` is C code of the user. It comes from Python only: rules name probes but contain no code.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from cmonlab.errors import NotTraceable, ProbeError
from cmonlab.points.catalogue import BY_NAME, CATALOGUE, FIRST_PROBE, GROUPS, MAX_PROBES, Point
from cmonlab.points.probe import Probe

from . import loader, programs
from .btf import ARRAY, FUNC, STRUCT, TYPEDEF, UNION, Btf, vmlinux
from .headers import Member
from .modules import module_of, types_of

_TRACEPOINT = "btf_trace_"
#: Beginnings of tracepoints on reception: there the data begin with the IP header, and network_header is not set yet.
_RECEIVE = ("netif_r", "napi_gro")
_DIAGNOSTIC = re.compile(r"(?P<file>[^:\n]+):(?P<line>\d+):(?P<column>\d+): (?P<kind>\w[\w ]*): (?P<text>.*)")
_MAX_LINES, _MAX_WIDTH = 36, 120  # of messages


def probe_points(probes: Sequence[Probe]) -> list[Point]:
    """Return the points of probes, in the same order.

    Raises
    ------
    ProbeError
        Two probes have the same name, or one has that of a point or group; there are too many; or this kernel lacks
        the place, or the argument is not a packet or socket there.
    NotTraceable
        This kernel has no type information.
    """
    if len(probes) > MAX_PROBES:
        raise ProbeError(f"{len(probes)} custom probes are too many", fix=f"use at most {MAX_PROBES} at a time")
    seen: set[str] = set()
    for probe in probes:
        if probe.name in {*BY_NAME, *GROUPS, *seen}:
            raise ProbeError(f"there is a point or a group {probe.name!r} already", fix="give it another name")
        seen.add(probe.name)
    return [_point(FIRST_PROBE + number, probe) for number, probe in enumerate(probes)]


def _point(number: int, probe: Probe) -> Point:
    arguments, kind = _arguments(probe), "sk_buff" if probe.socket is None else "sock"
    if arguments[probe.argument : probe.argument + 1] != [kind]:
        listed = ", ".join(f"{n} {f'struct {name} *' if name else 'a value'}" for n, name in enumerate(arguments))
        fitting = [str(n) for n, name in enumerate(arguments) if name == kind]
        word = "socket" if kind == "sock" else "packet"
        raise ProbeError(
            f"point {probe.name!r}: argument {probe.argument} of {probe.place} is not a {word}",
            why=f"its arguments are: {listed or 'none'}",
            fix=f"use {word}={' or '.join(fitting)}" if fitting else f"no argument is a {word}: choose another place",
        )
    point = Point(
        number,
        probe.name,
        probe.name,
        "function" if probe.socket is None else "note",
        f"custom probe at {probe.place}",
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
    """Return the names of the structs that the arguments of a probe's place point to."""
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


def members_read(probes: Sequence[Probe]) -> dict[str, list[Member]]:
    """Return the members of kernel structs that probes read, by struct.

    Raises
    ------
    ProbeError
        This kernel has no such struct or member, or the member is not a number, a pointer or an array of them.
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
                why="this kernel's type information has no such name, or it is a bit field",
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
            f"point {probe.name!r}: {'.'.join([struct_name, *path])} is not a number or pointer",
            why=f"it is a struct of {inner}, …" if inner else "a program cannot copy its type",
            fix="name the member of it that the code uses",
        )
    return Member(tuple(path), tuple(offsets), btf.c_type(type_id), count)


def source(probes: Sequence[Probe], points: Sequence[Point]) -> str:
    """Return the C code of probes, to be appended to ``probes.h``.

    Parameters
    ----------
    probes : sequence of Probe
        The probes.
    points : sequence of Point
        Their points, in the same order.

    Returns
    -------
    str
        In messages of the compiler, lines of a probe's code have the probe's name and their own numbers.
    """
    return "".join(map(_program, probes, points))


def _program(probe: Probe, point: Point) -> str:
    fields = "".join(f"\t{kind} {name} __attribute__((aligned(8)));\n" for name, kind in probe.fields.items())
    known = "struct sk_buff *skb" if probe.socket is None else "struct sock *sk"
    head = f"""\
#line 1 "probe {probe.name} (generated)"
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
    return f'{head}{probe.body}\n#line 9 "probe {probe.name} (generated)"\n}}\n{made}\n'


def compile_points(probes: Sequence[Probe], points: Sequence[Point], cpus: int, slots: int) -> loader.Module:
    """Compile ``points.c`` and custom probes, and create the maps.

    Parameters
    ----------
    probes : sequence of Probe
        Custom probes, may be empty.
    points : sequence of Point
        Their points, from `probe_points`.
    cpus : int
        Highest CPU number + 1.
    slots : int
        Number of slots of each CPU's ring, a power of two.

    Returns
    -------
    Module

    Raises
    ------
    ProbeError
        The code of a probe does not compile; messages have the line numbers of the probe's code.
    NotTraceable
        bcc is missing, cmonlab's own code does not compile, or the kernel refuses the maps.
    """
    text = loader.expand(loader.SOURCES / "points.c")
    sizes = dict.fromkeys(("slots", "probe_slots") if probes else ("slots",), cpus * slots)
    if not probes:
        return loader.Module(text, programs.macros(cpus), entries=sizes)
    text += loader.expand(loader.SOURCES / "probes.h") + source(probes, points)
    try:
        return loader.Module(text, programs.macros(cpus), members_read(probes), sizes)
    except NotTraceable as error:
        lines = error_lines(error.why, probes)
        if not lines:
            raise
        names = sorted({line.split(":", 1)[0] for line in lines if _is_of_probe(line, probes)})
        raise ProbeError(
            f"the code of {' and '.join(names)} does not compile",
            why="\n".join(["the compiler says:", *lines]),
            fix="name every member of a kernel struct that the code uses in reads=[...]"
            if any("no member named" in line or "incomplete" in line for line in lines)
            else "",
        ) from error


def error_lines(messages: str, probes: Sequence[Probe]) -> list[str]:
    """Return the lines of a compiler's messages that report errors in the code of probes.

    Parameters
    ----------
    messages : str
        What the compiler wrote to standard error.
    probes : sequence of Probe
        The probes whose code was compiled.

    Returns
    -------
    list of str
        At most 36 lines: each error with the lines that belong to it, once.
    """
    blocks: list[list[str]] = []
    ours = False
    for line in messages.splitlines():
        if _DIAGNOSTIC.fullmatch(line):
            ours = _is_of_probe(line, probes)
            blocks += [[]] if ours else []
        elif re.fullmatch(r"(\d+ (warning|error)s?.*generated\..*|In file included from.*)", line):
            ours = False
        if ours:
            blocks[-1].append(line)
    errors = [block for block in blocks if (head := _DIAGNOSTIC.fullmatch(block[0])) and head["kind"].endswith("error")]
    different = {"\n".join(block): block for block in errors}  # a macro's argument may be compiled twice
    return [line for block in different.values() for line in block][:_MAX_LINES]


def _is_of_probe(line: str, probes: Sequence[Probe]) -> bool:
    return any(line.startswith(f"probe {probe.name}:") for probe in probes)


def refusal(point: Point, error: NotTraceable) -> ProbeError:
    """Return the error to raise when the kernel refuses the program of a custom probe.

    Parameters
    ----------
    point : Point
        The probe's point.
    error : NotTraceable
        Its `why` has the last lines of the verifier's log.

    Returns
    -------
    ProbeError
    """
    skipped = ("cur state:", "old state:", "processed ")
    lines = [line for line in error.why.splitlines() if not line.startswith(skipped)]
    return ProbeError(
        f"the kernel refuses the code of point {point.name!r}",
        why="\n".join(line if len(line) < _MAX_WIDTH else line[:_MAX_WIDTH] + "…" for line in lines),
        fix="use READ(...) to read through pointers, and bound loops and indices",
    )


def described(probes: Sequence[Probe], points: Sequence[Point]) -> list[dict[str, Any]]:
    """Return probes as a manifest has them.

    Parameters
    ----------
    probes : sequence of Probe
        The probes.
    points : sequence of Point
        Their points, in the same order.

    Returns
    -------
    list of dict
        ``id`` of the point, and what `Probe.describe` returns.
    """
    return [{"id": point.id, **probe.describe()} for probe, point in zip(probes, points, strict=True)]
