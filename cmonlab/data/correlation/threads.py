"""Work on several processors: numpy and pandas let go of the interpreter's lock in most of their loops."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

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
