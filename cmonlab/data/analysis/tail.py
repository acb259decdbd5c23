"""The slow journeys: which segment made each slow, and which one makes the tail."""

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
_NORMAL = 1.96  # standard deviations that hold 95%
_REACH = 5  # standard deviations beyond which a quantile of a resample does not come


def slowest(
    walk: Walk,
    journeys: np.ndarray,
    took_ns: np.ndarray,
    start_ns: np.ndarray,
    direction: pd.Categorical,
    wanted: np.ndarray,
    threads: int | None = None,
) -> pd.DataFrame:
    """Return the segment that made each slow journey slow; columns of ``schema.TABLES["slowest"]``.

    Parameters
    ----------
    walk : Walk
    journeys : numpy.ndarray of int64, ascending
        Numbers of all complete journeys: what is usual is told by them.
    took_ns, start_ns : numpy.ndarray of int64
        One-way delay and first hop of each.
    direction : pandas.Categorical
        Of each.
    wanted : numpy.ndarray of int64
        Positions in `journeys` of those to tell of, the slowest first.
    threads : int, optional
        That work at a time; by default as many as processors may be used.
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
    """Return the median of each segment in each direction, 0 counted for journeys that do not pass it."""
    times = Times(threads)

    def collect(part: slice) -> None:
        for some in walk.segments(journeys[part]):
            times.add(lane[part].take(some.journey) * wide + some.pair, some.took_ns)

    times.collected(collect, len(journeys))
    keys = times.keys
    return pd.Series(times.medians(np.bincount(lane, minlength=1)[keys // wide]), keys)


def segments_of(walk: Walk, journeys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of each segment of these journeys: position of its journey, number and duration (ns).

    Journey after journey; in each, segments of one number come once, with what they took together.
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
    """Part a quantile of the one-way delay less its median into segments, per direction.

    Parameters
    ----------
    walk, journeys, took_ns, direction
        As for `slowest`.
    quantile : float
        Above 0.5 and below 1.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.TABLES["where_is_the_tail"]``.

    Notes
    -----
    Quantiles of segments do not add up to the quantile of their sum. What does is the mean of each
    segment over the journeys whose delay is that quantile, ``q(D) = Σ E[S | D = q(D)]``: the Euler
    allocation of a quantile (Tasche 1999, Risk contributions and performance measurement; 2009, Capital
    allocation for credit portfolios with kernel estimators, whose uniform kernel over ranks this is).
    The means are taken over the journeys whose ranks are in the quantile's own 95% interval
    (David and Nagaraja, Order Statistics, 7.1): those that may be the quantile, as far as so many
    journeys tell, so that more journeys make the window narrower. The residual is what the delays in the
    windows differ from the quantiles.

    Intervals are of a bootstrap of whole journeys (percentile method, Efron 1979), ranks included; they
    take journeys to be independent, and tell how well another such recording would agree.
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
        Of the quantile among the ranks, from 0.
    low, high : int
        First and last rank of the journeys that stand for it.
    reach : slice
        Ranks that a bootstrap may put there.
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
    """Return numbers of segments, and what each took (ns) in each of the journeys wanted, 0 where not passed."""
    ascending = np.argsort(wanted)
    number, pair, took = segments_of(walk, journeys[wanted[ascending]])
    column, pairs = pd.factorize(pair)
    parts = np.zeros((len(wanted), len(pairs)))
    parts[ascending[number], column] = took
    return pairs.tolist(), parts


def _interval(n: int, rank: np.ndarray, values: np.ndarray, windows: list[_Window]) -> np.ndarray:
    """Return the ends of the bootstrap interval of each segment's difference, and of the residual's, shape (2, …).

    A resample of all `n` journeys is drawn, but only those around the quantiles are looked at: of the
    others it is enough to know how many there are below.

    Parameters
    ----------
    n : int
    rank : numpy.ndarray of int64, ascending
        Ranks of the journeys that may matter.
    values : numpy.ndarray of float64, shape (ranks, segments + 1)
        Their segments and, last, their delay.
    windows : list of _Window
        Of the median and of the quantile.
    """
    rng = np.random.default_rng(0)
    begins = np.flatnonzero(np.diff(rank, prepend=-2) > 1)  # one run of ranks, or two
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
    """Return the mean of each segment in a window of a resample, and the residual, given the ranks that each takes."""
    weight = np.maximum(np.minimum(until, window.high + 1) - np.maximum(since, window.low), 0)
    mean = weight @ values[:, :-1] / weight.sum()
    at = np.floor(window.place)
    ends = (values[min(until.searchsorted(one, side="right"), len(until) - 1), -1] for one in (at, at + 1))
    low, high = ends
    return np.append(mean, low + (high - low) * (window.place - at) - mean.sum())
