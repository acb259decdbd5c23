"""Description of what a rule will do on this host, without activating it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cmonlab.errors import NotTraceable
from cmonlab.filters.pcapfilter import disassemble
from cmonlab.points.catalogue import BY_NAME, Point, groups

from .budget import COST_NS, LOWEST, Level
from .model import ContainerFacts, Rule
from .plan import compiled, points_of, selects

#: How often a TCP or UDP packet between two containers on one bridge passes a point; once if the point is not listed.
#: Such a packet crosses two veth pairs, which have no queueing discipline and no polled driver; it is not dropped,
#: encapsulated or routed.
_PASSES = {
    "net_dev_queue": 2, "net_dev_start_xmit": 2, "netif_rx": 2, "netif_receive_skb": 2, "softirq_entry": 2,
    "qdisc_enqueue": 0, "qdisc_dequeue": 0, "napi_gro_receive_entry": 0, "kfree_skb": 0, "tcp_retransmit_skb": 0,
    "ip_forward": 0, "vxlan_xmit": 0, "vxlan_rcv": 0,
    "ovs_vport_receive": 0, "ovs_dp_process_packet": 0, "ovs_vport_send": 0,
}  # fmt: skip

_ALL_DEVICES = "every device of every network namespace: one program per point, whatever the number of devices"


@dataclass(frozen=True)
class PointFacts:
    """A point of a rule.

    Attributes
    ----------
    name : str
        Name of the point.
    stage : str
        Stage in the catalogue, ``"custom"`` for a custom probe.
    meaning : str
        When a packet passes the point.
    passes : int
        How often a packet between two containers on one bridge passes it.
    available : bool
        Whether this host has the point.
    why : str
        Why it does not, else empty.
    """

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
        Name of the rule.
    rule : dict
        All fields of the rule, defaults included; its points are those that this host has.
    points : tuple of PointFacts
        Points of the rule, those that this host lacks included.
    refused : str
        Why this host would refuse the rule, empty if it would not.
    devices : str
        Devices whose packets the rule sees, as a sentence.
    containers : tuple of ContainerFacts or None
        Containers that match now; None if they are not known, or the rule selects none.
    containers_summary : str
        The same as a sentence.
    instructions : int
        Length of the compiled filter.
    listing : tuple of str
        The filter as ``tcpdump -d`` prints it.
    matched_ns, unmatched_ns : float
        Estimated cost in ns of a packet between two containers on one bridge, if the rule matches it, and if not.
    budget : str
        How the budget will work, empty without one.
    """

    name: str
    rule: Mapping[str, object]
    points: tuple[PointFacts, ...]
    refused: str
    devices: str
    containers: tuple[ContainerFacts, ...] | None
    containers_summary: str
    instructions: int
    listing: tuple[str, ...]
    matched_ns: float
    unmatched_ns: float
    budget: str


def explain(
    rule: Rule, available: Sequence[str] | None = None, containers: Sequence[ContainerFacts] | None = None
) -> Explanation:
    """Describe what a rule will do.

    Parameters
    ----------
    rule : Rule
        The rule.
    available : sequence of str, optional
        Names of the points that this host has; by default, all of the catalogue.
    containers : sequence of ContainerFacts, optional
        Running containers; without them, it is not known which match.

    Returns
    -------
    Explanation
        Points, containers, filter and estimated cost of the rule.

    Raises
    ------
    RuleError
        The expression does not parse, or a point is unknown.
    NotTraceable
        libpcap is not installed.
    """
    present = list(BY_NAME) if available is None else list(available)
    program = compiled(rule)
    points = tuple(_facts(name, present) for name in points_of(rule, [*BY_NAME, *(set(present) - BY_NAME.keys())]))
    matching = None
    if rule.match.containers is not None and containers is not None:
        matching = tuple(container for container in containers if selects(rule, container))
    passes = sum(point.passes for point in points if point.available)
    sampled_ns = (COST_NS[rule.mode] - COST_NS["unmatched"]) * rule.sample
    return Explanation(
        name=rule.name,
        rule=rule.model_dump(mode="json", exclude_none=True)
        | {"points": [point.name for point in points if point.available]},
        points=points,
        refused=_refused(rule, present),
        devices=_ALL_DEVICES + ("" if rule.match.containers is None else "; packets of other containers go unmatched"),
        containers=matching,
        containers_summary=_containers_summary(rule, matching),
        instructions=len(program),
        listing=disassemble(program),
        matched_ns=passes * (COST_NS["unmatched"] + sampled_ns),
        unmatched_ns=float(passes * COST_NS["unmatched"]),
        budget=_budget_summary(rule, points),
    )


def _budget_summary(rule: Rule, points: Sequence[PointFacts]) -> str:
    if rule.budget is None:
        return ""
    modes = list(LOWEST)[list(LOWEST).index(rule.mode) :]
    first = Level(rule.mode, min(rule.sample, LOWEST[rule.mode]))
    sentences = [f"at most {rule.max_overhead}, for the programs of all rules together; the rule begins with {first}"]
    if len(modes) > 1:
        sentences.append(f"if that costs too much, it falls back to mode {', then '.join(modes[1:])}")
    present = [point for point in points if point.available]
    # A budget counts packets at the point that most of them pass.
    most = max((point.passes for point in present if point.name in groups()["path"]), default=1) if present else 1
    least_ns = sum(point.passes for point in present) / max(1, most) * COST_NS["count"]
    if rule.budget.unit == "ns" and least_ns > rule.budget.most:
        sentences.append(
            f"it probably cannot be kept: by the estimate, even packets that are left out cost {least_ns:,.0f} ns"
        )
    return "; ".join(sentences)


def _refused(rule: Rule, available: Sequence[str]) -> str:
    try:
        points_of(rule, available)
    except NotTraceable as error:
        return "; ".join(filter(None, (error.what, error.why, error.fix)))
    return ""


def _facts(name: str, available: Sequence[str]) -> PointFacts:
    point = BY_NAME.get(name) or Point(-1, name, name, "custom", "a custom probe")
    present = name in available
    return PointFacts(
        name, point.stage, point.meaning, _PASSES.get(name, 1), present, "" if present else _why(point, available)
    )


def _why(point: Point, available: Sequence[str]) -> str:
    """Return why this host lacks a point."""
    if point.instead_of and point.instead_of in available:
        return f"it stands in for {point.instead_of}, which this kernel has"
    if point.is_function:
        return "this kernel has no such function, or does not let it be traced (see `cmonlab doctor`)"
    return f"came with Linux {point.since}" if point.since else "this kernel has no such tracepoint"


def _containers_summary(rule: Rule, matching: Sequence[ContainerFacts] | None) -> str:
    if rule.match.containers is None:
        return "no selectors: packets of all containers, and of the host"
    if matching is None:
        return "not known: no Docker engine answers"
    if not matching:
        return "no running container matches now"
    direction = {"both": "to or from", "in": "to", "out": "from"}[rule.match.direction]
    verb = "container that matches" if len(matching) == 1 else "containers that match"
    return f"packets {direction} {len(matching)} {verb} now"
