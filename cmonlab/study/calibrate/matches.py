"""False matches: hops of several packets in one journey, and reads that took another packet.

What tells packets apart here is nothing that the correlation looks at: a hop's place
in the order, and the reading application's own log.
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
    """Return what makes a check of a recording's counts: name, truth, measured, note."""
    return partial(Check, GROUP, unit="", tolerance=0, trace_gap_ns=session.trace_gap_ns)


def lost_hops(session: Session) -> int:
    """Return how many lost events could have been hops: all but frees of packets that had arrived.

    The kernel runs no program that is interrupted by what would run it again; while a
    task frees packets, a softirq often does, too.
    """
    ledger = session.ledger()
    return int(ledger.loc[ledger["point"] != "consume_skb", "lost"].sum())


def out_of_balance(session: Session) -> int:
    """Return by how many packets the ledger's sums miss what was seen, over all points."""
    ledger = session.ledger().set_index("point")
    return int((ledger["seen"] - ledger.drop(columns="seen").sum(axis=1)).abs().sum())


def mixed(session: Session, alike: tuple[str, ...] = (), direction: str | None = None) -> int:
    """Return how many journeys have hops of more than one packet.

    Parameters
    ----------
    session : Session
        Of packets none of which overtook another one.
    alike : tuple of str
        Columns of the events. Of packets that are the same in them, the last one at a
        hop is the last one at every other, and so on back; without columns, of all.
        Dropped packets must be told by them from those behind, or be the first of
        those that are alike.
    direction : str, optional
        Judge only the journeys of one direction.
    """
    events, found, stages = session.columns, session.correlated, session.facts.stages
    way = stages.of("transmit", events["point"]) | stages.of("receive", events["point"])
    at = np.flatnonzero(way)
    look = pd.DataFrame({name: events[name][at] for name in alike} | {"hop": found.hops.code[at]})
    place = np.full(len(way), -1, np.int64)
    place[at] = look.groupby(list(look.columns)).cumcount(ascending=False).to_numpy()
    event = found.event.astype(np.int64)
    journey = np.repeat(np.arange(len(found)), found.length)
    journey, event = journey[way[event]], event[way[event]]
    hops = pd.DataFrame({"journey": journey, "hop": found.hops.code[event], "place": place[event]})
    several = hops.groupby("journey")["place"].nunique() > 1
    twice = hops.duplicated(["journey", "hop"]).groupby(hops["journey"]).any()
    bad = several | twice
    if direction is not None:
        bad &= (session.journeys()["direction"] == direction).loc[bad.index]
    return int(bad.sum())


def wrong_parts(session: Session, parts: int) -> int:
    """Return how many of the packets that others were split into are missing, or told to be part of another one.

    Parameters
    ----------
    parts : int
        Into so many each packet of several segments was split; none overtook another one.
    """
    table = session.journeys()
    whole = table["journey"][table["gso_segs"] > 1].to_numpy()
    part = table["parent"][table["parent"] >= 0].to_numpy()
    truth = np.repeat(whole, parts)
    shared = min(len(part), len(truth))
    return int((part[:shared] != truth[:shared]).sum()) + abs(len(part) - len(truth))


def wrong_datagram_reads(session: Session, reads: Reads, direction: str, look_of: Callable[[int], int]) -> int:
    """Return how many journeys end with a read that took another message.

    Parameters
    ----------
    reads : Reads
        The application's.
    direction : str
        As in the journeys table: what the application is sent.
    look_of : callable
        Tells the events' ``seq`` of a message by its number.

    Notes
    -----
    The first that departed is the first that is read; where they are not as many, of
    those that look the same.
    """
    table = session.journeys()
    came = table[(table["direction"] == direction) & table["outcome"].isin(["delivered", "arrived"])].copy()
    came["read_ns"] = came["start_ns"] + came["one_way_delay_ns"]
    log = pd.DataFrame({"before": reads.before_ns, "after": reads.after_ns})
    if len(came) == len(log):
        came["look"] = log["look"] = 0
    else:
        came["look"] = came["seq"].astype(np.int64)
        log["look"] = [look_of(number) for number in reads.number.tolist()]
    for rows in (came, log):
        rows["which"] = rows.groupby("look").cumcount()
    joined = came[came["outcome"] == "delivered"].merge(log, "left", on=["look", "which"])
    right = (joined["before"] <= joined["read_ns"]) & (joined["read_ns"] <= joined["after"])
    return int((~right).sum())


def wrong_stream_reads(session: Session, reads: Reads, direction: str) -> int:
    """Return how many segments of a direction end with a read that did not take their last byte.

    Parameters
    ----------
    reads : Reads
        The application's; ``number`` counts the bytes read.
    direction : str
        As in the journeys table; there is one connection, and its SYN was seen.
    """
    table = session.journeys()
    table = table[table["direction"] == direction]
    if table.empty or not len(reads):
        return 0
    first = int(table["seq"].iloc[0]) + 1  # behind the SYN
    data = table[(table["outcome"] == "delivered") & (table["payload_bytes"] > 0)]
    end = (data["seq"].to_numpy(np.int64) - first) % 2**32 + data["payload_bytes"].to_numpy(np.int64)
    call = np.searchsorted(reads.number, end)
    known = call < len(reads)
    call = np.minimum(call, len(reads) - 1)
    read_ns = (data["start_ns"] + data["one_way_delay_ns"]).to_numpy()
    right = known & (reads.before_ns[call] <= read_ns) & (read_ns <= reads.after_ns[call])
    return int((~right).sum())
