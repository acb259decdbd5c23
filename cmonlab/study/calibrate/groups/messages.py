"""Datagrams and echoes: n packets in, n journeys out, and no hop or read in the journey of another packet."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Unpack

import pandas as pd

from cmonlab.session.session import Session

from ...testbed.flow import Flow
from ...testbed.senders import Reads, read_messages
from ...testbed.testbed import Testbed
from ...testbed.traffic import Reading, recording
from ..check import Check
from ..matches import exact, lost_hops, mixed, out_of_balance, wrong_datagram_reads, wrong_parts


def checked(
    bed: Testbed,
    title: str,
    make: Callable[[], AbstractContextManager[Flow]],
    rate: float,
    share: float,
    **reading: Unpack[Reading],
) -> list[Check]:
    """Send and record a flow, and return its checks.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    title : str
        Name of the scenario.
    make : callable
        Returns a context manager that yields the flow.
    rate : float
        The machine's packet rate, in packets per second.
    share : float
        Share of that rate to send at; 1: as fast as possible.
    **reading
        How events are read, see `recording`.
    """
    with make() as flow, recording(bed, flow.rule, **reading) as done:
        task = bed.start(flow.receiver_name, read_messages, flow.receiver, len(flow.numbers), flow.at, flow.width)
        sent_pps = bed.call("c1", flow.batch.send, flow.sender, rate * share if share < 1 else None)
        reads = task.result(timeout=60)
    paced = f"paced to {share:.0%} of" if share < 1 else "as fast as possible; untraced, the machine's rate is"
    speed = f"{sent_pps:,.0f} messages/s, {paced} {rate:,.0f}/s"
    return checks(title, flow, done.session, reads, speed)


def checks(title: str, flow: Flow, session: Session, reads: Reads, speed: str) -> list[Check]:
    """Return the checks of a recorded flow.

    Parameters
    ----------
    title : str
        Name of the scenario.
    flow : Flow
        What was sent.
    session : Session
        The recording.
    reads : Reads
        Log of the reading application.
    speed : str
        The rate at which the flow was sent, as text.
    """
    check, table, lost = exact(session), session.journeys(), lost_hops(session)
    note = f"{speed}; {session.lost_events} lost events, {lost} of them hops"
    found = [
        check(
            f"{title}: messages read in order", len(flow.numbers), in_place(flow, reads), note="the reader's own log"
        ),
        check(f"{title}: false matches", 0, false_matches(flow, session, reads), note=_how(table, lost)),
    ]
    if lost:
        return [*found, *_accounted(check, title, flow, session, note)]
    found += [
        check(f"{title}: journeys", flow.journeys, len(table), note=note),
        check(f"{title}: complete journeys", flow.complete, int(table["complete"].sum()), note=note),
    ]
    if flow.parts:
        wrong, split = wrong_parts(session, flow.parts), int((table["outcome"] == "split").sum())
        found += [
            check(f"{title}: packets split", len(flow.batch), split, note=f"each into {flow.parts}"),
            check(f"{title}: parts of another packet", 0, wrong, note="by their order"),
        ]
    if flow.expected_seq is not None:
        wrong = sum(a != b for a, b in zip(table["seq"].tolist(), flow.expected_seq, strict=False))
        found.append(check(f"{title}: journeys out of order", 0, wrong, note="by the hash of each packet's payload"))
    return found


def in_place(flow: Flow, reads: Reads) -> int:
    """Return how many messages the application read at their place in the order.

    Parameters
    ----------
    flow : Flow
        What was sent.
    reads : Reads
        Log of the reading application.
    """
    return sum(a == b for a, b in zip(flow.numbers, reads.number.tolist(), strict=False))


def _how(table: pd.DataFrame, lost: int) -> str:
    delivered = int((table["outcome"] == "delivered").sum())
    order = (
        "by the packets' content, because events were lost" if lost else "by each packet's place in the order at hops"
    )
    return f"{order}, and by the application's log for the {delivered:,} reads that were matched"


def false_matches(flow: Flow, session: Session, reads: Reads) -> int:
    """Return how many journeys mix packets, or end with another packet's read.

    Parameters
    ----------
    flow : Flow
        What was sent.
    session : Session
        The recording.
    reads : Reads
        Log of the reading application.
    """
    # If events are missing, the place in the order says nothing.
    alike = ("seq", "ident", "dport") if lost_hops(session) else ()
    direction = "c1 → c0" if flow.receiver_name == "c0" else "c0 → c1"
    each = 1 if flow.parts else len(flow.numbers) // len(flow.batch)  # a packet is read when its last segment is
    last = Reads(reads.before_ns[each - 1 :: each], reads.after_ns[each - 1 :: each], reads.number[::each])
    return mixed(session, alike) + wrong_datagram_reads(session, last, direction, flow.seq_of)


def _accounted(check: Callable, title: str, flow: Flow, session: Session, note: str) -> list[Check]:
    """Return checks for lost events: every packet is in the ledger, and there is no journey without a packet."""
    ledger, events = session.ledger().set_index("point"), session.events
    found = [
        check(f"{title}: ledger out of balance", 0, out_of_balance(session), note=note),
        check(f"{title}: journeys beyond the packets", 0, max(0, len(session.journeys()) - flow.journeys), note=note),
    ]
    if not flow.parts:
        passed = events.loc[events["point"] == "net_dev_queue", ["netns", "ifindex"]].drop_duplicates()
        each = flow.journeys // (1 if flow.receiver_name == "c0" else 2)  # replies pass other interfaces
        queue = ledger.loc["net_dev_queue"]
        found.append(
            check(
                f"{title}: packets at net_dev_queue, recorded or lost",
                each * len(passed),
                int(queue["recorded"] + queue["lost"]),
                note="packets times the interfaces at which they were queued",
            )
        )
    return found
