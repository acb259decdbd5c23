"""Work on several processors: numpy and pandas release the interpreter lock (GIL) in most of their loops."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


def spread(work: Callable[..., T], *items: Iterable, threads: int) -> list[T]:
    """Call a function for each item, several at a time.

    Parameters
    ----------
    work : callable
        Called once per item, in any order.
    *items : iterables
        Its arguments, as for the built-in `map`; all of the same length.
    threads : int
        Number of calls at a time; with 1 the caller's thread does the work.

    Returns
    -------
    list
        What `work` returned, in the order of the items.
    """
    calls = list(zip(*items, strict=True))
    if threads == 1 or len(calls) < 2:
        return [work(*call) for call in calls]
    with ThreadPoolExecutor(threads) as pool:
        return [waiting.result() for waiting in [pool.submit(work, *call) for call in calls]]


def both(one: Callable[[], A], other: Callable[[], B], threads: int) -> tuple[A, B]:
    """Call two functions, at the same time if there is more than one thread.

    Parameters
    ----------
    one, other : callable
        Functions without arguments.
    threads : int
        Number of threads that may be used, at least 1.

    Returns
    -------
    tuple
        What `one` and `other` returned.
    """
    if threads == 1:
        return one(), other()
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(one), pool.submit(other)
        return first.result(), second.result()
