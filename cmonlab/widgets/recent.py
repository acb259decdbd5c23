"""Tables of what the live model keeps: the last seconds by edge and by direction, and series."""

from __future__ import annotations

from collections.abc import Sequence

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
_LINES = 6  # of a series: as many as there are colours
_DELAYS = {"delay_p50_ns": "one_way_delay_p50_ns", "delay_p99_ns": "one_way_delay_p99_ns"}


def no_topology() -> pd.DataFrame:
    """Return the graph of nothing."""
    return pd.DataFrame(columns=TOPOLOGY)


def no_segments() -> pd.DataFrame:
    """Return the segments of nothing."""
    return pd.DataFrame(columns=schema.columns("segments"))


def no_drops() -> pd.DataFrame:
    """Return the drops of nothing."""
    return pd.DataFrame(columns=schema.columns("drop_counts"))


def edges(kept: History, over_s: float) -> pd.DataFrame:
    """Return one row a way of an edge, with the columns `EDGES`."""
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
    """Return one row a direction, with the columns `PAIRS`.

    A packet counts as lost that is still missing at the end of the last window but one: what was
    sent in the last may be on its way.
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


def _grouped(kept: History, start_ns: int, end_ns: int, rows: np.ndarray):
    """Return a table with the ends of each key, each row's number in it, and a function for a key's last row.

    That function takes which rows count; where none of a key does, it returns one that does not.
    """
    code, group = np.unique(rows["code"], return_inverse=True)
    known = kept.keys()
    ends = [known[number] for number in code.tolist()]
    src, dst = (pd.Series([end[at] for end in ends], dtype=object) for at in (0, 1))
    table = pd.DataFrame({"start_ns": start_ns, "end_ns": end_ns, "src": src, "dst": dst})

    def last(counts: np.ndarray) -> np.ndarray:
        found = np.zeros(len(code), np.int64)
        found[group] = np.arange(len(group))  # of several the last is kept
        found[group[counts]] = np.flatnonzero(counts)
        return found

    return table, group, last


def lines(selection: Selection, edges_kept: History, pairs_kept: History) -> list[tuple[str, str]]:
    """Return the directions or ways that a selection's series shows, at most six."""
    if selection.kind == "pair":
        return [(selection.a, selection.b)]
    if selection.kind == "edge":
        return [(selection.a, selection.b), (selection.b, selection.a)]
    table = edges(edges_kept, 60.0)
    mine = table[(table["src"] == selection.a) | (table["dst"] == selection.a)]
    mine = mine.nlargest(_LINES, "packets").sort_values(["src", "dst"])
    return list(zip(mine["src"], mine["dst"], strict=True))


def series(kept: History, keys: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Return one row a window and line, with the columns `SERIES`; no packet is 0 packets, and no delay."""
    windows = kept.windows()
    width_s = np.maximum(np.diff(windows, axis=1)[:, 0], 1) / 1e9
    parts = []
    for key in keys:
        rows, at = kept.of(key)
        names = rows.dtype.names
        pair = "packets_sent" in names
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
