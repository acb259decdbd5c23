"""What ``points.c`` is compiled with on this kernel, and which points the kernel has."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import cache

from cmonlab.errors import NotTraceable
from cmonlab.filters.pcapfilter import compile_expression
from cmonlab.points.catalogue import CATALOGUE, FIRST_PROBE, MAX_PROBES, Point
from cmonlab.rules import MAX_RULES, Plan

from . import differences, loader
from .btf import FUNC, VMLINUX, vmlinux
from .headers import offset_of
from .modules import module_of, types_of

RULES = MAX_RULES  #: slots of rules
POINTS = FIRST_PROBE + MAX_PROBES  #: ids of points
PASSAGES = 1 << 16  #: packets whose last hop is remembered for aggregates; a power of two
CELLS, LEAST_CELLS = 1 << 18, 1 << 13  #: cells of all CPUs together, and of each CPU at least; powers of two
_ALL = 2**32 - 1  # a sample of all packets


def macros(cpus: int) -> dict[str, int]:
    """Return what ``points.c`` is compiled with on this kernel.

    Parameters
    ----------
    cpus : int
        Highest CPU number + 1.

    Returns
    -------
    dict of str to int
        Values by macro: ids of points, sizes of maps, offsets of members of kernel structs, and what
        `differences.macros` returns.

    Raises
    ------
    NotTraceable
        This kernel has no type information, or lacks a struct or member.
    """
    btf = vmlinux()
    defined = {f"POINT_{point.name.upper()}": point.id for point in CATALOGUE}
    defined |= {
        "POINTS": POINTS,
        "RULES": RULES,
        "PASSAGES": PASSAGES,
        "CELLS": cells_per_cpu(cpus),
        "CPUS": cpus,
        "GSO_SEGS_OFFSET": offset_of(btf, "skb_shared_info", "gso_segs"),
        "RECEIVE_QUEUE_LENGTH": offset_of(btf, "sock", "sk_receive_queue.qlen"),
        "READER_QUEUE_LENGTH": offset_of(btf, "udp_sock", "reader_queue.qlen"),
        "MESSAGE_LEFT": offset_of(btf, "msghdr", "msg_iter.count"),
        "CONTROL_BUFFER": offset_of(btf, "sk_buff", "cb"),
    }
    for field in ("copied_seq", "write_seq", "srtt_us", "snd_una"):
        defined[f"TCP_{field.upper()}"] = offset_of(btf, "tcp_sock", field)
    if platform.machine() == "x86_64":
        defined["STORES_STAY_IN_ORDER"] = 1
    return defined | differences.macros(btf)


def cells_per_cpu(cpus: int) -> int:
    """Return how many cells each of so many CPUs has, a power of two."""
    return max(LEAST_CELLS, CELLS >> (cpus - 1).bit_length())


def functions_traceable() -> str:
    """Return why this host cannot trace the entry of any kernel function, empty if it can."""
    btf = vmlinux()
    name = next(
        (point.tracepoint for point in CATALOGUE if point.is_function and btf.id_of(FUNC, point.tracepoint)), ""
    )
    return refusal(name, "") if name else "the kernel's type information names none of the catalogue's functions"


@cache
def refusal(function: str, module: str) -> str:
    """Return why the kernel refuses to trace the entry of a function that it has, empty if it can be traced.

    Parameters
    ----------
    function : str
        Name of the function.
    module : str
        Module that the function is in, empty for the kernel itself.

    Returns
    -------
    str
    """
    try:
        loader.try_attach(loader.function(function))
    except NotTraceable as error:
        return error.why or error.what
    return ""


def is_available(point: Point) -> bool:
    """Return whether this kernel has a point."""
    return not why_missing(point)


def available() -> list[Point]:
    """Return the points that this kernel has, in the order of the catalogue.

    A point that stands in for another one is among them only if the kernel lacks that one.
    """
    return [point for point in CATALOGUE if is_available(point)]


def missing() -> list[Point]:
    """Return the points that this kernel lacks and for which no other point stands in."""
    there = available()
    replaced = {point.instead_of for point in there}
    return [p for p in CATALOGUE if not p.instead_of and p not in there and p.name not in replaced]


def usable(points: list[Point]) -> list[Point]:
    """Return `points`, after a check that this kernel has all of them.

    Raises
    ------
    NotTraceable
        The kernel lacks one.
    """
    there = available()
    for point in points:
        if point in there:
            continue
        others = [p.name for p in there if p.instead_of == point.name] or [point.instead_of]
        raise NotTraceable(
            f"this host has no point {point.name}",
            why=why_missing(point),
            fix=f"ask for {others[0]} instead" if others[0] else "leave the point out",
        )
    return points


def why_missing(point: Point) -> str:
    """Return why this host lacks a point, empty if it has the point."""
    if point.is_function:
        return _why_no_function(point)
    btf = vmlinux()
    if point.instead_of and btf.tracepoint(point.instead_of):
        return f"this kernel has {point.instead_of}, which reports more"
    if btf.tracepoint(point.tracepoint):
        return _why_no_packet(point, btf.arguments(point.tracepoint))
    return f"its tracepoint came with Linux {point.since}" if point.since else "its type information does not name it"


def _why_no_function(point: Point) -> str:
    module = module_of(point.tracepoint)
    if module is None and point.module and not (VMLINUX.parent / point.module).exists():
        return f"the module {point.module} is not loaded, and the kernel itself has no such function"
    if module is None:
        return "the kernel has no such function, or has inlined it"
    wrong = _why_no_packet(point, types_of(module).parameters(point.tracepoint))
    if wrong:
        return wrong
    refused = functions_traceable() or refusal(point.tracepoint, module)
    return f"the entry of the function cannot be traced: {refused}" if refused else ""


def _why_no_packet(point: Point, arguments: list[str | None]) -> str:
    """Return why a point's argument is not the packet on this kernel, empty if it is."""
    if point.packet < 0 or arguments[point.packet : point.packet + 1] == ["sk_buff"]:
        return ""
    return f"in this kernel its argument {point.packet} is not the packet"


def target(point: Point) -> loader.Target:
    """Return what a point's program is attached to.

    Raises
    ------
    NotTraceable
        This kernel has no such tracepoint or function.
    """
    return (loader.function if point.is_function else loader.tracepoint)(point.tracepoint)


def trial(points: Sequence[Point], expression: str = "") -> Plan:
    """Return a plan that captures at some points, to find out whether the kernel accepts their programs.

    Parameters
    ----------
    points : sequence of Point
        Points that this host has.
    expression : str
        A pcap expression; by default all packets match.

    Returns
    -------
    Plan

    Raises
    ------
    RuleError
        The expression does not parse.
    NotTraceable
        libpcap is not installed.
    """
    return Plan(
        name="trial",
        mode="capture",
        filter=tuple(compile_expression(expression)),
        points=tuple(point.name for point in points),
        sample=_ALL,
        begin=_ALL,
        budgeted=False,
        limit=0,
        by_flow=False,
        selected=False,
        outgoing=True,
        incoming=True,
        duration_s=None,
    )
