"""Slow journeys: which segment made each of them slow, and which segments make the tail of the delay.

Problem
-------
The 99th percentile of the one-way delay is much higher than its median. Which segments of the path cause the
difference, and how much does each contribute? The contributions should add up to the difference, so that nothing is
left out or counted twice.

The obvious way is to compute the 99th percentile of each segment. But quantiles do not add up: the slowest 1% of one
segment are usually not the journeys that are slowest in another, so the sum of the segments' quantiles is usually far
above the quantile of the delay. Correlating segments with the delay gives no times. Looking at the single journey at
the quantile gives times, but another journey next to it may be slow for another reason.

Approach
--------
1. Use means, because they do add up. The mean of each segment over the journeys whose delay is the quantile,
   ``E[S | D = q(D)]``, sums to the quantile. This is the Euler allocation of a quantile (Tasche 1999, Risk
   contributions and performance measurement).
2. Estimate this mean over the journeys whose ranks are close to the quantile: a uniform kernel over ranks (Tasche 2009,
   Capital allocation for credit portfolios with kernel estimators). The window is the 95% interval of the quantile's
   own rank (David and Nagaraja, Order Statistics, 7.1). These journeys may be the true quantile, as far as the number
   of journeys shows; more journeys make the window narrower relative to all.
3. Do the same around the median, and subtract. What the mean delays in the two windows differ from the exact quantiles
   is reported as ``residual``, so that the rows add up exactly.
4. Get intervals by a bootstrap of whole journeys (percentile method, Efron 1979), including their ranks. Only journeys
   that a resample can move into a window are drawn one by one; of the others, only their number below each window is
   drawn.

For single slow journeys (`slowest`), each segment is compared with its median over all journeys of the direction. The
segment with the greatest excess is reported.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from cmonlab.schema import columns

from .category import relabelled
from .stats import CONFIDENCE, LEAST_FOR_INTERVAL
from .times import Times
from .walk import Walk

RESIDUAL = "residual"
_RESAMPLES = 400
_NORMAL = 1.96  # standard deviations that include 95%
_REACH = 5  # standard deviations that a quantile of a resample does not exceed


def slowest(
    walk: Walk,
    journeys: np.ndarray,
    took_ns: np.ndarray,
    start_ns: np.ndarray,
    direction: pd.Categorical,
    wanted: np.ndarray,
    threads: int | None = None,
) -> pd.DataFrame:
    """Return the segment that made each slow journey slow.

    Parameters
    ----------
    walk : Walk
        Hops of the recording.
    journeys : numpy.ndarray of int64, shape (journeys,), ascending
        Numbers of all complete journeys; typical durations are their medians.
    took_ns, start_ns : numpy.ndarray of int64, shape (journeys,)
        One-way delay, and time of the first hop.
    direction : pandas.Categorical, length journeys
        Direction of each journey.
    wanted : numpy.ndarray of int64, shape (wanted,)
        Positions in `journeys` of the journeys to report, the slowest first.
    threads : int, optional
        Number of threads; by default the number of processors that may be used.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("slowest")``, one row per journey wanted.
    """
    wide = len(walk.labels) ** 2
    lane = direction.codes.astype(np.int64)
    number, pair, took = segments_of(walk, journeys[wanted])
    key = lane[wanted][number] * wide + pair
    usual = _medians(walk, journeys, lane, wide, threads)
    typical = usual.reindex(key).to_numpy()
    order = np.lexsort((-(took - typical), number))
    first = order[np.searchsorted(number[order], np.arange(len(wanted)))]
    known, pairs = pd.factorize(pair[first])
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(wanted) + 1),
            "journey": journeys[wanted],
            "direction": direction[wanted],
            "start_ns": start_ns[wanted],
            "one_way_delay_ns": took_ns[wanted],
            "segment": relabelled(known, [walk.segment(one) for one in pairs]),
            "kind": relabelled(known, [walk.kind(one) for one in pairs]),
            "segment_ns": took[first],
            "typical_ns": typical[first],
            "excess_ns": took[first] - typical[first],
        }
    )[columns("slowest")]


def _medians(walk: Walk, journeys: np.ndarray, lane: np.ndarray, wide: int, threads: int | None) -> pd.Series:
    """Return the median of each segment in each direction (ns), with 0 for journeys that do not pass it."""
    times = Times(threads)

    def collect(part: slice) -> None:
        for some in walk.segments(journeys[part]):
            times.add(lane[part].take(some.journey) * wide + some.pair, some.took_ns)

    times.collected(collect, len(journeys))
    keys = times.keys
    return pd.Series(times.medians(np.bincount(lane, minlength=1)[keys // wide]), keys)


def segments_of(walk: Walk, journeys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the segments of journeys, with the durations of equal segments of a journey added up.

    Parameters
    ----------
    walk : Walk
        Hops of the recording.
    journeys : numpy.ndarray of int64, shape (journeys,), ascending
        Numbers of the journeys.

    Returns
    -------
    number, pair, took : numpy.ndarray of int64, shape (segments,)
        Position of the segment's journey in `journeys` (ascending), number of the segment (see `Walk.segment`), and its
        duration in ns.
    """
    some = walk.segments(journeys)
    journey, pair, took = (
        np.concatenate([getattr(part, name) for part in some]) for name in ("journey", "pair", "took_ns")
    )
    sums = pd.Series(took).groupby([journey, pair]).sum()
    levels = (sums.index.get_level_values(level).to_numpy(np.int64) for level in (0, 1))
    return *levels, sums.to_numpy(np.int64)


