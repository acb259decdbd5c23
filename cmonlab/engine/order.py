"""Bring the hops of each packet together.

A packet buffer's address stays the same from the sender's device to the receiver's
and is used again for another packet only after it was freed.  So the hops of one
packet are neighbours once the events are sorted by (address, time); where one
packet ends and the next begins is told by the fields that no hop changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

Columns = Mapping[str, np.ndarray]


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
    key = events["netns"].astype(np.uint64) << np.uint64(32)
    key |= events["ifindex"].astype(np.uint64) << np.uint64(8)
    key |= events["point"]
    code, known = pd.factorize(key)
    return HopCodes(
        code.astype(np.int32),
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
        key = key[order]
        return order, np.concatenate([[True], key[1:] != key[:-1]])
    key >>= np.uint64(shift)
    key <<= np.uint64(index_bits)
    key |= np.arange(n, dtype=np.uint64)
    key.sort()
    order = (key & np.uint64((1 << index_bits) - 1)).astype(np.uint32 if index_bits <= 32 else np.int64)
    key >>= np.uint64(index_bits)
    changes = np.empty(n, bool)
    changes[0] = True
    np.not_equal(key[1:], key[:-1], out=changes[1:])
    return order, changes


def identity(events: Columns) -> np.ndarray:
    """Pack the fields that no hop changes, not even NAT: protocol, sequence, identification."""
    packed = events["seq"].astype(np.uint64) << np.uint64(32)
    packed |= events["ident"].astype(np.uint64) << np.uint64(16)
    packed |= events["proto"]
    return packed


def flow_hash(events: Columns) -> np.ndarray:
    """Hash addresses, ports and protocol to 64 bits (one direction)."""
    packed = events["saddr"].astype(np.uint64) << np.uint64(32)
    packed |= events["daddr"]
    packed *= np.uint64(0x9E3779B97F4A7C15)
    packed ^= packed >> np.uint64(29)
    packed += (events["sport"].astype(np.uint64) << np.uint64(24)) | (events["dport"].astype(np.uint64) << np.uint64(8)) | events["proto"]
    packed *= np.uint64(0xBF58476D1CE4E5B9)
    packed ^= packed >> np.uint64(32)
    return packed


def _differs(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Tell, for each position but the first, whether the sorted value changed."""
    ordered = values[order]
    return ordered[1:] != ordered[:-1]


def packet_starts(events: Columns, hops: HopCodes, order: np.ndarray, changes: np.ndarray, freed: np.ndarray) -> np.ndarray:
    """Mark where, in the sorted order, the hops of a new packet begin.

    Parameters
    ----------
    events, hops, order, changes
        From `hop_codes` and `by_buffer`.
    freed : numpy.ndarray of bool, shape (distinct hops,)
        Which hops free the buffer.

    Returns
    -------
    numpy.ndarray of bool, shape (n,)

    Notes
    -----
    A new packet begins with a new address; after the buffer was freed; where
    protocol, sequence or identification change; where the addresses change and the
    namespace too (within a namespace that is NAT); and where the hop with which the
    packet began comes again (the free was not seen).
    """
    starts = changes
    if len(order) == 0:
        return starts
    hop = hops.code[order]
    starts[1:] |= freed[hop[:-1]]
    starts[1:] |= _differs(identity(events), order)
    _, namespace = np.unique(hops.netns, return_inverse=True)
    namespace = namespace.astype(np.int16)[hop]
    starts[1:] |= _differs(flow_hash(events), order) & (namespace[1:] != namespace[:-1])
    run = np.cumsum(starts, dtype=np.int32 if len(order) < 2**31 else np.int64) - 1
    first = hop[np.flatnonzero(starts)]
    starts |= hop == first[run]
    return starts
