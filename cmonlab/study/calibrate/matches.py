"""False matches: journeys with hops of several packets, and journeys that end with the read of another packet.

Packets are distinguished here by data that the correlation does not use: the position of a hop in the order of packets,
and the log of the reading application.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from cmonlab.session.session import Session

from ..testbed.senders import Reads
from .check import Check

GROUP = "counts"


def exact(session: Session) -> Callable[..., Check]:
    """Return a function that makes an exact check of counts in a recording: (name, truth, measured, note=…)."""
    return partial(Check, GROUP, unit="", tolerance=0, trace_gap_ns=session.trace_gap_ns)


def lost_hops(session: Session) -> int:
    """Return how many lost events could have been hops: all but frees of packets that had arrived (consume_skb).

    The kernel does not run a program that would interrupt itself on the same CPU; this is frequent for consume_skb,
    because a softirq often frees packets while a task does.
    """
    ledger = session.ledger()
    return int(ledger.loc[ledger["point"] != "consume_skb", "lost"].sum())


def out_of_balance(session: Session) -> int:
    """Return by how many events the ledger's fates differ from the events seen, summed over all points."""
    ledger = session.ledger().set_index("point")
    return int((ledger["seen"] - ledger.drop(columns="seen").sum(axis=1)).abs().sum())


def mixed(session: Session, alike: tuple[str, ...] = (), direction: str | None = None) -> int:
    """Return how many journeys have hops of more than one packet.

    Parameters
    ----------
    session : Session
        A recording in which no packet overtook another one.
    alike : tuple of str
        Columns of the events. Among packets with equal values in these columns, the last one at a hop must be the last
        one at every other hop, and so on backwards. Without columns this holds among all packets. A dropped packet
        must differ in these columns from the later packets, or be the first of the equal ones.
    direction : str, optional
        Check only the journeys of one direction.

    Returns
    -------
    int
    """
    events, found, stages = session.columns, session.correlated, session.facts.stages
    is_hop = stages.of("transmit", events["point"]) | stages.of("receive", events["point"])
    at = np.flatnonzero(is_hop)
    keys = pd.DataFrame({name: events[name][at] for name in alike} | {"hop": found.hops.code[at]})
    place = np.full(len(is_hop), -1, np.int64)
    place[at] = keys.groupby(list(keys.columns)).cumcount(ascending=False).to_numpy()
    event = found.event.astype(np.int64)
    journey = np.repeat(np.arange(len(found)), found.length)
    journey, event = journey[is_hop[event]], event[is_hop[event]]
    hops = pd.DataFrame({"journey": journey, "hop": found.hops.code[event], "place": place[event]})
    several = hops.groupby("journey")["place"].nunique() > 1
    twice = hops.duplicated(["journey", "hop"]).groupby(hops["journey"]).any()
    bad = several | twice
    if direction is not None:
        bad &= (session.journeys()["direction"] == direction).loc[bad.index]
    return int(bad.sum())


def wrong_parts(session: Session, parts: int) -> int:
    """Return how many parts of split packets are missing or belong to another packet's journey.

    Parameters
    ----------
    session : Session
        A recording in which no packet overtook another one.
    parts : int
        Into how many packets each GSO packet was split.
    """
    table = session.journeys()
    whole = table["journey"][table["gso_segs"] > 1].to_numpy()
    part = table["parent"][table["parent"] >= 0].to_numpy()
    truth = np.repeat(whole, parts)
    shared = min(len(part), len(truth))
    return int((part[:shared] != truth[:shared]).sum()) + abs(len(part) - len(truth))


def wrong_datagram_reads(session: Session, reads: Reads, direction: str, seq_of: Callable[[int], int]) -> int:
    """Return how many journeys end with the read of another message.

    Parameters
    ----------
    session : Session
        The recording.
    reads : Reads
        Log of the reading application.
    direction : str
        Direction of the messages, as in the journeys table.
    seq_of : callable
        Returns the events' ``seq`` for the number of a message.

    Notes
    -----
    Messages are read in the order in which they departed. If the numbers of journeys and reads differ, this is applied
    among messages with equal ``seq`` only.
    """
    table = session.journeys()
    came = table[(table["direction"] == direction) & table["outcome"].isin(["delivered", "arrived"])].copy()
    came["read_ns"] = came["start_ns"] + came["one_way_delay_ns"]
    log = pd.DataFrame({"before": reads.before_ns, "after": reads.after_ns})
    if len(came) == len(log):
        came["key"] = log["key"] = 0
    else:
        came["key"] = came["seq"].astype(np.int64)
        log["key"] = [seq_of(number) for number in reads.number.tolist()]
    for rows in (came, log):
        rows["which"] = rows.groupby("key").cumcount()
    joined = came[came["outcome"] == "delivered"].merge(log, "left", on=["key", "which"])
    right = (joined["before"] <= joined["read_ns"]) & (joined["read_ns"] <= joined["after"])
    return int((~right).sum())


def wrong_stream_reads(session: Session, reads: Reads, direction: str) -> int:
    """Return how many segments of a direction end with a read that did not take their last byte.

    Parameters
    ----------
    session : Session
        The recording.
    reads : Reads
        Log of the reading application; ``number`` is how many bytes have been read so far.
    direction : str
        As in the journeys table. The session has one connection, SYN included.
    """
    table = session.journeys()
    table = table[table["direction"] == direction]
    if table.empty or not len(reads):
        return 0
    first = int(table["seq"].iloc[0]) + 1  # after the SYN
    data = table[(table["outcome"] == "delivered") & (table["payload_bytes"] > 0)]
    end = (data["seq"].to_numpy(np.int64) - first) % 2**32 + data["payload_bytes"].to_numpy(np.int64)
    call = np.searchsorted(reads.number, end)
    known = call < len(reads)
    call = np.minimum(call, len(reads) - 1)
    read_ns = (data["start_ns"] + data["one_way_delay_ns"]).to_numpy()
    right = known & (reads.before_ns[call] <= read_ns) & (read_ns <= reads.after_ns[call])
    return int((~right).sum())
