"""What a segment's time is spent on: processing, queueing, scheduling, or waiting for the softirq."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

PROCESSING, QUEUEING, SCHEDULING, SOFTIRQ = "processing", "queueing", "scheduling", "softirq"
#: In the order in which figures show them.
KINDS = (PROCESSING, QUEUEING, SOFTIRQ, SCHEDULING)

#: Points with a meaning of their own; of all others the stage counts.
_TOLD_APART = {
    "net_dev_queue": "queue",
    "net_dev_start_xmit": "xmit",
    "netif_rx": "rx",
    "netif_receive_skb": "receive",
    "napi_gro_receive_entry": "gro",
    "qdisc_enqueue": "enqueue",
    "qdisc_dequeue": "dequeue",
}
_QDISC = frozenset({"qdisc_enqueue", "qdisc_dequeue"})


@dataclass(frozen=True)
class Case:
    """One line of the table that classes segments; the first that fits a segment counts.

    Attributes
    ----------
    before, after : frozenset of str
        Where the segment begins and ends (see `CASES`); empty: anywhere.
    kind : str
        One of `KINDS`.
    reason : str
        Why it is classed so.
    one_device : bool
        Only where both ends are on the same device.
    qdisc_seen : bool
        Only where the points of queueing disciplines were traced.
    """

    before: frozenset[str]
    after: frozenset[str]
    kind: str
    reason: str
    one_device: bool = False
    qdisc_seen: bool = False


def _case(before: str, after: str, kind: str, reason: str, **only: bool) -> Case:
    return Case(frozenset(before.split()), frozenset(after.split()), kind, reason, **only)


CASES: tuple[Case, ...] = (
    _case("queue enqueue", "dequeue", QUEUEING, "waits in the queueing discipline"),
    _case(
        "enqueue",
        "xmit",
        QUEUEING,
        "waits in the queueing discipline; of packets taken out together only the first is seen at the dequeue",
    ),
    _case(
        "queue",
        "xmit",
        PROCESSING,
        "no queueing discipline held it, or it would have been seen there",
        one_device=True,
        qdisc_seen=True,
    ),
    _case(
        "queue",
        "xmit",
        QUEUEING,
        "may have waited in a queueing discipline: its points were not traced",
        one_device=True,
    ),
    _case(
        "send",
        "",
        QUEUEING,
        "waits in the socket's send buffer for the window, pacing or small-queue limits; the copying from the "
        "application and TCP's own work are in it as well, as no point tells them apart",
    ),
    _case("rx", "softirq", SOFTIRQ, "on the processor's backlog until its receive softirq begins"),
    _case("softirq", "", QUEUEING, "the softirq runs and works off what was ahead of it"),
    _case("", "softirq", SOFTIRQ, "in the device's ring until the receive softirq begins"),
    _case("rx", "receive", QUEUEING, "on the processor's backlog; when the softirq began is not known"),
    _case("", "gro", QUEUEING, "in the ring of a polled device, on a wire before that"),
    _case(
        "receive gro function",
        "read deliver consume",
        QUEUEING,
        "in the socket's queue until the application has read it; when the reader was woken is not known",
    ),
    _case("", "wake", PROCESSING, "the stack takes it to the socket and wakes the reader"),
    _case("", "run", SCHEDULING, "the reader is woken and waits for a processor"),
    _case("run", "read deliver", PROCESSING, "the reader runs, returns from its wait and copies the data"),
    _case("", "", PROCESSING, "the stack, or the application, works on it"),
)


def table() -> pd.DataFrame:
    """Return the cases as a table: before, after, kind, only, reason; the first that fits counts."""

    def only(case: Case) -> str:
        words = {"on one device": case.one_device, "queueing disciplines traced": case.qdisc_seen}
        return ", ".join(word for word, so in words.items() if so)

    return pd.DataFrame(
        [
            {
                "before": " or ".join(sorted(case.before)) or "any",
                "after": " or ".join(sorted(case.after)) or "any",
                "kind": case.kind,
                "only": only(case),
                "reason": case.reason,
            }
            for case in CASES
        ]
    )


class Kinds:
    """Class the segments of one session.

    Parameters
    ----------
    points : mapping of int to (str, str)
        Name and stage of each point id that was traced.
    """

    def __init__(self, points: Mapping[int, tuple[str, str]]):
        self._words = {number: _TOLD_APART.get(name, stage) for number, (name, stage) in points.items()}
        self._qdisc_seen = {name for name, _ in points.values()} >= _QDISC

    def word(self, point: int) -> str:
        """Return what `CASES` calls a point, from its id."""
        return self._words.get(point, "")

    def of(self, before: str, after: str, one_device: bool) -> str:
        """Return the kind of a segment.

        Parameters
        ----------
        before, after : str
            What `CASES` calls the two points.
        one_device : bool
            Whether both hops are on one interface of one namespace.
        """
        return next(
            case.kind
            for case in CASES  # the last one fits every segment
            if (not case.before or before in case.before)
            and (not case.after or after in case.after)
            and one_device >= case.one_device
            and self._qdisc_seen >= case.qdisc_seen
        )
