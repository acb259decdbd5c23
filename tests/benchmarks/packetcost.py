"""Cost per packet of all programs together, on its path from one namespace to another."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cmonlab.rules import Rule
from cmonlab.tracing.kernel import bpf

from .kernelcost import plans_of
from .programs import Programs
from .traffic import until

POINTS = ("net_dev_queue", "net_dev_start_xmit", "netif_rx", "netif_receive_skb")
_QUEUE = "net_dev_queue"
TRIPS = 24_000  # packets per sample: about a second, after which cells are new, as in a recording


@dataclass(frozen=True)
class Cost:
    """Of one sample.

    Attributes
    ----------
    ns : float
        Run time a packet.
    overflowed : float
        Share of the hops that found no room in the aggregate.
    programs : float
        Attached programs at each point.
    """

    ns: float
    overflowed: float
    programs: float


def floor_cost(programs: Programs, warm: int, packets: int = TRIPS) -> Cost:
    """Return the cost per packet of the floor program at `POINTS`; see `rule_cost`."""
    with programs.attached("least_record", POINTS) as loaded:
        return Cost(_spent_ns(programs, loaded, warm, packets), 0.0, 1.0)


def rule_cost(programs: Programs, rule: Rule, warm: int, packets: int = TRIPS) -> Cost:
    """Return the cost per packet of a rule's programs.

    Parameters
    ----------
    programs : Programs
    rule : Rule
        Its points hold ``net_dev_queue``, which each packet passes twice: of its way the
        first and the last device are containers'.
    warm : int
        Packets to let pass first.
    packets : int
        Packets to measure.
    """
    others = attachments()
    with programs.active(plans_of([rule])) as active:
        loaded = {point.name: program for point, program in active.programs.items()}
        cost_ns = _spent_ns(programs, loaded, warm, packets)
        rows = active.ledgers()[active.epoch].values()
        at_each = (attachments() - others) / len(loaded)
    overflowed = sum(row["overflowed"] for row in rows) / max(1, sum(row["seen"] - row["unmatched"] for row in rows))
    return Cost(cost_ns, overflowed, at_each)


def attachments() -> int:
    """Return how many programs this process has attached, as the kernel sees it."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed in the meantime
            found += os.readlink(link) == "anon_inode:bpf_link"
    return found


def _spent_ns(programs: Programs, loaded: dict[str, int], warm: int, packets: int) -> float:
    def passed() -> float:
        programs.drain()
        return bpf.program_stats(loaded[_QUEUE])[1] / 2

    until(lambda: passed() > warm, "the first packets", 60.0)
    before = {name: bpf.program_stats(program)[:2] for name, program in loaded.items()}
    until(lambda: passed() - before[_QUEUE][1] / 2 >= packets, "packets to flow", 60.0)
    after = {name: bpf.program_stats(program)[:2] for name, program in loaded.items()}
    spent_ns = sum(after[name][0] - before[name][0] for name in loaded)
    return spent_ns / (after[_QUEUE][1] - before[_QUEUE][1]) * 2
