"""What a segment's time is spent on: processing, queueing, scheduling, or waiting for the softirq."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

PROCESSING, QUEUEING, SCHEDULING, SOFTIRQ = "processing", "queueing", "scheduling", "softirq"
#: All kinds, in the order in which figures show them.
KINDS = (PROCESSING, QUEUEING, SOFTIRQ, SCHEDULING)

#: Points that have their own word in `CASES`; other points are called by their stage.
_WORDS = {
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
    """One line of the table that classifies segments; the first line that fits a segment is used.

    Attributes
    ----------
    before, after : frozenset of str
        Words for the points at which the segment may begin and end (see `CASES`); empty if any point fits.
    kind : str
        One of `KINDS`.
    reason : str
        Explanation.
    one_device : bool
        Whether it applies only if both ends are on the same device.
    qdisc_seen : bool
        Whether it applies only if the points of queueing disciplines were traced.
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
        "waits in the queueing discipline; of packets that are dequeued together, only the first passes the point",
    ),
    _case(
        "queue",
        "xmit",
        PROCESSING,
        "no queueing discipline held it, otherwise it would have been seen there",
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
        "waits in the socket's send buffer for the window, pacing or small-queue limits; includes copying from the "
        "application and TCP's own work, as no point separates them",
    ),
    _case("rx", "softirq", SOFTIRQ, "in the processor's backlog until its receive softirq begins"),
    _case("softirq", "", QUEUEING, "the softirq runs and processes the packets ahead of it"),
    _case("", "softirq", SOFTIRQ, "in the device's ring until the receive softirq begins"),
    _case("rx", "receive", QUEUEING, "in the processor's backlog; it is not known when the softirq began"),
    _case("", "gro", QUEUEING, "in the ring of a polled device, and on a wire before that"),
    _case(
        "receive gro function",
        "read deliver consume",
        QUEUEING,
        "in the socket's queue until the application has read it; it is not known when the reader was woken",
    ),
    _case("", "wake", PROCESSING, "the stack delivers it to the socket and wakes the reader"),
    _case("", "run", SCHEDULING, "the reader is woken and waits for a processor"),
    _case("run", "read deliver", PROCESSING, "the reader runs, returns from its wait and copies the data"),
    _case("", "", PROCESSING, "the stack or the application processes it"),
)


def table() -> pd.DataFrame:
    """Return `CASES` as a table: before, after, kind, only, reason (all str); the first row that fits is used."""

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
    """Classifies the segments of one session.

    Parameters
    ----------
    points : mapping of int to (str, str)
        Id → name and stage of the points that were traced.
    """

    def __init__(self, points: Mapping[int, tuple[str, str]]):
        self._words = {number: _WORDS.get(name, stage) for number, (name, stage) in points.items()}
        self._qdisc_seen = {name for name, _ in points.values()} >= _QDISC

    def word(self, point: int) -> str:
        """Return the word for a point in `CASES`, given its id."""
        return self._words.get(point, "")

    def of(self, before: str, after: str, one_device: bool) -> str:
        """Return the kind of a segment.

        Parameters
        ----------
        before, after : str
            Words of the two points; see `word`.
        one_device : bool
            Whether both hops are on the same interface.

        Returns
        -------
        str
            One of `KINDS`.
        """
        return next(
            case.kind
            for case in CASES  # the last case fits every segment
            if (not case.before or before in case.before)
            and (not case.after or after in case.after)
            and one_device >= case.one_device
            and self._qdisc_seen >= case.qdisc_seen
        )
