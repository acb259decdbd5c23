"""The journeys table: one row per packet, with its path and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from cmonlab.errors import SessionError
from cmonlab.points.records import SHAPE_IPV6
from cmonlab.schema import columns

from ..correlation.correlate import Journeys, Stages, payload_bytes
from ..correlation.order import PART, Columns
from ..correlation.threads import both, processors
from .category import labelled, relabelled
from .names import Names, protocol

OUTCOMES = ["delivered", "arrived", "merged", "split", "dropped", "unfinished"]


class Ends(NamedTuple):
    """Where journeys began and how they ended; see ``schema.describe("journeys")`` for the meanings.

    Attributes
    ----------
    src, dst, direction : pandas.Categorical, length journeys
        Names of the endpoints.
    outcome : numpy.ndarray of int8, shape (journeys,)
        Index in `OUTCOMES`.
    complete : numpy.ndarray of bool, shape (journeys,)
        Whether the journey was seen from its source to its destination.
    rules : numpy.ndarray of uint16, shape (journeys,)
        One bit for each rule that recorded the packet.
    """

    src: pd.Categorical
    dst: pd.Categorical
    direction: pd.Categorical
    outcome: np.ndarray
    complete: np.ndarray
    rules: np.ndarray

    @property
    def dropped(self) -> np.ndarray:
        """Whether each journey ended with a drop, bool."""
        return self.outcome == OUTCOMES.index("dropped")


def ends_of(events: Columns, found: Journeys, names: Names, stages: Stages, threads: int | None = None) -> Ends:
    """Return where journeys began and how they ended.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table.
    found : Journeys
        From `correlate.correlate`.
    names : Names
        Names of the recording.
    stages : Stages
        The stage of each point.
    threads : int, optional
        Number of threads; by default the number of processors that may be used.

    Returns
    -------
    Ends

    Notes
    -----
    A journey is complete if it was seen from a transmit point of the namespace that owns its source address to a
    reception in the namespace that owns its destination, and did not continue in another packet. A packet that was
    split is complete in its parts, and each part begins where it was cut. A packet that was merged is complete if its
    own bytes were read, and otherwise in the packet that it was merged into.
    """

    def begin() -> tuple[pd.Categorical, np.ndarray]:
        return _endpoint(events, found.first_tx, "saddr", names), _owns(names, events, found.first_tx, "saddr")

    def end() -> tuple[pd.Categorical, np.ndarray]:
        return _endpoint(events, found.arrival, "daddr", names), _owns(names, events, found.arrival, "daddr")

    (src, left), (dst, came) = both(begin, end, threads or processors())
    point = events["point"].take(found.last)
    delivered = stages.of("read", point) | stages.of("deliver", point)
    at_home = found.received & came
    outcome = np.select(
        [stages.of("drop", point), delivered, found.merged, found.split, at_home],
        [np.int8(OUTCOMES.index(name)) for name in ("dropped", "delivered", "merged", "split", "arrived")],
        np.int8(OUTCOMES.index("unfinished")),
    )
    complete = at_home & found.sent & left & (outcome < OUTCOMES.index("merged"))
    return Ends(src, dst, directions(src, dst), outcome, complete, events["rules"].take(found.first_tx))


def table(events: Columns, found: Journeys, ends: Ends, names: Names, reasons: Mapping[int, str]) -> pd.DataFrame:
    """Return one row per journey.

    Parameters
    ----------
    events, found, names
        As for `ends_of`.
    ends : Ends
        From `ends_of`.
    reasons : mapping of int to str
        Number in the events → drop reason.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("journeys")``.
    """
    first, last, first_tx = found.first.astype(np.int64), found.last.astype(np.int64), found.first_tx
    reason = np.where(ends.dropped, events["detail"][last].astype(np.int32), -1)
    ts = events["ts_ns"]
    return pd.DataFrame(
        {
            "journey": np.arange(len(found), dtype=np.int64),
            "start_ns": ts[first],
            "one_way_delay_ns": ts[last] - ts[first],
            **{name: getattr(ends, name) for name in ("src", "dst", "direction")},
            "proto": labelled(events["proto"][first_tx], protocol),
            **{name: events[name][first_tx] for name in ("sport", "dport", "seq", "tcp_flags", "len_bytes")},
            "payload_bytes": payload_bytes(events, first_tx).astype(np.uint32),
            "gso_segs": events["detail"][first_tx],
            "hops": found.length.astype(np.uint16),
            "path": paths(found, names),
            "outcome": pd.Categorical.from_codes(ends.outcome, OUTCOMES),
            "complete": ends.complete,
            "drop_reason": labelled(
                reason, lambda number: reasons.get(number, f"reason {number}") if number >= 0 else ""
            ),
            "repeats": found.repeats,
            "parent": found.parent,
            "rules": ends.rules,
            "epoch": events["epoch"][first_tx],
        },
        copy=False,
    )[columns("journeys")]


def began(events: Columns, found: Journeys, names: Names) -> np.ndarray:
    """Return which journeys began at their source, or are parts of a packet that did.

    Parameters
    ----------
    events, found, names
        As for `ends_of`.

    Returns
    -------
    numpy.ndarray of bool, shape (journeys,)
    """
    mine = found.sent & _owns(names, events, found.first_tx, "saddr")
    part = np.flatnonzero(found.segmented_from >= 0)
    while True:
        late = part[mine[found.segmented_from[part]] & ~mine[part]]
        if len(late) == 0:
            return mine
        mine[late] = True


def _owns(names: Names, events: Columns, at: np.ndarray, address: str) -> np.ndarray:
    """Return whether the namespace of each event owns an address of it; True if no owner of the address is known."""
    word = events["netns"][at].astype(np.uint64) << np.uint64(32) | events[address][at]
    code, distinct = pd.factorize(word)
    known, address_of = names.local & np.uint64(0xFFFFFFFF), distinct & np.uint64(0xFFFFFFFF)
    return (np.isin(distinct, names.local) | ~np.isin(address_of, known))[code]


def endpoints(
    events: Columns, first: np.ndarray, last: np.ndarray, names: Names
) -> tuple[pd.Categorical, pd.Categorical, pd.Categorical]:
    """Return source, destination and direction of packets, independent of NAT on the path.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table.
    first, last : numpy.ndarray of int, shape (n,)
        First and last event of each packet: source addresses are read from the first, destinations from the last.
    names : Names
        Names of the recording.

    Returns
    -------
    src, dst, direction : pandas.Categorical, length n
    """
    src, dst = _endpoint(events, first, "saddr", names), _endpoint(events, last, "daddr", names)
    return src, dst, directions(src, dst)


def _endpoint(events: Columns, at: np.ndarray, address: str, names: Names) -> pd.Categorical:
    return names.endpoints(events[address].take(at), events["shape"].take(at) & SHAPE_IPV6, events["ts_ns"].take(at))


def directions(src: pd.Categorical, dst: pd.Categorical) -> pd.Categorical:
    """Return ``source → destination`` of each pair.

    Parameters
    ----------
    src, dst : pandas.Categorical, length n
        Names of the endpoints.

    Returns
    -------
    pandas.Categorical, length n
    """
    width = len(dst.categories) or 1
    return labelled(
        src.codes.astype(np.int64) * width + dst.codes,
        lambda pair: f"{src.categories[pair // width]} → {dst.categories[pair % width]}",
    )


def paths(found: Journeys, names: Names) -> pd.Categorical:
    """Return the interfaces that each journey passed, including bridges, joined by arrows.

    Parameters
    ----------
    found : Journeys
        From `correlate.correlate`.
    names : Names
        Names of the recording.

    Returns
    -------
    pandas.Categorical, length journeys
    """
    if len(found) == 0:
        return pd.Categorical([])
    every = np.empty(len(found), np.uint64)
    for at in range(0, len(found), PART // 8):
        every[at : at + PART // 8] = _hash_of_hops(found, at, min(at + PART // 8, len(found)))
    number, distinct = pd.factorize(every)
    example = np.empty(len(distinct), np.int64)
    example[number[::-1]] = np.arange(len(number))[::-1]
    return relabelled(number, [_path(found, int(j), names) for j in example])


def _hash_of_hops(found: Journeys, begin: int, end: int) -> np.ndarray:
    """Return a 64-bit hash of the hops of journeys `begin` to `end`; equal hops have the same hash."""
    start = found.start[begin : end + 1]
    code = found.hops.code[found.event[start[0] : start[-1]]].astype(np.uint64)
    position = (np.arange(start[0], start[-1]) - np.repeat(start[:-1], np.diff(start))).astype(np.uint64)
    mixed = (code + np.uint64(1)) * (np.uint64(0x9E3779B97F4A7C15) + np.uint64(2) * position)
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return np.add.reduceat(mixed, start[:-1] - start[0])


def _path(found: Journeys, journey: int, names: Names) -> str:
    hops, before = found.hops, (0, 0)
    steps: list[str] = []
    for code in found.hops.code[found.event[found.start[journey] : found.start[journey + 1]]]:
        netns, ifindex = int(hops.netns[code]), int(hops.ifindex[code])
        if not ifindex or (netns, ifindex) == before:
            continue
        bridge = names.bridge(netns, ifindex)
        if steps and before[0] == netns and bridge and bridge == names.bridge(*before):
            steps.append(names.place(netns, bridge).split(":", 1)[-1])
        steps.append(names.place(netns, ifindex))
        before = (netns, ifindex)
    return " → ".join(steps)


def at_quantile(table: pd.DataFrame, quantile: float, direction: str | None) -> int:
    """Return the number of the complete journey whose one-way delay is at a quantile.

    Parameters
    ----------
    table : pandas.DataFrame
        The journeys table.
    quantile : float
        From 0 to 1.
    direction : str, optional
        One direction; all by default.

    Returns
    -------
    int

    Raises
    ------
    SessionError
        No journey is complete.
    """
    table = table[table["complete"]]
    if direction is not None:
        table = table[table["direction"] == direction]
    if table.empty:
        raise SessionError(
            "no journey is complete",
            fix="look at session.ledger() and session.drops() for what happened to the packets",
        )
    delay = table["one_way_delay_ns"].to_numpy()
    at = np.argsort(delay, kind="stable")[int((len(delay) - 1) * quantile)]
    return int(table["journey"].to_numpy()[at])
