"""Where the time went: segments of journeys, and their breakdown."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from threading import Lock
from typing import TypeVar

import numpy as np
import pandas as pd

from ..engine.order import PART, Numbering
from ..engine.threads import processors, spread
from ..schema import columns
from .category import relabelled
from .kinds import KINDS
from .stats import quantile_ranks
from .walk import Segments, Walk

T = TypeVar("T")

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
    walk: Walk,
    journeys: np.ndarray,
    sent_ns: np.ndarray,
    direction: pd.Categorical,
    share: float,
    threads: int | None = None,
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
    threads : int, optional
        That work at a time; by default as many as processors may be used.

    Notes
    -----
    The mean of a segment times its n, summed over a direction, is the sum of the
    one-way delays of that direction, so shares add up to one.
    """
    wide, times = len(walk.labels) ** 2, _Times(threads)

    def account(part: slice, found: Segments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        key = (direction.codes[part].astype(np.int64) * wide).take(found.journey) + found.pair
        end = found.end_ns - sent_ns[part].take(found.journey)
        local, group = times.add(key, found.took_ns)
        first = np.empty(len(group), np.int64)
        first[local[::-1]] = found.place[::-1]
        return group, np.bincount(local, end, len(group)), (part.start << 32) + first

    found = times.collected(lambda part: [account(part, some) for some in walk.segments(journeys[part])], len(journeys))
    keys, since, first = times.keys, np.zeros(len(times.keys)), np.full(len(times.keys), np.iinfo(np.int64).max)
    for group, ends, places in chain.from_iterable(found):
        since[group] += ends
        first[group] = np.minimum(first[group], places)
    rows, seen = times.table(keys // wide, direction, share), np.argsort(first)
    rows, keys, since = rows.iloc[seen], keys[seen], since[seen]
    rows["segment"] = relabelled(np.arange(len(keys)), [walk.segment(key % wide) for key in keys])
    rows["kind"] = relabelled(np.arange(len(keys)), [walk.kind(key % wide) for key in keys])
    order = np.lexsort((since / np.maximum(rows["n"].to_numpy(), 1), keys // wide))
    return rows.iloc[order][columns("breakdown")].reset_index(drop=True)


def by_kind(
    walk: Walk, journeys: np.ndarray, direction: pd.Categorical, share: float, threads: int | None = None
) -> pd.DataFrame:
    """Return what each journey's time is spent on; columns of ``schema.TABLES["breakdown_by_kind"]``.

    Parameters
    ----------
    walk, journeys, direction, share, threads
        As for `breakdown`.

    Notes
    -----
    Quantiles are those of a journey's segments of one kind together, over the journeys that have any.
    """
    kinds, times = len(KINDS), _Times(threads)

    def collect(part: slice) -> None:
        found = walk.segments(journeys[part])
        cells = (part.stop - part.start) * kinds
        n, took = np.zeros(cells, np.int64), np.zeros(cells)
        for some in found:
            local, pairs = pd.factorize(some.pair)
            kind = np.array([KINDS.index(walk.kind(pair)) for pair in pairs.tolist()], np.int64)
            cell = some.journey * kinds + kind.take(local)
            n += np.bincount(cell, minlength=cells)
            took += np.bincount(cell, some.took_ns, cells)
        there = np.flatnonzero(n)
        key = direction.codes[part].astype(np.int64)[there // kinds] * kinds + there % kinds
        times.add(key, took[there].astype(np.int64))

    times.collected(collect, len(journeys))
    keys = times.keys
    rows = times.table(keys // kinds, direction, share)
    rows["kind"] = pd.Categorical.from_codes(keys % kinds, pd.Index(KINDS, dtype="str"))
    return rows.loc[np.argsort(keys), columns("breakdown_by_kind")].reset_index(drop=True)


class _Times:
    """Durations by group, collected part by part by several threads."""

    def __init__(self, threads: int | None):
        self._threads, self._lock = threads or processors(), Lock()
        self._groups, self._packed, self._sums = Numbering(), [], []

    @property
    def keys(self) -> np.ndarray:
        """The key of each group, int64."""
        return self._groups.values(np.int64)

    def collected(self, collect: Callable[[slice], T], journeys: int) -> list[T]:
        """Call `collect`, which adds its durations, for each part of so many journeys."""
        step = PART // 8
        return spread(collect, [slice(at, at + step) for at in range(0, journeys, step)], threads=self._threads)

    def add(self, key: np.ndarray, took: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Add durations (ns) by the key of their group; return which distinct key each has, and those keys' groups."""
        local, distinct = pd.factorize(key)
        sums = np.bincount(local, took, len(distinct))
        with self._lock:
            group = self._groups.of_distinct(distinct)
            self._sums.append((group, sums))
        packed = np.minimum(took.view(np.uint64), _LONGEST_NS)
        packed |= (group.astype(np.uint64) << _TIME_BITS).take(local)
        self._packed.append(packed)
        return local, group

    def table(self, which: np.ndarray, direction: pd.Categorical, share: float) -> pd.DataFrame:
        """Return n, quantiles, mean and share in its direction of each group, given the direction of each."""
        sums = np.zeros(len(which))
        for group, of_part in self._sums:
            sums[group] += of_part
        packed = np.concatenate([np.empty(0, np.uint64), *self._packed])
        self._packed.clear()
        packed.sort()
        rows = _quantiles(packed, len(which), share)
        rows["mean_ns"] = sums / np.maximum(rows["n"].to_numpy(), 1)
        rows["direction"] = relabelled(which, list(direction.categories))
        whole = np.bincount(which, sums)[which]
        rows["share"] = np.divide(sums, whole, out=np.full(len(sums), np.nan), where=whole > 0)
        return rows


def _quantiles(packed: np.ndarray, groups: int, share: float) -> pd.DataFrame:
    """Return n and quantiles (linear interpolation, as numpy's) per group.

    Parameters
    ----------
    packed : numpy.ndarray of uint64, ascending
        Group in the upper 24 bits, duration below.
    share : float
        As for `breakdown`.
    """
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
