"""Counts: n packets in, n journeys out, and no hop or read in the journey of another packet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

from ..errors import NotTraceable
from ..session import Session
from . import segments
from .check import Check, Unavailable, settled
from .flows import KINDS, Flow, made
from .matches import GROUP, exact, mixed, wrong_datagram_reads
from .packets import datagrams
from .senders import Reads, machine_rate, read_messages
from .testbed import Testbed
from .traffic import free_port, recording

#: Shares of the machine's packet rate; 1 is as fast as it goes.
SHARES = (0.01, 0.1, 1.0)
#: What is sent at every rate also where little time is; everything else is then sent at the full rate only.
PACED = ("UDP", "20% duplicated and reordered", "TCP retransmission")
_MOST_SEGMENTS = 10_007  # a reader of the sniffer's kind takes its time


def packets_at(share: float, quick: bool) -> int:
    """Return how many packets are sent at a share of the machine's packet rate."""
    full = {0.01: 1009, 0.1: 5003, 1.0: 50021}[share]
    return max(307, full // 5) if quick else full


def run(bed: Testbed, quick: bool) -> Iterator[list[Check] | Unavailable]:
    """Yield the checks of every situation."""
    rate = machine_rate(bed)
    yield from () if "tcp" in __import__("sys").argv else _datagrams(bed, rate, quick)
    yield from _segments(bed, rate, quick)


def _datagrams(bed: Testbed, rate: float, quick: bool) -> Iterator[list[Check] | Unavailable]:
    port = free_port()
    frames = datagrams(bed, port, 1009 if quick else 5003)
    for share in reversed(SHARES):
        count = packets_at(share, quick)
        some = frames[:count]
        kinds: dict[str, Callable[[], AbstractContextManager[Flow]]] = {
            **{name: partial(make, bed, count) for name, make in KINDS.items()},
            "made by scapy": partial(made, bed, some, port, False),
            "20% duplicated and reordered": partial(made, bed, some, port, True),
        }
        for name, make in kinds.items():
            if quick and share < 1 and name not in PACED:
                continue
            title = f"{name} at {share:.0%} of the packet rate"
            try:
                yield settled(partial(_checked, bed, title, make, rate, share))
            except NotTraceable as error:
                yield Unavailable(GROUP, title, str(error))


def _segments(bed: Testbed, rate: float, quick: bool) -> Iterator[list[Check] | Unavailable]:
    for share in reversed(SHARES):
        for name in segments.KINDS:
            if quick and share < 1 and name not in PACED:
                continue
            title = f"{name} at {share:.0%} of the packet rate"
            pace = None if share == 1 else share * rate
            count = min(packets_at(share, quick), _MOST_SEGMENTS)
            try:
                yield settled(partial(segments.checked, bed, title, name, count, pace))
            except NotTraceable as error:
                yield Unavailable(GROUP, title, str(error))


def _checked(bed: Testbed, title: str, make: Callable, rate: float, share: float) -> list[Check]:
    with make() as flow:
        with recording(bed, flow.rule) as done:
            reading = bed.start(
                flow.receiver_name, read_messages, flow.receiver, len(flow.numbers), flow.at, flow.width
            )
            sent_pps = bed.call("c1", flow.batch.send, flow.sender, rate * share if share < 1 else None)
            reads = reading.result(timeout=60)
    paced = f"paced to {share:.0%} of" if share < 1 else "as fast as it goes; untraced the machine brings"
    speed = f"{sent_pps:,.0f} messages/s, {paced} {rate:,.0f}/s"
    return checks(title, flow, done.session, reads, speed)


def checks(title: str, flow: Flow, session: Session, reads: Reads, speed: str) -> list[Check]:
    """Return the checks of datagrams that were recorded."""
    check, table, lost = exact(session), session.journeys(), session.lost_events
    told = f"{speed}; {lost} lost events"
    found = [
        check(f"{title}: messages read in order", len(flow.numbers), in_place(flow, reads), note="the reader's own log"),
        check(f"{title}: false matches", 0, false_matches(flow, session, reads), note=_how(table, lost)),
    ]
    if lost:
        return [*found, *_accounted(check, title, flow, session, told)]
    found += [
        check(f"{title}: journeys", flow.journeys, len(table), note=told),
        check(f"{title}: complete journeys", flow.complete, int(table["complete"].sum()), note=told),
    ]
    if flow.looks is not None:
        wrong = sum(a != b for a, b in zip(table["seq"].tolist(), flow.looks, strict=False))
        found.append(check(f"{title}: journeys out of order", 0, wrong, note="by the hash of each packet's payload"))
    return found


def in_place(flow: Flow, reads: Reads) -> int:
    """Return how many messages the application read in their order."""
    return sum(a == b for a, b in zip(flow.numbers, reads.number.tolist(), strict=False))


def _how(table, lost: int) -> str:
    delivered = int((table["outcome"] == "delivered").sum())
    order = "by what packets hold, as events were lost" if lost else "by each packet's place in the order at each hop"
    return f"{order}, and by the application's log for the {delivered:,} reads that were joined"


def false_matches(flow: Flow, session: Session, reads: Reads) -> int:
    """Return how many journeys mix packets, or end with another packet's read."""
    # Where events are missing, places tell nothing.
    alike = ("seq", "ident", "dport") if session.lost_events else ()
    direction = "c1 → c0" if flow.receiver_name == "c0" else "c0 → c1"
    return mixed(session, alike) + wrong_datagram_reads(session, reads, direction, flow.look_of)


def _accounted(check: Callable, title: str, flow: Flow, session: Session, told: str) -> list[Check]:
    """Return what must hold where events were lost: every packet is in the ledger, and no journey is made up."""
    ledger = session.ledger().set_index("point")
    off = (ledger["seen"] - ledger.drop(columns="seen").sum(axis=1)).abs().sum()
    more = max(0, len(session.journeys()) - flow.journeys)
    return [
        check(f"{title}: ledger out of balance", 0, int(off), note=told),
        check(f"{title}: journeys beyond the packets", 0, more, note=told),
    ]
