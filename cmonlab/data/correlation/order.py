"""Bring the events of each packet buffer together, and number the hops.

A packet buffer's address stays the same from the sender's device to the receiver's
and is used again for another packet only after it was freed.  So the hops of one
packet are neighbours once the events are sorted by (address, time).

Everything that looks at each event does so part by part, so that what it needs
meanwhile stays in the processor's cache and small beside the events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from .threads import spread

Columns = Mapping[str, np.ndarray]

PART = 1 << 17


class Numbering:
    """Small numbers for distinct values that come part by part, in order of first appearance."""

    def __init__(self):
        self._numbers: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return the number of each value, int32."""
        local, distinct = pd.factorize(values)
        return self.of_distinct(distinct)[local]

    def of_distinct(self, values: np.ndarray) -> np.ndarray:
        """Return the number of each of a few values, int32."""
        numbers = [self._numbers.setdefault(value, len(self._numbers)) for value in values.tolist()]
        return np.array(numbers, np.int32)

    def values(self, dtype: type) -> np.ndarray:
        """Return the distinct values in order of their numbers."""
        return np.array(list(self._numbers), dtype)


@dataclass(frozen=True)
class HopCodes:
    """Each distinct (namespace, interface, point) as a small integer.

    Attributes
    ----------
    code : numpy.ndarray of int32, shape (events,)
        The hop of each event.
    netns, ifindex, point : numpy.ndarray, shape (distinct hops,)
        What a code stands for.
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
    """Number the distinct hops of `events`, in order of first appearance."""
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

    def settle(part: slice, final: np.ndarray) -> None:
        code[part] = final.take(code[part])

    numbers = [numbering.of_distinct(distinct) for distinct in spread(number, every, threads=threads)]
    # A part that has met all the hops before it in their order is numbered already.
    other = [i for i, final in enumerate(numbers) if (final != np.arange(len(final))).any()]
    spread(settle, [every[i] for i in other], [numbers[i] for i in other], threads=threads)
    known = numbering.values(np.uint64)
    return HopCodes(
        code,
        (known >> np.uint64(32)).astype(np.uint32),
        ((known >> np.uint64(8)) & np.uint64(0xFFFFFF)).astype(np.uint32),
        (known & np.uint64(0xFF)).astype(np.uint8),
    )


def by_buffer(skb: np.ndarray, wanted: np.ndarray, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Sort events by buffer, events of one buffer staying in order.

    Parameters
    ----------
    skb : numpy.ndarray of uint32, shape (n,)
        Buffers in order of time.
    wanted : numpy.ndarray of bool, shape (n,)
        Which events to sort; the others are left out.
    threads : int
        That work at a time.

    Returns
    -------
    order : numpy.ndarray of uint32, shape (wanted,)
        Positions in `skb`.
    changes : numpy.ndarray of bool, shape (wanted,)
        Where a new buffer begins in the sorted order.

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
    """Cut a sorted order into parts of about `PART` events that hold whole buffers."""
    begin, n = 0, len(changes)
    while begin < n:
        end = min(begin + PART, n)
        if end < n:
            end += int(changes[end:].argmax()) if changes[end:].any() else n - end
        yield slice(begin, end)
        begin = end


def runs(begin: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return the positions of runs, one run after the other: ``begin[i], …, begin[i] + length[i] - 1``."""
    ends = np.cumsum(length)
    if len(ends) == 0:
        return np.empty(0, np.int64)
    return np.repeat(begin - (ends - length), length) + np.arange(ends[-1])