def where(
    walk: Walk, journeys: np.ndarray, took_ns: np.ndarray, direction: pd.Categorical, quantile: float
) -> pd.DataFrame:
    """Decompose a quantile of the one-way delay less its median into segments, per direction.

    Parameters
    ----------
    walk, journeys, took_ns, direction
        As for `slowest`.
    quantile : float
        Above 0.5 and below 1.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("where_is_the_tail")``; times in ns.

    Notes
    -----
    See the module's docstring for the method and its sources. The intervals assume that journeys are independent. They
    say how well another such recording would agree.
    """
    rows = [
        _of_direction(walk, journeys[mine], took_ns[mine], quantile).assign(direction=name)
        for code, name in enumerate(direction.categories)
        if len(mine := np.flatnonzero(direction.codes == code))
    ]
    if not rows:
        return pd.DataFrame({name: [] for name in columns("where_is_the_tail")})
    table = pd.concat(rows, ignore_index=True)
    for name in ("direction", "segment", "kind"):
        table[name] = relabelled(*pd.factorize(table[name]))
    return table[columns("where_is_the_tail")]


class _Window(NamedTuple):
    """Ranks around a quantile.

    Attributes
    ----------
    place : float
        Rank of the quantile, from 0.
    low, high : int
        First and last rank of the journeys that represent it.
    reach : slice
        Ranks that a resample may move into the window.
    """

    place: float
    low: int
    high: int
    reach: slice


def _window(n: int, quantile: float) -> _Window:
    place, sigma = (n - 1) * quantile, np.sqrt(n * quantile * (1 - quantile))
    half = max(_NORMAL * sigma, 0.5)
    low, high = max(int(np.ceil(place - half)), 0), min(int(np.floor(place + half)), n - 1)
    far = half + _REACH * sigma + 1
    return _Window(place, low, high, slice(max(int(place - far), 0), min(int(place + far) + 1, n)))


