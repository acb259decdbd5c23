"""What was measured of a packet, as the text of its comment."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cmonlab.data.tables.tables import Tables


def journey_comments(session: Tables, journeys: np.ndarray) -> Iterator[str]:
    """Yield a comment for each journey: how it ended, its one-way delay, its slowest segment, its hops.

    Parameters
    ----------
    session : Session
    journeys : numpy.ndarray of int
        Numbers, in any order, none twice.
    """
    ascending = np.sort(journeys)
    hops = session.hops(ascending.tolist())
    number = hops["journey"].to_numpy()
    begin, end = (np.searchsorted(number, journeys, side) for side in ("left", "right"))
    label, segment, kind = (hops[name].astype(object).to_numpy() for name in ("hop", "segment", "kind"))
    offset, took = hops["offset_ns"].to_numpy(), hops["segment_ns"].to_numpy()
    for row, first, last in zip(_ends(session, journeys), begin.tolist(), end.tolist(), strict=True):
        lines = [row]
        if last - first > 1:
            slow = first + int(took[first:last].argmax())
            lines.append(f"slowest segment: {segment[slow]}, {micro(took[slow])} ({kind[slow]})")
        lines += [f"+{micro(offset[at])} {label[at]}" for at in range(first, last)]
        yield "\n".join(lines)


def hop_comments(session: Tables, journeys: np.ndarray, events: np.ndarray) -> Iterator[str]:
    """Yield a comment for each hop: which of its journey's, and how long after the first and the one before.

    Parameters
    ----------
    session : Session
    journeys, events : numpy.ndarray of int
        Journey and event of each hop.
    """
    found, ts = session.correlated, session.columns["ts_ns"]
    points = session.events["point"].iloc[events].astype(object).to_numpy()
    ends = dict(zip(journeys.tolist(), _ends(session, journeys), strict=True))
    for journey, event, point in zip(journeys.tolist(), events.tolist(), points, strict=True):
        way = found.event[found.start[journey] : found.start[journey + 1]]
        at = int(np.flatnonzero(way == event)[0])
        text = f"{ends[journey]}\nhop {at + 1} of {len(way)}: {point}, +{micro(ts[event] - ts[way[0]])}"
        yield text + (f", {micro(ts[event] - ts[way[at - 1]])} after the hop before" if at else "")


def _ends(session: Tables, journeys: np.ndarray) -> list[str]:
    """Return a line for each journey: number, direction, how it ended, one-way delay."""
    table = session.journeys().iloc[journeys]
    rows = zip(
        table["journey"],
        table["direction"].astype(object),
        table["outcome"].astype(object),
        table["drop_reason"].astype(object),
        table["complete"],
        table["one_way_delay_ns"],
        strict=True,
    )
    return [
        f"journey {number}, {direction}: {outcome}{f' ({reason})' if reason else ''}, "
        f"{'one-way delay' if complete else 'seen for'} {micro(delay)}"
        for number, direction, outcome, reason, complete, delay in rows
    ]


def micro(ns: int) -> str:
    """Return a time in µs, to the nanosecond."""
    return f"{int(ns) / 1e3:,.3f} µs"
