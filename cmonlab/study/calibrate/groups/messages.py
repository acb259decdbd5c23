"""Datagrams and echoes: n packets in, n journeys out, and no hop or read in the journey of another packet."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pandas as pd

from cmonlab.session.session import Session

from ...testbed.flows import Flow
from ...testbed.senders import Reads, read_messages
from ...testbed.testbed import Testbed
from ...testbed.traffic import recording
from ..check import Check
from ..matches import exact, lost_hops, mixed, out_of_balance, wrong_datagram_reads, wrong_parts


def checked(
    bed: Testbed, title: str, make: Callable[[], AbstractContextManager[Flow]], rate: float, share: float, **reading
) -> list[Check]:
    """Send what `make` yields, and return the checks.

    Parameters
    ----------
    rate : float
        The machine's packet rate, packets a second.
    share : float
        Of that rate; 1 is as fast as it goes.
    reading
        See `recording`.
    """
    with make() as flow, recording(bed, flow.rule, **reading) as done:
        reading = bed.start(flow.receiver_name, read_messages, flow.receiver, len(flow.numbers), flow.at, flow.width)
        sent_pps = bed.call("c1", flow.batch.send, flow.sender, rate * share if share < 1 else None)
        reads = reading.result(timeout=60)
    paced = f"paced to {share:.0%} of" if share < 1 else "as fast as it goes; untraced the machine brings"
    speed = f"{sent_pps:,.0f} messages/s, {paced} {rate:,.0f}/s"
    return checks(title, flow, done.session, reads, speed)


def checks(title: str, flow: Flow, session: Session, reads: Reads, speed: str) -> list[Check]:
    """Return the checks of datagrams that were recorded."""
    check, table, lost = exact(session), session.journeys(), lost_hops(session)
    told = f"{speed}; {session.lost_events} lost events, {lost} of them hops"
    found = [
        check(
            f"{title}: messages read in order", len(flow.numbers), in_place(flow, reads), note="the reader's own log"
        ),
        check(f"{title}: false matches", 0, false_matches(flow, session, reads), note=_how(table, lost)),
    ]
    if lost:
        return [*found, *_accounted(check, title, flow, session, told)]
    found += [
        check(f"{title}: journeys", flow.journeys, len(table), note=told),
        check(f"{title}: complete journeys", flow.complete, int(table["complete"].sum()), note=told),
    ]
    if flow.parts:
        wrong, split = wrong_parts(session, flow.parts), int((table["outcome"] == "split").sum())
        found += [
            check(f"{title}: packets split", len(flow.batch), split, note=f"into {flow.parts} each"),
            check(f"{title}: parts of another packet", 0, wrong, note="by their order"),
        ]
    if flow.looks is not None:
        wrong = sum(a != b for a, b in zip(table["seq"].tolist(), flow.looks, strict=False))
        found.append(check(f"{title}: journeys out of order", 0, wrong, note="by the hash of each packet's payload"))
    return found


def in_place(flow: Flow, reads: Reads) -> int:
    """Return how many messages the application read in their order."""
    return sum(a == b for a, b in zip(flow.numbers, reads.number.tolist(), strict=False))


def _how(table: pd.DataFrame, lost: int) -> str:
    delivered = int((table["outcome"] == "delivered").sum())
    order = "by what packets hold, as events were lost" if lost else "by each packet's place in the order at each hop"
    return f"{order}, and by the application's log for the {delivered:,} reads that were joined"


def false_matches(flow: Flow, session: Session, reads: Reads) -> int:
    """Return how many journeys mix packets, or end with another packet's read."""
    # Where events are missing, places tell nothing.
    alike = ("seq", "ident", "dport") if lost_hops(session) else ()
    direction = "c1 → c0" if flow.receiver_name == "c0" else "c0 → c1"
    each = 1 if flow.parts else len(flow.numbers) // len(flow.batch)  # a packet is read when its last segment is
    last = Reads(reads.before_ns[each - 1 :: each], reads.after_ns[each - 1 :: each], reads.number[::each])
    return mixed(session, alike) + wrong_datagram_reads(session, last, direction, flow.look_of)


def _accounted(check: Callable, title: str, flow: Flow, session: Session, told: str) -> list[Check]:
    """Return what must hold where events were lost: every packet is in the ledger, and no journey is made up."""
    ledger, events = session.ledger().set_index("point"), session.events
    found = [
        check(f"{title}: ledger out of balance", 0, out_of_balance(session), note=told),
        check(f"{title}: journeys beyond the packets", 0, max(0, len(session.journeys()) - flow.journeys), note=told),
    ]
    if not flow.parts:
        passed = events.loc[events["point"] == "net_dev_queue", ["netns", "ifindex"]].drop_duplicates()
        each = flow.journeys // (1 if flow.receiver_name == "c0" else 2)  # answers pass other interfaces
        queue = ledger.loc["net_dev_queue"]
        found.append(
            check(
                f"{title}: packets at net_dev_queue, recorded or lost",
                each * len(passed),
                int(queue["recorded"] + queue["lost"]),
                note="packets, times the interfaces that they were queued for",
            )
        )
    return found
