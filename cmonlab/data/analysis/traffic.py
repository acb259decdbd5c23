"""Throughput over time, and drops by reason and place."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cmonlab.schema import columns

from ..correlation.correlate import Journeys
from ..correlation.order import Columns
from .category import labelled
from .journeys import endpoints
from .names import Names, protocol


def throughput(events: Columns, found: Journeys, journeys: pd.DataFrame, window_s: float) -> pd.DataFrame:
    """Return what reached its destination per window and direction.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    found : Journeys
        From `correlate.correlate`.
    journeys : pandas.DataFrame
        The journeys table. Complete journeys count, at the time of their last hop. Journeys that were merged into a
        complete one count together with it.
    window_s : float
        Width of a window in seconds, greater than 0.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("throughput")``.

    Raises
    ------
    ValueError
        The window is not positive.
    """
    if not window_s > 0:
        raise ValueError(f"window_s is {window_s}; it must be greater than 0")
    rows, carrier = reached(found, journeys)
    done = journeys[rows]
    if done.empty:
        return pd.DataFrame({name: [] for name in columns("throughput")})
    begin = int(events["ts_ns"][0])
    last = events["ts_ns"][found.last[carrier]]
    window = ((last - begin) // int(window_s * 1e9)).astype(np.int64)
    frame = pd.DataFrame(
        {
            "window": window,
            "direction": done["direction"].cat.remove_unused_categories().to_numpy(),
            "packets": 1,
            "throughput_bps": done["len_bytes"].to_numpy().astype(np.int64),
            "goodput_bps": done["payload_bytes"].to_numpy().astype(np.int64),
        }
    )
    sums = frame.groupby(["window", "direction"]).sum()
    every = pd.MultiIndex.from_product(
        [range(window.max() + 1), frame["direction"].unique()], names=["window", "direction"]
    )
    sums = sums.reindex(every, fill_value=0).reset_index()
    sums["time_s"] = sums["window"] * float(window_s)
    # The last window ends with the recording.
    width = np.full(len(sums), float(window_s))
    rest = (int(events["ts_ns"][-1]) - begin) / 1e9 - sums["window"].max() * window_s
    width[sums["window"] == sums["window"].max()] = max(rest, min(window_s / 1000, 1e-6))
    for name in ("throughput_bps", "goodput_bps"):
        sums[name] = sums[name] * 8 / width
    sums["direction"] = sums["direction"].astype("category")
    return sums[columns("throughput")]


def reached(found: Journeys, journeys: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return which packets reached their destination: in complete journeys, or merged into a complete one.

    Parameters
    ----------
    found : Journeys
        From `correlate.correlate`.
    journeys : pandas.DataFrame
        The journeys table.

    Returns
    -------
    rows : numpy.ndarray of bool, shape (journeys,)
        Which journeys reached their destination.
    carrier : numpy.ndarray of int64, shape (True in rows,)
        The journey in which each of them did.
    """
    within = carriers(found, journeys["outcome"] == "merged")
    rows = journeys["complete"].to_numpy()[within]
    return rows, within[rows]


def carriers(found: Journeys, merged: np.ndarray) -> np.ndarray:
    """Return the journey in which each packet continued to its end: its own, unless it was merged.

    Parameters
    ----------
    found : Journeys
        From `correlate.correlate`.
    merged : array_like of bool, shape (journeys,)
        Which journeys to follow into the one that they were merged into.

    Returns
    -------
    numpy.ndarray of int64, shape (journeys,)
    """
    carrier = np.where(merged, found.merged_into, np.arange(len(found)))
    while True:
        further = carrier[carrier]
        if np.array_equal(further, carrier):
            return carrier
        carrier = further


def drops(
    events: Columns,
    found: Journeys,
    names: Names,
    drop_points: frozenset[int],
    reasons: Mapping[int, str],
    code: Mapping[int, str],
) -> pd.DataFrame:
    """Return one row per dropped packet.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    found : Journeys
        From `correlate.correlate`.
    names : Names
        Names of the recording.
    drop_points : frozenset of int
        Ids of the points where packets are dropped.
    reasons : mapping of int to str
        Number in the events → drop reason.
    code : mapping of int to str
        Low half of the address → kernel function.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("drops")``.
    """
    at = np.flatnonzero(np.isin(events["point"], list(drop_points)))
    last = found.last.astype(np.int64)
    ending = np.flatnonzero(np.isin(events["point"][last], list(drop_points)))
    journey = np.full(len(at), -1, np.int64)
    journey[np.searchsorted(at, last[ending])] = ending
    place = _last_seen(events, found, at, journey)
    frame = {
        "ts_ns": events["ts_ns"][at],
        "place": labelled(place, lambda word: names.place(word >> 32, word & 0xFFFFFFFF)),
        "reason": labelled(events["detail"][at], lambda number: reasons.get(number, f"reason {number}")),
        "code": labelled(events["aux"][at], lambda low: code.get(low, f"0x…{low:08x}")),
        "direction": endpoints(events, at, at, names)[2],
        "proto": labelled(events["proto"][at], protocol),
        **{name: events[name][at] for name in ("sport", "dport", "len_bytes")},
        "journey": journey,
    }
    return pd.DataFrame(frame, copy=False)


def _last_seen(events: Columns, found: Journeys, at: np.ndarray, journey: np.ndarray) -> np.ndarray:
    """Return ``netns << 32 | ifindex`` of each drop; of the hop before it if the drop has no interface.

    Without an interface, the namespace is that of the running task, which is arbitrary in a softirq.
    """
    before = np.flatnonzero((journey >= 0) & (events["ifindex"][at] == 0))
    number = journey[before]
    before, number = before[found.length[number] > 1], number[found.length[number] > 1]
    place = at.copy()
    place[before] = found.event[found.start[number + 1] - 2]
    return events["netns"][place].astype(np.uint64) << np.uint64(32) | events["ifindex"][place]
