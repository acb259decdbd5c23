"""Durations by group: their number, quantiles, and intervals of the quantiles."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TypeVar

import numpy as np
import pandas as pd

from ..correlation.order import PART, Numbering
from ..correlation.threads import processors, spread
from .category import relabelled
from .stats import quantile_ranks

T = TypeVar("T")

QUANTILES = {"p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "p999_ns": 0.999}
#: Quantiles that have an interval.
BOUNDED = ("p50_ns", "p99_ns")

_TIME_BITS, _LONGEST_NS = np.uint64(40), np.uint64((1 << 40) - 1)


class Times:
    """Durations by group, collected in parts by several threads.

    Parameters
    ----------
    threads : int, optional
        Number of threads; by default the number of processors that may be used.
    """

    def __init__(self, threads: int | None):
        self._threads, self._lock = threads or processors(), Lock()
        self._groups = Numbering()
        self._packed: list[np.ndarray] = []
        self._sums: list[tuple[np.ndarray, np.ndarray]] = []

    @property
    def keys(self) -> np.ndarray:
        """Key of each group, int64."""
        return self._groups.values(np.int64)

    def collected(self, collect: Callable[[slice], T], journeys: int) -> list[T]:
        """Call a function for each part of the journeys; it adds the durations of that part.

        Parameters
        ----------
        collect : callable
            Called with a slice of the journeys.
        journeys : int
            Number of journeys.

        Returns
        -------
        list
            What `collect` returned, in order of the parts.
        """
        step = PART // 8
        return spread(collect, [slice(at, at + step) for at in range(0, journeys, step)], threads=self._threads)

    def add(self, key: np.ndarray, took: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Add durations; several threads may call this at the same time.

        Parameters
        ----------
        key : numpy.ndarray of int64, shape (n,)
            Key of each duration's group.
        took : numpy.ndarray of int64, shape (n,)
            Durations, ns.

        Returns
        -------
        local : numpy.ndarray of int64, shape (n,)
            Number of each key among the distinct keys of this call.
        group : numpy.ndarray of int32, shape (distinct keys,)
            Group of each distinct key.
        """
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
        """Return statistics of each group.

        Parameters
        ----------
        which : numpy.ndarray of int64, shape (groups,)
            Code of each group's direction.
        direction : pandas.Categorical
            Its categories name the directions.
        share : float
            Share of the packets that were sampled, above 0 and up to 1; NaN if it is not a single number.

        Returns
        -------
        pandas.DataFrame
            One row per group: n, quantiles and their intervals (ns), mean_ns, direction, and share (of the total time
            of its direction).
        """
        sums = np.zeros(len(which))
        for group, of_part in self._sums:
            sums[group] += of_part
        rows = _quantiles(self._sorted(), len(which), share)
        rows["mean_ns"] = sums / np.maximum(rows["n"].to_numpy(), 1)
        rows["direction"] = relabelled(which, list(direction.categories))
        whole = np.bincount(which, sums)[which]
        rows["share"] = np.divide(sums, whole, out=np.full(len(sums), np.nan), where=whole > 0)
        return rows

    def medians(self, every: np.ndarray) -> np.ndarray:
        """Return the median of each group (ns, float64), counting 0 ns for each duration that was not added.

        Parameters
        ----------
        every : numpy.ndarray of int64, shape (groups,)
            Number of durations in each group, added or not.
        """
        packed = self._sorted()
        begins, n = _groups(packed, len(every))
        return _value(packed, begins, n, (every - 1) * 0.5 - (every - n))

    def _sorted(self) -> np.ndarray:
        """Return all durations, packed and ascending, and free the memory of the parts."""
        packed = np.concatenate([np.empty(0, np.uint64), *self._packed])
        self._packed.clear()
        packed.sort()
        return packed


def _groups(packed: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where each group begins, and its size."""
    begins = np.searchsorted(packed, np.arange(groups + 1, dtype=np.uint64) << _TIME_BITS)
    return begins[:-1], np.diff(begins)


def _value(packed: np.ndarray, begins: np.ndarray, n: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return the value at a place in each sorted group, interpolated linearly as in numpy.

    It is 0 below the first value, and NaN if the group is empty.
    """
    value = np.full(len(n), np.nan)
    some = np.flatnonzero(n)
    low = np.floor(place[some]).astype(np.int64)
    high = np.minimum(low + 1, n[some] - 1)
    ends = [
        np.where(at >= 0, (packed[begins[some] + np.maximum(at, 0)] & _LONGEST_NS).astype(float), 0.0)
        for at in (low, high)
    ]
    value[some] = ends[0] + (ends[1] - ends[0]) * (place[some] - low)
    return value


def _quantiles(packed: np.ndarray, groups: int, share: float) -> pd.DataFrame:
    """Return n and quantiles (linear interpolation, as in numpy) per group.

    Parameters
    ----------
    packed : numpy.ndarray of uint64, ascending
        Group in the upper 24 bits, duration below.
    share : float
        As for `Times.table`.
    """
    begins, n = _groups(packed, groups)
    rows = {"n": n}
    for name, quantile in QUANTILES.items():
        value = _value(packed, begins, n, (n - 1) * quantile)
        rows[name] = value
        if name in BOUNDED:
            bounds = _bounds(packed, begins, n, quantile, share) if share < 1 else (value, value)
            rows |= dict(zip(bounds_of(name), bounds if share <= 1 else np.full((2, groups), np.nan), strict=True))
    return pd.DataFrame(rows)


def bounds_of(name: str) -> tuple[str, str]:
    """Return the names of the columns with the ends of the interval of a quantile, given the name of its column."""
    return name.replace("_ns", "_low_ns"), name.replace("_ns", "_high_ns")


def _bounds(packed: np.ndarray, begins: np.ndarray, n: np.ndarray, quantile: float, share: float) -> np.ndarray:
    """Return the ends of a quantile's interval per group, shape (2, groups); 0 and infinity if there is no such end."""
    low, high = np.array([quantile_ranks(size, quantile, share) for size in n.tolist()], np.int64).reshape(-1, 2).T
    ends = np.array([np.zeros(len(n)), np.full(len(n), np.inf)])
    for end, at, known in zip(ends, (low, high), (low >= 0, high < n), strict=True):
        end[known] = packed[(begins + at)[known]] & _LONGEST_NS
    return ends
