"""Overload: more events than the ring buffers hold. Every lost event is counted, and the remaining data are correct."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

import pandas as pd

from cmonlab.session.session import Session
from cmonlab.tracing.kernel import programs
from cmonlab.tracing.kernel.maps import possible_cpus
from cmonlab.tracing.ring import SLOT_BYTES
from cmonlab.tracing.tracer import POLL_S

from ...testbed.testbed import Testbed
from ...testbed.traffic import ADDRESS, free_port, hash_of, receive_udp, recording, send_udp, udp_socket
from ..check import Check, Unavailable, repeat_over_trace_gaps

GROUP = "overload"
#: A ring reader with this polling interval is stopped: it reads only when the recording ends.
BLOCKED_S = 60.0

#: How often each packet passes a point on its path from c1 over the bridge to c0.
PASSES = {"net_dev_queue": 2, "net_dev_start_xmit": 2, "netif_rx": 2, "netif_receive_skb": 2}
_READS = "sock_recv_length"
_FATES = ("unmatched", "sampled_out", "counted", "aggregated", "overflowed", "recorded", "lost")
_RINGS_BYTES = (4096, 65536, 1 << 20)
_FAST_RING_BYTES, _FAST_S = 4096, POLL_S
_SIZE, _UNMATCHED, _BUFFER_BYTES = 40, 100, 256 << 20  # the socket has room for all datagrams


def run(bed: Testbed, quick: bool) -> Iterator[list[Check] | Unavailable]:
    """Yield the checks of each scenario.

    Parameters
    ----------
    bed : Testbed
        A testbed without other traffic.
    quick : bool
        Send fewer packets.
    """
    for make in scenarios(bed, quick).values():
        yield repeat_over_trace_gaps(make)


def scenarios(bed: Testbed, quick: bool) -> dict[str, Callable[[], list[Check]]]:
    """Return the scenarios.

    Parameters
    ----------
    bed : Testbed
        A testbed without other traffic.
    quick : bool
        Send fewer packets.

    Returns
    -------
    dict of str to callable
        Name → function that runs the scenario and returns its checks.
    """
    few, many = (2_003, 20_011) if quick else (20_011, 50_021)
    # A packet makes nine events: as many packets as a ring has slots overflow it, whichever CPUs they pass.
    counts = {size: max(few, size // SLOT_BYTES) for size in _RINGS_BYTES}
    made = [(f"reader stopped, rings of {size} B", counts[size], size, BLOCKED_S) for size in _RINGS_BYTES]
    made.append((f"reader runs, rings of {_FAST_RING_BYTES} B", many, _FAST_RING_BYTES, _FAST_S))
    return {name: partial(_score, bed, name, count, ring, poll_s) for name, count, ring, poll_s in made}


def _score(bed: Testbed, name: str, count: int, ring_bytes: int, poll_s: float) -> list[Check]:
    port, other = free_port(), free_port()
    with (
        udp_socket(bed, "c0", port, buffer_bytes=_BUFFER_BYTES) as receiver,
        udp_socket(bed, "c0", other) as unmatched,
        udp_socket(bed, "c1") as sender,
        recording(bed, f"udp port {port}", ring_bytes=ring_bytes, poll_s=poll_s) as done,
    ):
        reading = bed.start("c0", receive_udp, receiver, count)
        bed.call("c1", send_udp, sender, (ADDRESS[4]["c0"], port), _SIZE, count)
        reading.result(timeout=60)
        bed.call("c1", send_udp, sender, (ADDRESS[4]["c0"], other), _SIZE, _UNMATCHED)
        bed.call("c0", receive_udp, unmatched, _UNMATCHED)
    session = done.session
    room = possible_cpus() * ring_bytes // SLOT_BYTES if poll_s == BLOCKED_S else None
    values = [*_accounted(session, count), *_said(session, room), *_true(session, count)]
    return [
        Check(GROUP, f"{name}: {what}", float(truth), float(measured), unit, 0, note, session.trace_gap_ns)
        for what, truth, measured, unit, note in values
    ]


#: Name, reference value, measured value, unit and note.
Value = tuple[str, float, float, str, str]


def _accounted(session: Session, count: int) -> Iterator[Value]:
    """Compare the ledger with the sent packets."""
    ledger = session.ledger().set_index("point")
    known = dict(PASSES) | ({_READS: 1} if _READS in ledger.index else {})
    for point, times in known.items():
        row = ledger.loc[point]
        yield (
            f"{point}, recorded and lost",
            times * count,
            row["recorded"] + row["lost"],
            "events",
            f"each of {count} datagrams passes it {times} times",
        )
    short = sum(ledger.loc[point, "unmatched"] < times * _UNMATCHED for point, times in PASSES.items())
    yield "points that do not count packets of others", 0, short, "points", f"{_UNMATCHED} other datagrams passed"
    balance = ledger["seen"] - ledger[list(_FATES)].sum(axis=1)
    yield "points that do not balance", 0, (balance != 0).sum(), "points", "seen = sum of all fates"
    yield "points with a negative fate", 0, (ledger < 0).any(axis=1).sum(), "points", ""


def _said(session: Session, room: int | None) -> Iterator[Value]:
    """Compare what the session reports of itself with its events."""
    ledger = session.ledger()
    yield "events in the session", ledger["recorded"].sum(), len(session), "events", "the ledger's sum of recorded"
    yield "events were lost at all", 1, int(session.lost_events > 0), "", "otherwise there was no overload"
    if room is not None:
        yield "events beyond the rings' room", 0, max(0, len(session) - room), "events", f"the rings hold {room} events"
    found = re.search(r"([\d,]+) lost events", repr(session))
    said = int(found[1].replace(",", "")) if found else -1
    yield "lost events in the session's description", ledger["lost"].sum(), said, "events", "repr(session)"


def _true(session: Session, count: int) -> Iterator[Value]:
    """Check the remaining data: no packets are mixed, none is invented, none is reported as lost."""
    journeys, events = session.journeys(), session.events
    number = journeys["seq"].map({hash_of(number, _SIZE): number for number in range(count)})
    hops = session.hops(journeys["journey"].tolist())
    hop_events = events[events["point"].isin(list(PASSES))]
    yield "journeys beyond the packets sent", 0, max(0, len(journeys) - count), "journeys", ""
    yield "journeys of packets that were not sent", 0, number.isna().sum(), "journeys", "payloads are numbered"
    yield "packets with two journeys", 0, journeys["seq"].duplicated().sum(), "packets", ""
    yield "journeys out of order", 0, (number.diff().dropna() <= 0).sum(), "journeys", "they were sent one by one"
    yield "hops passed twice in a journey", 0, hops.duplicated(["journey", "hop"]).sum(), "hops", ""
    yield (
        "hops in the right packet's journey",
        len(hop_events),
        _owned(journeys, hops, hop_events),
        "hops",
        "payloads are numbered",
    )
    yield (
        "reported as dropped",
        0,
        session.loss()["dropped"].sum() + len(session.drops()),
        "packets",
        "nothing was dropped",
    )
    if _misses_reads(session):
        read = (journeys["outcome"] == "delivered").sum()
        yield "reads reported although reads were lost", 0, read, "journeys", "a missing read shifts all later ones"


def _owned(journeys: pd.DataFrame, hops: pd.DataFrame, hop_events: pd.DataFrame) -> int:
    """Count the hops of journeys whose time is that of an event of the journey's own packet."""
    own = hops.assign(seq=hops["journey"].map(journeys.set_index("journey")["seq"]))
    stamped = own.merge(hop_events[["ts_ns", "seq"]].drop_duplicates(), on=["ts_ns", "seq"])
    return len(stamped.drop_duplicates(["journey", "ts_ns"]))  # a softirq hop has no time of its own


def _misses_reads(session: Session) -> bool:
    """Return whether events were lost, and reads of datagrams are matched by their order."""
    ordered = any(point.stage == "read" for point in programs.available())
    return ordered and session.lost_events > 0
