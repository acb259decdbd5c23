"""The segments of journeys, and the breakdown of one-way delays into them."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pandas as pd

from cmonlab.schema import columns

from .category import relabelled
from .kinds import KINDS
from .times import Times
from .walk import Segments, Walk


def hops(walk: Walk, journeys: np.ndarray) -> pd.DataFrame:
    """Return one row per hop of the given journeys.

    Parameters
    ----------
    walk : Walk
        Hops of the recording.
    journeys : numpy.ndarray of int64, shape (journeys,)
        Numbers of the journeys wanted, ascending.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("hops")``; times in ns.
    """
    passed = walk.of(journeys)
    took, segment = np.diff(passed.ts_ns, prepend=passed.ts_ns[:1]), walk.pairs(passed)
    took[passed.opens], segment[passed.opens] = 0, -1
    known, pairs = pd.factorize(segment, use_na_sentinel=False)
    return pd.DataFrame(
        {
            "journey": np.repeat(journeys, passed.length),
            "ts_ns": passed.ts_ns,
            "offset_ns": passed.ts_ns - np.repeat(passed.ts_ns[passed.opens], passed.length),
            "hop": relabelled(passed.label, walk.labels),
            "segment": relabelled(known, [walk.segment(pair) for pair in pairs]),
            "kind": relabelled(known, [walk.kind(pair) for pair in pairs]),
            "segment_ns": took,
        },
        copy=False,
    )


def breakdown(
    walk: Walk,
    journeys: np.ndarray,
    sent_ns: np.ndarray,
    direction: pd.Categorical,
    share: float,
    threads: int | None = None,
) -> pd.DataFrame:
    """Return quantiles and share of each segment per direction.

    Parameters
    ----------
    walk : Walk
        Hops of the recording.
    journeys : numpy.ndarray of int64, shape (journeys,)
        Numbers of the complete journeys, ascending.
    sent_ns : numpy.ndarray of int64, shape (journeys,)
        Time at which each of them left its source. Rows are sorted by when segments end after it, on average.
    direction : pandas.Categorical, length journeys
        Direction of each journey.
    share : float
        Share of the packets that were sampled, above 0 and up to 1; NaN if it is not a single number.
    threads : int, optional
        Number of threads; by default the number of processors that may be used.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("breakdown")``; times in ns.

    Notes
    -----
    The means of the segments times their n, summed over a direction, are the sum of its one-way delays. So the shares
    of a direction add up to 1.
    """
    wide, times = len(walk.labels) ** 2, Times(threads)

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
    """Return what the time of journeys is spent on, per direction and kind.

    Parameters
    ----------
    walk, journeys, direction, share, threads
        As for `breakdown`.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("breakdown_by_kind")``; times in ns.

    Notes
    -----
    The segments of one kind are added up within each journey. Quantiles are over the journeys that have such segments.
    """
    kinds, times = len(KINDS), Times(threads)

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
