"""Log-linear histograms: the buckets of the kernel's aggregates, and quantiles computed from them.

Each time below 64 ns has a bucket of its own. Above, each power of two is divided into 32 buckets of equal width. So a
bucket is at most 1/32 as wide as its lower bound, and its middle is off by less than 1/64 of any time in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Each power of two is divided into ``2 ** PART_BITS`` buckets.
PART_BITS = 5
#: Buckets of all 64-bit times.
BUCKETS = (64 - PART_BITS + 1) << PART_BITS
#: A bucket's middle is off by less than this share of any time in it.
MAX_RELATIVE_ERROR = 1 / 64

_EXACT = 2 << PART_BITS


def bucket_of(time_ns: np.ndarray) -> np.ndarray:
    """Return the bucket of each time, numbered as in the kernel's program.

    Parameters
    ----------
    time_ns : array_like of unsigned integers, shape (n,)
        Times in ns.

    Returns
    -------
    numpy.ndarray of uint16, shape (n,)
    """
    time = np.asarray(time_ns, np.uint64)
    # floor(log2) by bisection: the float64 logarithm of 2**53 - 1, for example, is rounded up to 53.
    power, rest = np.zeros(time.shape, np.uint64), time.copy()
    for step in (32, 16, 8, 4, 2, 1):
        more = rest >= np.uint64(1 << step)
        power[more] += np.uint64(step)
        rest[more] >>= np.uint64(step)
    shift = np.where(time < _EXACT, np.uint64(0), np.maximum(power, PART_BITS) - np.uint64(PART_BITS))
    return ((shift << np.uint64(PART_BITS)) + (time >> shift)).astype(np.uint16)


def bounds(bucket: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the shortest and the longest time (ns, uint64) of each bucket, both inclusive."""
    bucket = np.asarray(bucket, np.uint64)
    shift = np.maximum(bucket >> np.uint64(PART_BITS), np.uint64(1)) - np.uint64(1)
    lower = (bucket - (shift << np.uint64(PART_BITS))) << shift
    return lower, lower + ((np.uint64(1) << shift) - np.uint64(1))


def middle(bucket: np.ndarray) -> np.ndarray:
    """Return the time (ns, float64) that represents each bucket, off by less than `MAX_RELATIVE_ERROR`."""
    lower, upper = bounds(bucket)
    return lower.astype(np.float64) + (upper - lower).astype(np.float64) / 2


def quantiles(
    group: np.ndarray, bucket: np.ndarray, count: np.ndarray, groups: int, wanted: Sequence[float]
) -> np.ndarray:
    """Return quantiles of several histograms, given as cells.

    Parameters
    ----------
    group : numpy.ndarray of int, shape (cells,)
        Number of the histogram that a cell belongs to, from 0.
    bucket : numpy.ndarray of int, shape (cells,)
        Bucket of each cell. Several cells of a group may have the same bucket.
    count : numpy.ndarray of int, shape (cells,)
        Number of times counted in each cell.
    groups : int
        Number of histograms.
    wanted : sequence of float
        Quantiles, from 0 to 1.

    Returns
    -------
    numpy.ndarray of float64, shape (len(wanted), groups)
        In ns; NaN where a histogram is empty. The relative error is less than `MAX_RELATIVE_ERROR`, compared with the
        quantile of the times themselves (linear interpolation, as in numpy).
    """
    out = np.full((len(wanted), groups), np.nan)
    filled = np.asarray(count) > 0
    key = np.asarray(group, np.int64)[filled] * BUCKETS + np.asarray(bucket)[filled]
    if len(key) == 0:
        return out
    order = np.argsort(key, kind="stable")
    key, reached = key[order], np.cumsum(np.asarray(count, np.int64)[filled][order])
    edges = np.searchsorted(key, np.arange(groups + 1, dtype=np.int64) * BUCKETS)
    before = np.concatenate([[0], reached])[edges]
    n = np.diff(before)
    some = np.flatnonzero(n)
    value = middle(key % BUCKETS)
    for row, quantile in enumerate(wanted):
        place = (n[some] - 1) * quantile
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, n[some] - 1)
        a, b = (value[np.searchsorted(reached, before[some] + rank, side="right")] for rank in (low, high))
        out[row, some] = a + (b - a) * (place - low)
    return out
