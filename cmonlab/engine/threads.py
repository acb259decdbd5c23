"""Work on several processors: numpy and pandas let go of the interpreter's lock in most of their loops."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def spread(work: Callable[..., T], *items: Iterable, threads: int) -> list[T]:
    """Return what `work` returns for each item (or tuple of them), in their order.

    Parameters
    ----------
    work : callable
        Called in any order, several at a time.
    items : iterables
        Its arguments, as for `map`.
    threads : int
        How many at a time; with 1 the work is done by the caller.
    """
    calls = list(zip(*items, strict=True))
    if threads == 1 or len(calls) < 2:
        return [work(*call) for call in calls]
    with ThreadPoolExecutor(threads) as pool:
        return [waiting.result() for waiting in [pool.submit(work, *call) for call in calls]]


def both(one: Callable[[], object], other: Callable[[], T], threads: int) -> tuple:
    """Return what both return, done at the same time where there is more than one thread."""
    return tuple(spread(lambda work: work(), (one, other), threads=threads))


def sorted_words(pieces: list[np.ndarray], threads: int) -> np.ndarray:
    """Return all words in order; each thread sorts a range of values.

    Parameters
    ----------
    pieces : list of numpy.ndarray of uint64
        Emptied, as its memory is needed.
    threads : int
    """
    sample = np.sort(np.concatenate([words[:: len(words) // 256 + 1] for words in pieces] or [np.empty(0, np.uint64)]))
    cuts = [sample[len(sample) * i // threads] for i in range(1, threads)] if len(sample) else []
    if not cuts:
        words = np.concatenate([*pieces, sample[:0]])
        pieces.clear()
        words.sort()
        return words

    def between(low: np.uint64, high: np.uint64 | None) -> np.ndarray:
        words = np.concatenate([w[(w >= low) & (w < high) if high is not None else w >= low] for w in pieces])
        words.sort()
        return words

    ranges = spread(between, [np.uint64(0), *cuts], [*cuts, None], threads=threads)
    pieces.clear()
    return np.concatenate(ranges)
