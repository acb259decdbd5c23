"""Tables of what the live model keeps: the last seconds per edge and per pair, and series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import pandas as pd

from cmonlab import schema

from .history import History
from .selection import Selection

TOPOLOGY = ["a", "b", "a_kind", "b_kind", "kind", "a_interface", "b_interface", "a_host", "b_host"]
EDGES = [
    "start_ns",
    "end_ns",
    "src",
    "dst",
    "packets",
    "bytes",
    "throughput_bps",
    "delay_p50_ns",
    "delay_p99_ns",
    "dropped",
    "loss",
]
PAIRS = [
    "start_ns",
    "end_ns",
    "src",
    "dst",
    "direction",
    "packets_sent",
    "packets_arrived",
    "bytes",
    "throughput_bps",
    "dropped",
    "lost",
    "retransmissions",
    "one_way_delay_p50_ns",
    "one_way_delay_p99_ns",
    "srtt_p50_ns",
]
SERIES = [
    "start_ns",
    "end_ns",
    "line",
    "packets_per_s",
    "throughput_bps",
    "delay_p50_ns",
    "delay_p99_ns",
    "dropped_per_s",
]
_LINES = 6  # lines of a series, as many as there are colours
_DELAYS = {"delay_p50_ns": "one_way_delay_p50_ns", "delay_p99_ns": "one_way_delay_p99_ns"}


def no_topology() -> pd.DataFrame:
    """Return an empty table of the topology, columns `TOPOLOGY`."""
    return pd.DataFrame(columns=TOPOLOGY)


def no_segments() -> pd.DataFrame:
    """Return an empty table; columns of ``schema.describe("segments")``."""
    return pd.DataFrame(columns=schema.columns("segments"))


def no_drops() -> pd.DataFrame:
    """Return an empty table; columns of ``schema.describe("drop_counts")``."""
    return pd.DataFrame(columns=schema.columns("drop_counts"))


def edges(kept: History, over_s: float) -> pd.DataFrame:
    """Return what crossed each edge in the last seconds.

    Parameters
    ----------
    kept : History
        Rows by edge and direction.
    over_s : float
        How many seconds.

    Returns
    -------
    pandas.DataFrame
        One row per edge and direction, columns `EDGES`. Delays are those of the last window with a packet.
    """
    start_ns, end_ns, rows, _ = kept.recent(over_s)
    table, group, last = _grouped(kept, start_ns, end_ns, rows)
    for name in ("packets", "bytes", "dropped"):
        table[name] = np.bincount(group, rows[name], len(table)).astype(np.int64)
    table["throughput_bps"] = table["bytes"] * 8e9 / max(1, end_ns - start_ns)
    for name in _DELAYS:
        table[name] = rows[name][last(np.isfinite(rows[name]))].astype(float)
    passed = table["packets"] + table["dropped"]
    table["loss"] = np.where(passed > 0, table["dropped"] / passed.clip(lower=1), np.nan)
    return table[EDGES]


def pairs(kept: History, over_s: float) -> pd.DataFrame:
    """Return who sent packets to whom in the last seconds.

    A packet counts as lost when it was sent before the last window and has not arrived: packets of the last window
    may be in flight.

    Parameters
    ----------
    kept : History
        Rows by source and destination.
    over_s : float
        How many seconds.

    Returns
    -------
    pandas.DataFrame
        One row per source and destination, columns `PAIRS`. Delays are those of the last window with a packet.
    """
    start_ns, end_ns, rows, at = kept.recent(over_s)
    table, group, last = _grouped(kept, start_ns, end_ns, rows)
    table["direction"] = table["src"] + " → " + table["dst"]
    for name in ("packets_sent", "packets_arrived", "bytes", "dropped", "retransmissions"):
        table[name] = np.bincount(group, rows[name], len(table)).astype(np.int64)
    table["throughput_bps"] = table["bytes"] * 8e9 / max(1, end_ns - start_ns)
    missing = rows["packets_sent"] - rows["packets_arrived"]
    before = np.bincount(group, missing * (at < at.max(initial=0)), len(table))
    seen = (table["packets_sent"] > 0) & (table["packets_arrived"] > 0) | (table["dropped"] > 0)
    lost = np.minimum(before, np.bincount(group, missing, len(table))).clip(min=0)
    table["lost"] = np.where(seen, lost, np.nan)
    for name in (*_DELAYS.values(), "srtt_p50_ns"):
        table[name] = rows[name][last(np.isfinite(rows[name]))].astype(float)
    return table[PAIRS]


def _grouped(
    kept: History, start_ns: int, end_ns: int, rows: np.ndarray
) -> tuple[pd.DataFrame, np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Group rows by their key.

    Returns
    -------
    table : pandas.DataFrame
        One row per key: the time, and both ends of the key.
    group : numpy.ndarray
        Index of each row's key in the table, shape ``(rows,)``.
    last : callable
        Takes which rows count, bool of shape ``(rows,)``; returns the index of the last row of each key that
        counts, or of its last row when none counts.
    """
    code, group = np.unique(rows["code"], return_inverse=True)
    known = kept.keys()
    ends = [cast("tuple[str, str]", known[number]) for number in code.tolist()]
    src, dst = (pd.Series([end[at] for end in ends], dtype=object) for at in (0, 1))
    table = pd.DataFrame({"start_ns": start_ns, "end_ns": end_ns, "src": src, "dst": dst})

    def last(counts: np.ndarray) -> np.ndarray:
        found = np.zeros(len(code), np.int64)
        found[group] = np.arange(len(group))  # the last of several assignments wins
        found[group[counts]] = np.flatnonzero(counts)
        return found

    return table, group, last


