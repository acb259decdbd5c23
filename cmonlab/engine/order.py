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
        numbers = [self._numbers.setdefault(value, len(self._numbers)) for value in distinct.tolist()]
        return np.array(numbers, np.int32)[local]

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


def hop_codes(events: Columns) -> HopCodes:
    """Number the distinct hops of `events`, in order of first appearance."""
    n = len(events["point"])
    code, numbering = np.empty(n, np.int32), Numbering()
    for at in range(0, n, PART):
        part = slice(at, at + PART)
        key = events["netns"][part].astype(np.uint64) << np.uint64(32)
        key |= events["ifindex"][part].astype(np.uint64) << np.uint64(8)
        key |= events["point"][part]
        code[part] = numbering.of(key)
    known = numbering.values(np.uint64)
    return HopCodes(
        code,
        (known >> np.uint64(32)).astype(np.uint32),
        ((known >> np.uint64(8)) & np.uint64(0xFFFFFF)).astype(np.uint32),
        (known & np.uint64(0xFF)).astype(np.uint8),
    )


def by_buffer(skb: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort events by buffer address, events of one address staying in order.

    Parameters
    ----------
    skb : numpy.ndarray of uint64, shape (n,)
        Buffer addresses in order of time.

    Returns
    -------
    order : numpy.ndarray, shape (n,)
        Positions in `skb`.
    changes : numpy.ndarray of bool, shape (n,)
        Where a new address begins in the sorted order.

    Notes
    -----
    Address and position are packed into one 64-bit word each, so that a plain sort
    (vectorised in numpy) does the work of a stable argsort.
    """
    n = len(skb)
    if n == 0:
        return np.empty(0, np.uint32), np.empty(0, bool)
    key = skb - skb.min()
    used = int(np.bitwise_or.reduce(key))
    shift = (used & -used).bit_length() - 1 if used else 0
    index_bits = (n - 1).bit_length()
    if (used >> shift).bit_length() + index_bits > 64:
        order = np.argsort(key, kind="stable")
        return order, _changes(key[order])
    key >>= np.uint64(shift)
    key <<= np.uint64(index_bits)
    for at in range(0, n, PART):
        key[at : at + PART] |= np.arange(at, min(at + PART, n), dtype=np.uint64)
    key.sort()
    order = np.empty(n, np.uint32 if index_bits <= 32 else np.int64)
    np.bitwise_and(key, np.uint64((1 << index_bits) - 1), out=order, casting="unsafe")
    key >>= np.uint64(index_bits)
    return order, _changes(key)


def _changes(ordered: np.ndarray) -> np.ndarray:
    changes = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=changes[1:])
    return changes


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
