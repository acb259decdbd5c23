"""Sort events by packet buffer, and number the distinct hops.

A packet buffer keeps its address from the sender's device to the receiver's. The kernel uses the address for another
packet only after it freed the buffer. So the hops of one packet are neighbours once the events are sorted by (address,
time).

Work on every event is done in parts of `PART` events, so that temporary arrays fit into the processor's cache and stay
small compared with the events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .threads import spread

Columns = Mapping[str, np.ndarray]

#: Events per part.
PART = 1 << 17


class Numbering:
    """Numbers the distinct values of several parts from 0, in order of first appearance."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return the number of each value, int32."""
        local, distinct = pd.factorize(values)
        return self.of_distinct(distinct)[local]

    def of_distinct(self, values: np.ndarray) -> np.ndarray:
        """Return the number of each of some distinct values, int32."""
        numbers = [self._numbers.setdefault(value, len(self._numbers)) for value in values.tolist()]
        return np.array(numbers, np.int32)

    def values(self, dtype: type) -> np.ndarray:
        """Return the distinct values in order of their numbers, as an array of `dtype`."""
        return np.array(list(self._numbers), dtype)


@dataclass(frozen=True)
class HopCodes:
    """Each distinct (namespace, interface, point) as a small integer.

    Attributes
    ----------
    code : numpy.ndarray of int32, shape (events,)
        Code of each event's hop.
    netns, ifindex : numpy.ndarray of uint32, shape (distinct hops,)
        Namespace (inode number) and interface of each code.
    point : numpy.ndarray of uint8, shape (distinct hops,)
        Id of the point of each code.
    """

    code: np.ndarray
    netns: np.ndarray
    ifindex: np.ndarray
    point: np.ndarray

    @property
    def namespace(self) -> np.ndarray:
        """A small number for the namespace of each distinct hop, int64."""
        return np.unique(self.netns, return_inverse=True)[1]

    @property
    def device(self) -> np.ndarray:
        """A small number for the interface of each distinct hop, int64."""
        return pd.factorize(self.netns.astype(np.uint64) << np.uint64(32) | self.ifindex)[0]


def hop_codes(events: Columns, threads: int = 1) -> HopCodes:
    """Number the distinct hops, in order of first appearance.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table; ``netns``, ``ifindex`` and ``point`` are read.
    threads : int
        Number of threads.

    Returns
    -------
    HopCodes
    """
    n = len(events["point"])
    code, numbering = np.empty(n, np.int32), Numbering()
    every = [slice(at, at + PART) for at in range(0, n, PART)]

    def number(part: slice) -> np.ndarray:
        key = events["netns"][part].astype(np.uint64)
        key <<= np.uint64(24)
        key |= events["ifindex"][part]
        key <<= np.uint64(8)
        key |= events["point"][part]
        code[part], distinct = pd.factorize(key)
        return distinct

    def renumber(part: slice, final: np.ndarray) -> None:
        code[part] = final.take(code[part])

    numbers = [numbering.of_distinct(distinct) for distinct in spread(number, every, threads=threads)]
    # Where a part's own numbers are the final ones, nothing is left to do.
    other = [i for i, final in enumerate(numbers) if (final != np.arange(len(final))).any()]
    spread(renumber, [every[i] for i in other], [numbers[i] for i in other], threads=threads)
    known = numbering.values(np.uint64)
    return HopCodes(
        code,
        (known >> np.uint64(32)).astype(np.uint32),
        ((known >> np.uint64(8)) & np.uint64(0xFFFFFF)).astype(np.uint32),
        (known & np.uint64(0xFF)).astype(np.uint8),
    )


def by_buffer(skb: np.ndarray, wanted: np.ndarray, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Sort events by buffer; events of one buffer stay in order of time.

    Parameters
    ----------
    skb : numpy.ndarray of uint32, shape (n,)
        Buffers in order of time.
    wanted : numpy.ndarray of bool, shape (n,)
        Which events to sort; the others are left out.
    threads : int
        Number of threads.

    Returns
    -------
    order : numpy.ndarray of uint32, shape (sorted events,)
        Positions in `skb`.
    changes : numpy.ndarray of bool, shape (sorted events,)
        Where another buffer begins in the sorted order.

    Notes
    -----
    Buffer and position are packed into one 64-bit word each, so that a plain sort
    (vectorised in numpy) does the work of a stable argsort.
    """

    def packed(begin: int) -> np.ndarray:
        at = np.flatnonzero(wanted[begin : begin + PART]) + begin
        key = skb.take(at).astype(np.uint64)
        key <<= np.uint64(32)
        key |= at.view(np.uint64)
        return key

    key = np.concatenate([np.empty(0, np.uint64), *spread(packed, range(0, len(skb), PART), threads=threads)])
    key.sort()
    order = key.astype(np.uint32)  # the lower half
    key >>= np.uint64(32)
    changes = np.ones(len(key), bool)
    np.not_equal(key[1:], key[:-1], out=changes[1:])
    return order, changes


def parts(changes: np.ndarray) -> Iterator[slice]:
    """Yield parts of a sorted order of about `PART` events each, without splitting a buffer.

    Parameters
    ----------
    changes : numpy.ndarray of bool, shape (n,)
        From `by_buffer`.
    """
    begin, n = 0, len(changes)
    while begin < n:
        end = min(begin + PART, n)
        if end < n:
            end += int(changes[end:].argmax()) if changes[end:].any() else n - end
        yield slice(begin, end)
        begin = end


def runs(begin: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return the positions of runs of neighbours, one run after the other.

    Parameters
    ----------
    begin, length : numpy.ndarray of int64, shape (runs,)
        First position and length of each run.

    Returns
    -------
    numpy.ndarray of int64, shape (sum of lengths,)
        ``begin[i], …, begin[i] + length[i] - 1`` for each run ``i``.
    """
    ends = np.cumsum(length)
    if len(ends) == 0:
        return np.empty(0, np.int64)
    return np.repeat(begin - (ends - length), length) + np.arange(ends[-1])
