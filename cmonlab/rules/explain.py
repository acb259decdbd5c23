"""What a rule will do on this host, before it does it."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cmonlab.errors import NotTraceable
from cmonlab.filters import pcapfilter
from cmonlab.filters.pcapfilter import Instruction
from cmonlab.points.catalogue import BY_NAME, Point, groups

from .budget import COST_NS, LOWEST, Level
from .model import ContainerFacts, Rule
from .plan import compiled, points_of, selects

#: How often a TCP or UDP packet between two containers on one bridge passes a point, where
#: that is not once: two veth pairs are crossed, they have no queueing discipline and no
#: polled driver, nothing is dropped, wrapped or routed.
_PASSES = {
    "net_dev_queue": 2, "net_dev_start_xmit": 2, "netif_rx": 2, "netif_receive_skb": 2, "softirq_entry": 2,
    "qdisc_enqueue": 0, "qdisc_dequeue": 0, "napi_gro_receive_entry": 0, "kfree_skb": 0, "tcp_retransmit_skb": 0,
    "ip_forward": 0, "vxlan_xmit": 0, "vxlan_rcv": 0,
    "ovs_vport_receive": 0, "ovs_dp_process_packet": 0, "ovs_vport_send": 0,
}  # fmt: skip

_EVERYWHERE = "every device of every network namespace: one program a point, whatever the number of devices"


@dataclass(frozen=True)
class PointFacts:
    """A point of a rule: `passes` is how often a packet of a container pair passes it."""

    name: str
    stage: str
    meaning: str
    passes: int
    available: bool
    why: str


@dataclass(frozen=True)
class Explanation:
    """What a rule will do.

    Attributes
    ----------
    name : str
    standard : dict
        The rule with everything spelled out, its points being those that this host has.
    points : tuple of PointFacts
        Those of the whole catalogue that the rule means; `available` on this host or not.
    refused : str
        Why this host would refuse the rule, empty if it would not.
    devices : str
        Which devices it sees.
    containers : tuple of ContainerFacts or None
        Those that match now; None when it cannot be told, or nothing is selected.
    containers_told : str
        The same as a sentence.
    instructions : int
        Length of the compiled filter.
    listing : tuple of str
        The filter as ``tcpdump -d`` prints it.
    matched_ns, unmatched_ns : float
        Estimated cost of a packet between two containers on one bridge that the rule
        matches, and of one that it does not.
    budget : str
        What a budget will do, empty where there is none.
    """

    name: str
    standard: dict[str, Any]
    points: tuple[PointFacts, ...]
    refused: str
    devices: str
    containers: tuple[ContainerFacts, ...] | None
    containers_told: str
    instructions: int
    listing: tuple[str, ...]
    matched_ns: float
    unmatched_ns: float
    budget: str


def explain(
    rule: Rule, available: Sequence[str] | None = None, containers: Sequence[ContainerFacts] | None = None
) -> Explanation:
    """Tell what a rule will do.

    Parameters
    ----------
    rule : Rule
    available : sequence of str, optional
        Names of the points that this host has; without, all of the catalogue count.
    containers : sequence of ContainerFacts, optional
        Those that run; without, it cannot be told which match.

    Raises
    ------
    RuleError
        The expression does not parse, or a point is unknown.
    NotTraceable
        libpcap is not installed.
    """
    there = list(BY_NAME) if available is None else list(available)
    program = compiled(rule)
    points = tuple(_facts(name, there) for name in points_of(rule, [*BY_NAME, *(set(there) - BY_NAME.keys())]))
    chosen = None
    if rule.match.containers is not None and containers is not None:
        chosen = tuple(container for container in containers if selects(rule, container))
    passes = sum(point.passes for point in points if point.available)
    behind_ns = (COST_NS[rule.mode] - COST_NS["unmatched"]) * rule.sample
    return Explanation(
        name=rule.name,
        standard=rule.model_dump(mode="json", exclude_none=True)
        | {"points": [point.name for point in points if point.available]},
        points=points,
        refused=_refused(rule, there),
        devices=_EVERYWHERE + ("" if rule.match.containers is None else "; packets of other containers go unmatched"),
        containers=chosen,
        containers_told=_told(rule, chosen),
        instructions=len(program),
        listing=listing(program),
        matched_ns=passes * (COST_NS["unmatched"] + behind_ns),
        unmatched_ns=float(passes * COST_NS["unmatched"]),
        budget=_budgeted(rule, points),
    )


def _budgeted(rule: Rule, points: Sequence[PointFacts]) -> str:
    if rule.budget is None:
        return ""
    modes = list(LOWEST)[list(LOWEST).index(rule.mode) :]
    begin = Level(rule.mode, min(rule.sample, LOWEST[rule.mode]))
    told = [f"at most {rule.max_overhead}, of the programs of all rules together; it begins with {begin}"]
    if len(modes) > 1:
        told.append(f"where that costs too much, it falls back to mode {', then '.join(modes[1:])}")
    there = [point for point in points if point.available]
    # As a budget counts: by packets at the point that most of them pass.
    most = max((point.passes for point in there if point.name in groups()["path"]), default=1) if there else 1
    least = sum(point.passes for point in there) / max(1, most) * COST_NS["count"]
    if rule.budget.unit == "ns" and least > rule.budget.most:
        told.append(f"by the estimate it cannot be kept: even to leave packets out costs {least:,.0f} ns")
    return "; ".join(told)


def _refused(rule: Rule, available: Sequence[str]) -> str:
    try:
        points_of(rule, available)
    except NotTraceable as error:
        return "; ".join(filter(None, (error.what, error.why, error.fix)))
    return ""


def _facts(name: str, available: Sequence[str]) -> PointFacts:
    point = BY_NAME.get(name) or Point(-1, name, name, "custom", "a point of one's own")
    there = name in available
    return PointFacts(
        name, point.stage, point.meaning, _PASSES.get(name, 1), there, "" if there else _why(point, available)
    )


def _why(point: Point, available: Sequence[str]) -> str:
    if point.instead_of and point.instead_of in available:
        return f"it stands in for {point.instead_of}, which is there"
    if point.is_function:
        return "this kernel has no such function, or does not let it be traced (see `cmonlab doctor`)"
    return f"came with Linux {point.since}" if point.since else "this kernel has no such tracepoint"


def _told(rule: Rule, chosen: Sequence[ContainerFacts] | None) -> str:
    if rule.match.containers is None:
        return "no selectors: packets of all containers, and of the host"
    if chosen is None:
        return "cannot be told: no Docker engine answers"
    if not chosen:
        return "none that run match now"
    way = {"both": "to or from", "in": "to", "out": "from"}[rule.match.direction]
    return f"packets {way} {len(chosen)} container{'' if len(chosen) == 1 else 's'} that match now"


def listing(program: Sequence[Instruction]) -> tuple[str, ...]:
    """Return a program as libpcap prints it, one line an instruction."""
    image = pcapfilter._libpcap().bpf_image
    image.restype, image.argtypes = ctypes.c_char_p, [ctypes.POINTER(pcapfilter._Insn), ctypes.c_int]
    lines = []
    for at, one in enumerate(program):
        insn = pcapfilter._Insn(one.code, one.jt, one.jf, one.k)
        lines.append(image(ctypes.byref(insn), at).decode("ascii", "replace").rstrip())
    return tuple(lines)
