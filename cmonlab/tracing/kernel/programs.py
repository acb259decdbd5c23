"""What ``points.c`` is compiled with on this kernel, and which points it has."""

from __future__ import annotations

import platform
from functools import cache
from types import SimpleNamespace

from cmonlab.errors import NotTraceable
from cmonlab.filters.pcapfilter import compile_expression
from cmonlab.points.catalogue import CATALOGUE, FIRST_CUSTOM, MOST_CUSTOM, Point

from . import loader
from .btf import FUNC, STRUCT, VMLINUX, Btf, module_of, types_of, vmlinux
from .headers import offset_of

RULES = 16  #: at a time
POINTS = FIRST_CUSTOM + MOST_CUSTOM
PASSAGES = 1 << 16
CELLS, LEAST_CELLS = 1 << 18, 1 << 13  #: of all CPUs together, and of each at least; powers of two
_READABLE = "new_utsname"  # begins with char[65], more than programs look at


def macros(cpus: int) -> dict[str, int]:
    """Return what ``points.c`` is compiled with on this kernel."""
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
        # Linux 5.18 had another argument before the tasks (kernel fa2c3254d7cf, undone in 9c2136be0878).
        "SWITCH_PREVIOUS": btf.arguments("sched_switch").index("task_struct"),
    }
    for field in ("copied_seq", "write_seq", "srtt_us", "snd_una"):
        defined[f"TCP_{field.upper()}"] = offset_of(btf, "tcp_sock", field)
    if len(btf.arguments("kfree_skb")) > 2:
        defined["KFREE_SKB_HAS_REASON"] = 1
    if len(btf.arguments("tcp_retransmit_skb")) > 2:
        defined["TCP_RETRANSMIT_HAS_ERROR"] = 1
    if btf.tracepoint("sock_recv_length") is None:
        defined["READS_HAVE_NO_TRACEPOINT"] = 1
    if btf.tracepoint("tcp_sendmsg_locked") is not None:
        defined["TCP_SENDS_HAVE_TRACEPOINT"] = 1
    if platform.machine() == "x86_64":
        defined["STORES_STAY_IN_ORDER"] = 1
    if readable_id(btf):
        defined["READABLE_TYPE"] = btf.id_of(STRUCT, _READABLE) or 0
    return defined


def cells_per_cpu(cpus: int) -> int:
    """Return how many cells each CPU has."""
    return max(LEAST_CELLS, CELLS >> (cpus - 1).bit_length())


def readable_id(btf: Btf) -> int:
    """Return the id of the kernel function that lets programs read memory by plain loads, 0 before 6.2."""
    return btf.id_of(FUNC, "bpf_rdonly_cast") or 0


def functions_traceable() -> str:
    """Return why the entry of no function can be traced on this host, empty where it can."""
    btf = vmlinux()
    name = next(
        (point.tracepoint for point in CATALOGUE if point.is_function and btf.id_of(FUNC, point.tracepoint)), ""
    )
    return refusal(name, "") if name else "the kernel's type information names none of the catalogue's functions"


@cache
def refusal(function: str, module: str) -> str:
    """Return why the kernel refuses to trace the entry of a function that it has, empty where it does not.

    Parameters
    ----------
    function : str
    module : str
        The module that it is in, empty for the kernel itself.
    """
    try:
        loader.probe(loader.function(function))
    except NotTraceable as error:
        return error.why or error.what
    return ""


def is_available(point: Point) -> bool:
    """Tell whether this kernel has a point."""
    return not why_missing(point)


def available() -> list[Point]:
    """Return the points that this kernel has; those that stand in for others only where they must."""
    return [point for point in CATALOGUE if is_available(point)]


def missing() -> list[Point]:
    """Return the points that this kernel lacks, and that no other stands in for."""
    there = available()
    replaced = {point.instead_of for point in there}
    return [p for p in CATALOGUE if not p.instead_of and p not in there and p.name not in replaced]


def usable(points: list[Point]) -> list[Point]:
    """Return `points`, all of which this kernel must have.

    Raises
    ------
    NotTraceable
        It lacks one.
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
    """Return why this host lacks a point, empty where it has it."""
    if point.is_function:
        return _why_no_function(point)
    btf = vmlinux()
    if point.instead_of and btf.tracepoint(point.instead_of):
        return f"here {point.instead_of} says more"
    if btf.tracepoint(point.tracepoint):
        return _why_no_packet(point, btf.arguments(point.tracepoint))
    return f"its tracepoint came with Linux {point.since}" if point.since else "its type information does not name it"


def _why_no_function(point: Point) -> str:
    module = module_of(point.tracepoint)
    if module is None and point.module and not (VMLINUX.parent / point.module).exists():
        return f"the module {point.module} is not loaded, and the kernel itself has no such function"
    if module is None:
        return "the kernel has no such function, or has it inlined"
    wrong = _why_no_packet(point, types_of(module).parameters(point.tracepoint))
    if wrong:
        return wrong
    refused = functions_traceable() or refusal(point.tracepoint, module)
    return f"the entry of the function cannot be traced: {refused}" if refused else ""


def _why_no_packet(point: Point, arguments: list[str | None]) -> str:
    """Return what is wrong with what the kernel passes there."""
    if point.packet < 0 or arguments[point.packet : point.packet + 1] == ["sk_buff"]:
        return ""
    return f"in this kernel its argument {point.packet} is not the packet"


def target(point: Point) -> loader.Target:
    """Return what a point's program is attached to."""
    return (loader.function if point.is_function else loader.tracepoint)(point.tracepoint)


def trial(points: list[Point], expression: str = "") -> SimpleNamespace:
    """Return a standard rule (see `ruleset.Rule`) that captures at these points, to try them."""
    return SimpleNamespace(
        name="trial",
        mode="capture",
        filter=tuple(compile_expression(expression)),
        points=tuple(point.name for point in points),
        sample=2**32 - 1,
        begin=2**32 - 1,
        budgeted=False,
        limit=0,
        by_flow=False,
        selected=False,
        outgoing=True,
        incoming=True,
    )