def lines(selection: Selection, edges_kept: History, pairs_kept: History) -> list[tuple[str, str]]:
    """Return the source and destination of each line in a selection's series.

    Parameters
    ----------
    selection : Selection
        What is shown.
    edges_kept, pairs_kept : History
        Rows by edge and direction, and by source and destination.

    Returns
    -------
    list of (str, str)
        At most six; for a node, those of its edges that had most packets in the last minute.
    """
    if selection.kind == "pair":
        return [(selection.a, selection.b)]
    if selection.kind == "edge":
        return [(selection.a, selection.b), (selection.b, selection.a)]
    table = edges(edges_kept, 60.0)
    mine = table[(table["src"] == selection.a) | (table["dst"] == selection.a)]
    mine = mine.nlargest(_LINES, "packets").sort_values(["src", "dst"])
    return list(zip(mine["src"], mine["dst"], strict=True))


def series(kept: History, keys: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Return series of some edges or pairs.

    Parameters
    ----------
    kept : History
        Rows by edge and direction, or by source and destination.
    keys : sequence of (str, str)
        Source and destination of each line.

    Returns
    -------
    pandas.DataFrame
        One row per window and line, columns `SERIES`. A window without packets has rates of 0 and NaN delays.
    """
    windows = kept.windows()
    width_s = np.maximum(np.diff(windows, axis=1)[:, 0], 1) / 1e9
    parts = []
    for key in keys:
        rows, at = kept.of(key)
        pair = "packets_sent" in kept.fields
        packets = np.maximum(rows["packets_sent"], rows["packets_arrived"]) if pair else rows["packets"]
        part = pd.DataFrame({"start_ns": windows[:, 0], "end_ns": windows[:, 1], "line": f"{key[0]} → {key[1]}"})
        sums = {"packets_per_s": packets, "throughput_bps": rows["bytes"] * 8, "dropped_per_s": rows["dropped"]}
        for name, values in sums.items():
            part[name] = np.bincount(at, values, len(windows)) / width_s
        for name, of_pair in _DELAYS.items():
            delay = np.full(len(windows), np.nan)
            delay[at] = rows[of_pair if pair else name]
            part[name] = delay
        parts.append(part)
    return pd.concat(parts, ignore_index=True)[SERIES] if parts else pd.DataFrame(columns=SERIES)
