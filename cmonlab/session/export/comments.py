"""Comments on packets: what was measured of them, as text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cmonlab.data.tables.tables import Tables


def journey_comments(session: Tables, journeys: np.ndarray) -> Iterator[str]:
    """Yield a comment for each journey: how it ended, its one-way delay, its slowest segment, its hops.

    Parameters
    ----------
    session : Tables
    journeys : numpy.ndarray of int64, shape (packets,)
        Numbers of journeys, in any order, without duplicates.

    Yields
    ------
    str
        Several lines.
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
    """Yield a comment for each hop: its position in the journey, and the time since the first and the previous hop.

    Parameters
    ----------
    session : Tables
    journeys, events : numpy.ndarray of int64, shape (hops,)
        Journey and event of each hop.

    Yields
    ------
    str
        Two lines.
    """
    found, ts = session.correlated, session.columns["ts_ns"]
    points = session.events["point"].iloc[events].astype(object).to_numpy()
    ends = dict(zip(journeys.tolist(), _ends(session, journeys), strict=True))
    for journey, event, point in zip(journeys.tolist(), events.tolist(), points, strict=True):
        path = found.event[found.start[journey] : found.start[journey + 1]]
        at = int(np.flatnonzero(path == event)[0])
        text = f"{ends[journey]}\nhop {at + 1} of {len(path)}: {point}, +{micro(ts[event] - ts[path[0]])}"
        yield text + (f", {micro(ts[event] - ts[path[at - 1]])} after the previous hop" if at else "")


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
    """Return a time given in ns as text in µs, with three decimals."""
    return f"{int(ns) / 1e3:,.3f} µs"
