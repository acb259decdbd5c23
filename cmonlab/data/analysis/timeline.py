"""The timeline: traffic, delay and loss per window."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cmonlab.schema import columns

from ..correlation.correlate import Journeys
from ..correlation.order import Columns
from .aggregate import Cells, Context
from .pairs import pairs
from .traffic import carriers

_KEYS = ["window", "rule", "direction"]
_SUMS = ("packets", "bytes", "dropped", "retransmissions")
_DELAYS = {"one_way_delay_p50_ns": 0.5, "one_way_delay_p99_ns": 0.99}


def captured(events: Columns, found: Journeys, tables: Mapping[str, pd.DataFrame], window_s: float) -> pd.DataFrame:
    """Return one row per window and direction, from recorded events.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table.
    found : Journeys
        From `correlate.correlate`.
    tables : mapping of str to pandas.DataFrame
        ``journeys``, ``drops``, ``retransmissions``, ``trace_gaps`` and ``ledger`` of the session.
    window_s : float
        Width of a window in seconds.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("timeline")``.

    Raises
    ------
    ValueError
        The window is not greater than 0.

    Notes
    -----
    A packet and its delay count in the window in which the packet ended, as in `traffic.throughput`. The last window
    ends with the last event.
    """
    width_ns, ts, journeys = _width_ns(window_s), events["ts_ns"], tables["journeys"]
    begin = int(ts[0]) if len(ts) else 0
    starts = np.arange(begin, int(ts[-1]) + 1, width_ns) if len(ts) else np.empty(0, np.int64)
    ends = np.minimum(starts + width_ns, int(ts[-1]) + 1) if len(ts) else starts

    def keys(at_ns: np.ndarray, direction: pd.Series) -> list[np.ndarray]:
        return [(at_ns - begin) // width_ns, np.full(len(at_ns), "", object), direction.to_numpy(object)]

    ended, complete = ts[found.last], journeys["complete"].to_numpy()
    carrier = carriers(found, (journeys["outcome"] == "merged").to_numpy())
    reached = complete[carrier]
    arrived = keys(ended[carrier[reached]], journeys["direction"][reached])
    sizes = journeys["len_bytes"][reached].to_numpy().astype(np.int64)
    delays = journeys["one_way_delay_ns"].to_numpy()[complete].astype(float)
    delays = pd.Series(delays).groupby(keys(ended[complete], journeys["direction"][complete]))
    sums = {"packets": (np.ones_like(sizes), arrived), "bytes": (sizes, arrived)}
    for name, table in (("dropped", tables["drops"]), ("retransmissions", tables["retransmissions"])):
        sums[name] = np.ones(len(table), np.int64), keys(table["ts_ns"].to_numpy(), table["direction"])
    found_in = {name: pd.Series(values).groupby(by).sum() for name, (values, by) in sums.items()}
    found_in |= {name: delays.quantile(quantile) for name, quantile in _DELAYS.items()}
    return _whole(pd.DataFrame(found_in).rename_axis(_KEYS), starts, ends, tables)


def counted(cells: Cells, context: Context, tables: Mapping[str, pd.DataFrame], window_s: float) -> pd.DataFrame:
    """Return one row per window, rule and direction, from aggregates.

    Parameters
    ----------
    cells : mapping of str to numpy.ndarray
        Columns of `cmonlab.data.store.cells`.
    context : Context
        Names and meanings of the numbers.
    tables : mapping of str to pandas.DataFrame
        ``trace_gaps`` and ``ledger`` of the session.
    window_s : float
        Least width of a window in seconds. Windows of the recording are joined to reach it, but never divided.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("timeline")``.

    Raises
    ------
    ValueError
        The window is not greater than 0.
    """
    width_ns = _width_ns(window_s)
    own, at = np.unique(np.column_stack([cells["start_ns"], cells["end_ns"]]), axis=0, return_inverse=True)
    start, end = own.T
    wide = len(own) and width_ns > (end - start).max()
    number = np.unique((start - start[0]) // width_ns, return_inverse=True)[1] if wide else np.arange(len(own))
    firsts = np.flatnonzero(np.diff(number, prepend=-1))
    start, end = start[firsts], np.maximum.reduceat(end, firsts) if len(firsts) else end
    number = number[at.ravel()]
    table = pairs({**cells, "start_ns": start[number], "end_ns": end[number]}, context)
    unseen = (table["packets_arrived"] == 0) & (table["bytes"] > 0)
    table["packets"] = table["packets_arrived"].mask(unseen, table["packets_sent"])
    gaps = np.flatnonzero(start[1:] > end[:-1])
    starts, ends = (np.sort(np.concatenate(both)) for both in ((start, end[gaps]), (end, start[gaps + 1])))
    table["window"] = np.searchsorted(starts, table["start_ns"])
    table = table.astype({"rule": object, "direction": object}).set_index(_KEYS)
    return _whole(table[[*_SUMS, *_DELAYS]], starts, ends, tables)


def _width_ns(window_s: float) -> int:
    if not window_s >= 1e-9:
        raise ValueError(f"window_s is {window_s}; it must be greater than 0")
    return round(window_s * 1e9)


def _whole(
    found: pd.DataFrame, starts: np.ndarray, ends: np.ndarray, tables: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Return a row for each window of each direction, given the rows of windows in which something happened."""
    lanes = found.index.droplevel("window").unique().sort_values()
    every = pd.MultiIndex.from_tuples([(window, *lane) for window in range(len(starts)) for lane in lanes], names=_KEYS)
    rows = found.reindex(every)
    rows[list(_SUMS)] = rows[list(_SUMS)].fillna(0).astype(np.int64)
    window, rule, direction = (rows.index.get_level_values(name) for name in _KEYS)
    window = window.to_numpy(np.int64)
    lost = 0.0 if tables["ledger"]["lost"].sum() == 0 else np.nan
    return pd.DataFrame(
        {
            "start_ns": starts[window],
            "end_ns": ends[window],
            "time_s": (starts[window] - starts[:1].sum()) / 1e9,
            "rule": pd.Categorical(rule.astype("str")),
            "direction": pd.Categorical(direction.astype("str")),
            **{name: rows[name].to_numpy() for name in (*_SUMS, *_DELAYS)},
            "throughput_bps": rows["bytes"].to_numpy() * 8e9 / np.maximum(ends - starts, 1)[window],
            "lost_events": lost,
            "trace_gap_ns": _overlap(tables["trace_gaps"], starts, ends)[window],
        }
    )[columns("timeline")]


def _overlap(gaps: pd.DataFrame, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the duration (ns) of the trace gaps in each window, summed over CPUs."""
    edges = np.concatenate([starts, ends]).astype(np.int64)
    # Duration of each gap before an edge; a window contains what is before its end but not before its begin.
    before = np.zeros(len(edges), np.int64)
    for row in gaps.itertuples():
        before += np.clip(edges - row.start_ns, 0, row.end_ns - row.start_ns)
    return before[len(starts) :] - before[: len(starts)]
