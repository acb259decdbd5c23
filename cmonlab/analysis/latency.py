"""Where the time went: segments of journeys, and their breakdown."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ..engine.order import PART, Numbering
from ..schema import columns
from .category import relabelled
from .kinds import KINDS
from .stats import quantile_ranks
from .walk import Walk

QUANTILES = {"p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "p999_ns": 0.999}
#: Those whose interval is told.
BOUNDED = ("p50_ns", "p99_ns")

_TIME_BITS, _LONGEST_NS = np.uint64(40), np.uint64((1 << 40) - 1)


def hops(walk: Walk, journeys: np.ndarray) -> pd.DataFrame:
    """Return one row a hop of the given journeys; columns of ``schema.TABLES["hops"]``.

    Parameters
    ----------
    walk : Walk
    journeys : numpy.ndarray of int
        Numbers of the journeys wanted, ascending.
    """
    way = walk.of(journeys)
    took, segment = np.diff(way.ts_ns, prepend=way.ts_ns[:1]), walk.pairs(way)
    took[way.opens], segment[way.opens] = 0, -1
    known, pairs = pd.factorize(segment, use_na_sentinel=False)
    return pd.DataFrame({
        "journey": np.repeat(journeys, way.length),
        "ts_ns": way.ts_ns,
        "offset_ns": way.ts_ns - np.repeat(way.ts_ns[way.opens], way.length),
        "hop": relabelled(way.label, walk.labels),
        "segment": relabelled(known, [walk.segment(pair) for pair in pairs]),
        "kind": relabelled(known, [walk.kind(pair) for pair in pairs]),
        "segment_ns": took,
    }, copy=False)  # fmt: skip


def breakdown(
    walk: Walk, journeys: np.ndarray, sent_ns: np.ndarray, direction: pd.Categorical, share: float
) -> pd.DataFrame:
    """Return quantiles and share of each segment; columns of ``schema.TABLES["breakdown"]``.

    Parameters
    ----------
    walk : Walk
    journeys : numpy.ndarray of int
        Numbers of the (complete) journeys to account for, ascending.
    sent_ns : numpy.ndarray of int64
        When each of them left its source: its segments stand in order of their ends since then.
    direction : pandas.Categorical
        Direction of each of them.
    share : float
        Of the packets that were in the sample; NaN where that is not one number.

    Notes
    -----
    The mean of a segment times its n, summed over a direction, is the sum of the
    one-way delays of that direction, so shares add up to one.
    """
    wide, groups, times = len(walk.labels), Numbering(), _Times(walk.most(journeys))
    since = np.zeros(0)
    for part in _parts(len(journeys)):
        way = walk.of(journeys[part])
        inner, took = _segments(way)
        key = walk.pairs(way)[inner] + np.repeat(direction.codes[part].astype(np.int64) * wide**2, way.length)[inner]
        group = groups.of(key)
        times.add(group, took, len(groups))
        end = (way.ts_ns - np.repeat(sent_ns[part], way.length))[inner]
        since = np.pad(since, (0, len(groups) - len(since))) + np.bincount(group, end, len(groups))
    keys = groups.values(np.int64)
    rows = times.table(keys // wide**2, direction, share)
    rows["_at"] = since / np.maximum(rows["n"].to_numpy(), 1)
    rows["segment"] = relabelled(np.arange(len(keys)), [walk.segment(key % wide**2) for key in keys])
    rows["kind"] = relabelled(np.arange(len(keys)), [walk.kind(key % wide**2) for key in keys])
    rows = rows.sort_values(["_direction", "_at"], kind="stable", ignore_index=True)
    return rows[columns("breakdown")]


def by_kind(walk: Walk, journeys: np.ndarray, direction: pd.Categorical, share: float) -> pd.DataFrame:
    """Return what each journey's time is spent on; columns of ``schema.TABLES["breakdown_by_kind"]``.

    Parameters
    ----------
    walk, journeys, direction, share
        As for `breakdown`.

    Notes
    -----
    Quantiles are those of a journey's segments of one kind together, over the journeys that have any.
    """
    kinds, pairs = len(KINDS), Numbering()
    times = _Times(kinds * len(journeys))
    for part in _parts(len(journeys)):
        way = walk.of(journeys[part])
        inner, took = _segments(way)
        pair = pairs.of(walk.pairs(way)[inner])
        kind = np.array([KINDS.index(walk.kind(pair)) for pair in pairs.values(np.int64)], np.int64)[pair]
        cell = np.repeat(np.arange(len(way.length)), way.length)[inner] * kinds + kind
        there = np.flatnonzero(np.bincount(cell))
        group = direction.codes[part].astype(np.int64)[there // kinds] * kinds + there % kinds
        times.add(group, np.bincount(cell, took)[there].astype(np.int64), len(direction.categories) * kinds)
    keys = np.arange(len(direction.categories) * kinds)
    rows = times.table(keys // kinds, direction, share)
    rows["kind"] = pd.Categorical.from_codes(keys % kinds, pd.Index(KINDS, dtype="str"))
    return rows.loc[rows["n"] > 0, columns("breakdown_by_kind")].reset_index(drop=True)


def _parts(count: int) -> Iterator[slice]:
    return (slice(at, at + PART // 8) for at in range(0, count, PART // 8))


def _segments(way) -> tuple[np.ndarray, np.ndarray]:
    """Return which hops end a segment, and how long each of those took."""
    inner = np.ones(len(way.ts_ns), bool)
    inner[way.opens] = False
    return inner, np.diff(way.ts_ns, prepend=0)[inner]


class _Times:
    """Durations by group, collected part by part in one array of known size."""

    def __init__(self, most: int):
        self._packed, self._filled = np.empty(most, np.uint64), 0
        self._sums = np.zeros(0)

    def add(self, group: np.ndarray, took: np.ndarray, groups: int) -> None:
        """Add durations (ns) of groups, of which there are so many by now."""
        end = self._filled + len(took)
        self._packed[self._filled : end] = group.astype(np.uint64) << _TIME_BITS | np.minimum(
            took.astype(np.uint64), _LONGEST_NS
        )
        self._filled = end
        self._sums = np.pad(self._sums, (0, groups - len(self._sums))) + np.bincount(group, took, groups)

    def table(self, which: np.ndarray, direction: pd.Categorical, share: float) -> pd.DataFrame:
        """Return n, quantiles, mean and share in its direction of each group, given the direction of each."""
        sums = np.pad(self._sums, (0, len(which) - len(self._sums)))
        rows = _quantiles(self._packed[: self._filled], len(which), share)
        rows["mean_ns"] = sums / np.maximum(rows["n"].to_numpy(), 1)
        rows["_direction"] = which
        rows["direction"] = relabelled(which, list(direction.categories))
        whole = np.bincount(which, sums)[which]
        rows["share"] = np.divide(sums, whole, out=np.full(len(sums), np.nan), where=whole > 0)
        return rows


def _quantiles(packed: np.ndarray, groups: int, share: float) -> pd.DataFrame:
    """Return n and quantiles (linear interpolation, as numpy's) per group.

    Parameters
    ----------
    packed : numpy.ndarray of uint64
        Group in the upper 24 bits, duration below; sorted in place.
    share : float
        As for `breakdown`.
    """
    packed.sort()
    begins = np.searchsorted(packed, np.arange(groups + 1, dtype=np.uint64) << _TIME_BITS)
    begins, n = begins[:-1], np.diff(begins)
    rows = {"n": n}
    for name, quantile in QUANTILES.items():
        value = np.full(groups, np.nan)
        some = np.flatnonzero(n)
        place = (n[some] - 1) * quantile
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, n[some] - 1)
        a, b = ((packed[begins[some] + at] & _LONGEST_NS).astype(float) for at in (low, high))
        value[some] = a + (b - a) * (place - low)
        rows[name] = value
        if name in BOUNDED:
            bounds = _bounds(packed, begins, n, quantile, share) if share < 1 else (value, value)
            rows |= dict(zip(bounds_of(name), bounds if share <= 1 else np.full((2, groups), np.nan), strict=True))
    return pd.DataFrame(rows)


def bounds_of(name: str) -> tuple[str, str]:
    """Return the names of the columns with the ends of a quantile's interval."""
    return name.replace("_ns", "_low_ns"), name.replace("_ns", "_high_ns")


def _bounds(packed: np.ndarray, begins: np.ndarray, n: np.ndarray, quantile: float, share: float) -> np.ndarray:
    """Return the ends of a quantile's interval per group, shape (2, groups); 0 and infinity where there is none."""
    low, high = np.array([quantile_ranks(size, quantile, share) for size in n.tolist()], np.int64).reshape(-1, 2).T
    ends = np.array([np.zeros(len(n)), np.full(len(n), np.inf)])
    for end, at, known in zip(ends, (low, high), (low >= 0, high < n), strict=True):
        end[known] = packed[(begins + at)[known]] & _LONGEST_NS
    return ends