def _of_direction(walk: Walk, journeys: np.ndarray, took_ns: np.ndarray, quantile: float) -> pd.DataFrame:
    """Return the rows of one direction, without its name."""
    n, order = len(journeys), np.argsort(took_ns, kind="stable")
    windows = [_window(n, one) for one in (0.5, quantile)]
    rank = np.unique(np.concatenate([np.arange(n)[window.reach] for window in windows]))
    delay = took_ns[order].astype(float)
    pairs, parts = _matrix(walk, journeys, order[rank])
    here = [rank.searchsorted((window.low, window.high + 1)) for window in windows]
    means = [parts[begin:end].mean(axis=0) for begin, end in here]
    exact = np.quantile(delay, (0.5, quantile))
    typical, tail = (np.append(mean, whole - mean.sum()) for mean, whole in zip(means, exact, strict=True))
    difference, total = tail - typical, exact[1] - exact[0]
    low, high = np.full((2, len(difference)), np.nan)
    if n * (1 - quantile) >= LEAST_FOR_INTERVAL:
        low, high = _interval(n, rank, np.column_stack([parts, delay[rank]]), windows)
    rows = pd.DataFrame(
        {
            "segment": [*(walk.segment(pair) for pair in pairs), RESIDUAL],
            "kind": [*(walk.kind(pair) for pair in pairs), ""],
            "n": n,
            "n_tail": windows[1].high - windows[1].low + 1,
            "quantile": quantile,
            "typical_ns": typical,
            "tail_ns": tail,
            "difference_ns": difference,
            "low_ns": low,
            "high_ns": high,
            "share": difference / total if total > 0 else np.nan,
        }
    )
    passed = np.append((typical != 0)[:-1] | (tail != 0)[:-1], True)
    last = rows["segment"] == RESIDUAL
    return rows[passed].iloc[np.lexsort((-difference[passed], last[passed]))]


def _matrix(walk: Walk, journeys: np.ndarray, wanted: np.ndarray) -> tuple[list[int], np.ndarray]:
    """Return the numbers of the segments, and their durations in each journey wanted.

    Returns
    -------
    pairs : list of int
        Numbers of the segments.
    parts : numpy.ndarray of float64, shape (wanted, segments)
        Durations in ns, 0 if the journey does not pass the segment.
    """
    ascending = np.argsort(wanted)
    number, pair, took = segments_of(walk, journeys[wanted[ascending]])
    column, pairs = pd.factorize(pair)
    parts = np.zeros((len(wanted), len(pairs)))
    parts[ascending[number], column] = took
    return pairs.tolist(), parts


def _interval(n: int, rank: np.ndarray, values: np.ndarray, windows: list[_Window]) -> np.ndarray:
    """Return the ends of the bootstrap interval of each difference and of the residual, shape (2, segments + 1).

    Each resample is one of all `n` journeys, but only the journeys around the quantiles are drawn one by one. Of the
    others it is enough to draw how many are below.

    Parameters
    ----------
    n : int
        Number of journeys.
    rank : numpy.ndarray of int64, shape (ranks,), ascending
        Ranks of the journeys that a resample may move into a window.
    values : numpy.ndarray of float64, shape (ranks, segments + 1)
        Durations of their segments and, last, their delay, ns.
    windows : list of _Window
        Window of the median, and of the quantile.
    """
    rng = np.random.default_rng(0)
    begins = np.flatnonzero(np.diff(rank, prepend=-2) > 1)  # one or two runs of consecutive ranks
    ends = np.append(begins[1:], len(rank))
    edges = np.column_stack([rank[begins], rank[ends - 1] + 1]).ravel()
    sizes = np.diff(edges, prepend=0, append=n)
    found = np.empty((_RESAMPLES, values.shape[1]))
    for row, areas in enumerate(rng.multinomial(n, sizes / n, _RESAMPLES)):
        times = np.concatenate(
            [
                np.bincount(rng.integers(0, end - begin, drawn), minlength=end - begin)
                for begin, end, drawn in zip(begins, ends, areas[1::2], strict=True)
            ]
        )
        until = np.repeat(np.cumsum(areas[::2])[:-1], ends - begins) + np.cumsum(times)
        typical, tail = (_resampled(until - times, until, values, window) for window in windows)
        found[row] = tail - typical
    rest = (1 - CONFIDENCE) / 2
    return np.quantile(found, (rest, 1 - rest), axis=0)


def _resampled(since: np.ndarray, until: np.ndarray, values: np.ndarray, window: _Window) -> np.ndarray:
    """Return the mean of each segment in a window of a resample, and the residual, given the ranks of each journey."""
    weight = np.maximum(np.minimum(until, window.high + 1) - np.maximum(since, window.low), 0)
    mean = weight @ values[:, :-1] / weight.sum()
    at = np.floor(window.place)
    low, high = (values[min(int(until.searchsorted(one, side="right")), len(until) - 1), -1] for one in (at, at + 1))
    return np.append(mean, low + (high - low) * (window.place - at) - mean.sum())
