"""Where the time went: segments of journeys, and their breakdown."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..engine.correlate import Journeys
from ..engine.order import PART, Columns, Numbering, runs
from .category import relabelled
from .names import Names

QUANTILES = {"p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "p999_ns": 0.999}

_TIME_BITS, _LONGEST_NS = np.uint64(40), np.uint64((1 << 40) - 1)


def hops(events: Columns, found: Journeys, names: Names, journeys: np.ndarray) -> pd.DataFrame:
    """Return one row a hop of the given journeys; columns of ``schema.TABLES["hops"]``.

    Parameters
    ----------
    journeys : numpy.ndarray of int
        Numbers of the journeys wanted, ascending.
    """
    length = found.length[journeys]
    event, opens = found.event[runs(found.start[journeys], length)], np.cumsum(length) - length
    ts = events["ts_ns"][event]
    labels, label = _hop_labels(found, names)
    code = label[found.hops.code[event]]
    took = np.diff(ts, prepend=ts[:1])
    took[opens] = 0
    segment = _segment_codes(code, len(labels))
    segment[opens] = -1
    known, names_of = pd.factorize(segment, use_na_sentinel=False)
    return pd.DataFrame({
        "journey": np.repeat(journeys, length),
        "ts_ns": ts,
        "offset_ns": ts - np.repeat(ts[opens], length),
        "hop": relabelled(code, labels),
        "segment": relabelled(known, [_segment_label(pair, labels) for pair in names_of]),
        "segment_ns": took,
    }, copy=False)  # fmt: skip


def breakdown(
    events: Columns, found: Journeys, names: Names, journeys: np.ndarray, direction: pd.Categorical
) -> pd.DataFrame:
    """Return quantiles and share of each segment; columns of ``schema.TABLES["breakdown"]``.

    Parameters
    ----------
    journeys : numpy.ndarray of int
        Numbers of the (complete) journeys to account for, ascending.
    direction : pandas.Categorical
        Direction of each of them.

    Notes
    -----
    The mean of a segment times its n, summed over a direction, is the sum of the
    one-way delays of that direction, so shares add up to one.
    """
    labels, label = _hop_labels(found, names)
    wide, groups = len(labels), Numbering()
    length = found.length[journeys]
    packed, filled = np.empty(int((length - 1).sum()), np.uint64), 0
    sums = np.zeros((2, 0))  # of durations, and of ends since the first hop
    for at in range(0, len(journeys), PART // 8):
        part = slice(at, at + PART // 8)
        group, took, since = _segments(
            events, found, label, journeys[part], length[part], direction.codes[part], wide, groups
        )
        sums = np.pad(sums, ((0, 0), (0, len(groups) - sums.shape[1])))
        sums += [np.bincount(group, values, len(groups)) for values in (took, since)]
        packed[filled : filled + len(took)] = group.astype(np.uint64) << _TIME_BITS | np.minimum(
            took.astype(np.uint64), _LONGEST_NS
        )
        filled += len(took)
    keys = groups.values(np.int64)
    rows = _quantiles(packed, len(keys))
    rows["mean_ns"], rows["_at"] = sums / np.maximum(rows["n"].to_numpy(), 1)
    rows["_direction"] = keys // wide**2
    rows["direction"] = relabelled(rows["_direction"].to_numpy(), list(direction.categories))
    rows["segment"] = relabelled(np.arange(len(keys)), [_segment_label(key % wide**2, labels) for key in keys])
    total = rows["mean_ns"] * rows["n"]
    rows["share"] = total / total.groupby(rows["_direction"]).transform("sum")
    rows = rows.sort_values(["_direction", "_at"], ignore_index=True)
    return rows[["direction", "segment", "n", *QUANTILES, "mean_ns", "share"]]


def _segments(events, found, label, journeys, length, direction, wide, groups):
    """Return group (direction and segment), duration and end since the first hop of each segment of these journeys."""
    event = found.event[runs(found.start[journeys], length)].astype(np.int64)
    opens = np.cumsum(length) - length
    inner = np.ones(len(event), bool)
    inner[opens] = False
    ts = events["ts_ns"][event]
    key = _segment_codes(label[found.hops.code[event]], wide)
    key += np.repeat(direction.astype(np.int64) * wide**2, length)
    since = ts - np.repeat(ts[opens], length)
    return groups.of(key[inner]), np.diff(ts, prepend=0)[inner], since[inner]


def _hop_labels(found: Journeys, names: Names) -> tuple[list[str], np.ndarray]:
    """Return the labels of hops, and the number of its label for each hop code."""
    codes = found.hops
    every = [names.hop(*map(int, hop)) for hop in zip(codes.netns, codes.ifindex, codes.point, strict=True)]
    number, labels = pd.factorize(np.array(every, object))
    return labels.tolist(), number


def _segment_codes(code: np.ndarray, hops_known: int) -> np.ndarray:
    """Number the pair of each hop and the one before it (meaningless at a first hop)."""
    pair = code.astype(np.int64)
    pair[1:] += pair[:-1].copy() * hops_known
    return pair


def _segment_label(pair: int, labels: list[str]) -> str:
    if pair < 0:
        return ""
    return f"{labels[pair // len(labels)]} → {labels[pair % len(labels)]}"


def _quantiles(packed: np.ndarray, groups: int) -> pd.DataFrame:
    """Return n and quantiles (linear interpolation, as numpy's) per group.

    Parameters
    ----------
    packed : numpy.ndarray of uint64
        Group in the upper 24 bits, duration below; sorted in place.
    """
    packed.sort()
    begins = np.searchsorted(packed, np.arange(groups + 1, dtype=np.uint64) << _TIME_BITS)
    begins, n = begins[:-1], np.diff(begins)
    columns = {"n": n}
    for name, quantile in QUANTILES.items():
        place = (n - 1) * quantile
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, n - 1)
        a, b = ((packed[begins + at] & _LONGEST_NS).astype(float) for at in (low, high))
        columns[name] = a + (b - a) * (place - low)
    return pd.DataFrame(columns)
