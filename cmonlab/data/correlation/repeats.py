"""Repeated TCP segments: which segment carried a byte first.

A segment repeats an earlier one of the same flow and interface if the earlier one carried its first byte. It may be an
exact repetition, a part of the earlier segment, or more than it. SYN and FIN count as bytes. It makes no difference
whether the receiver already had the byte.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .order import Columns, HopCodes
from .packets import TCP
from .paths import FIN, SYN, PacketPaths, payload_bytes
from .stream import by_flow, numbered, positions


@dataclass(frozen=True)
class _Stream:
    """Events that carry bytes, flow after flow, in order of time within a flow.

    Attributes
    ----------
    order : numpy.ndarray of int64, shape (n,)
        Index of each event among those that were given.
    begin, end : numpy.ndarray of int64, shape (n,)
        Places of the first byte, and behind the last one; places of different flows do not overlap.
    ahead : numpy.ndarray of int64, shape (n,)
        Highest ``end`` of the events before each one.
    """

    order: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    ahead: np.ndarray

    def carrier(self, which: np.ndarray, byte: np.ndarray) -> np.ndarray:
        """Return the item that carried each byte first; `which` itself if no earlier one did.

        Parameters
        ----------
        which : numpy.ndarray of int64, shape (n,)
            Items that carry the byte.
        byte : numpy.ndarray of int64, shape (n,)
            Place of the byte.

        Returns
        -------
        numpy.ndarray of int64, shape (n,)
        """
        doubt = np.flatnonzero(byte < self.ahead[which])
        first = which.copy()
        points, at = np.unique(byte[doubt], return_inverse=True)
        left, right = np.searchsorted(points, self.begin), np.searchsorted(points, self.end)
        first[doubt] = np.minimum(_first_over(left, right, len(points))[at], which[doubt])
        return first


def _stream(events: Columns, flow: np.ndarray, at: np.ndarray, size: np.ndarray) -> _Stream:
    """Place the events `at` (ascending), each of `size` sequence numbers, in the byte streams of their flows."""
    order = by_flow(flow)
    at, size = at[order], size[order]
    flow = _connections(flow[order], events["seq"][at], events["tcp_flags"][at] & SYN != 0)
    begin = positions(flow, events["seq"][at])
    begin += flow * (int(size.max(initial=0)) + 1)  # a flow's last segment must not reach into the next flow
    end = begin + size
    ahead = np.full(len(at), -1, np.int64)
    ahead[1:] = np.maximum.accumulate(end)[:-1]
    return _Stream(order, begin, end, ahead)


def _connections(flow: np.ndarray, seq: np.ndarray, syn: np.ndarray) -> np.ndarray:
    """Number the connections among events in order of flow and time; a SYN with another number begins one."""
    fresh = np.ones(len(flow), bool)
    fresh[1:] = flow[1:] != flow[:-1]
    at = np.flatnonzero(syn)
    other = np.ones(len(at), bool)
    other[1:] = (seq[at[1:]] != seq[at[:-1]]) | (flow[at[1:]] != flow[at[:-1]])
    fresh[at[other]] = True
    return np.cumsum(fresh) - 1


def _first_over(left: np.ndarray, right: np.ndarray, points: int) -> np.ndarray:
    """Return for each of `points` places the lowest ``i`` whose range ``left[i] … right[i] - 1`` covers it.

    Notes
    -----
    A range of any length is the union of two overlapping ones whose length is a power of two (a sparse table). Ranges
    of one length are entered together. The entries of each length are then passed to both halves.
    """
    over = np.flatnonzero(right > left)
    left, right = left[over], right[over]
    power = np.frexp(right - left)[1] - 1  # exponent of the greatest power of two that is not longer
    lowest = np.full(points, np.iinfo(np.int64).max)
    for exponent in range(int(power.max(initial=0)), -1, -1):
        if exponent < int(power.max(initial=0)):
            half = 1 << exponent
            halved = lowest.copy()
            halved[half:] = np.minimum(halved[half:], lowest[: points - half])
            lowest = halved
        mine = np.flatnonzero(power == exponent)
        np.minimum.at(lowest, left[mine], over[mine])
        np.minimum.at(lowest, right[mine] - (1 << exponent), over[mine])
    return lowest


def repeats(
    events: Columns, paths: PacketPaths, hops: HopCodes, flow: np.ndarray, cut: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find for each segment the one that first carried its first byte.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    paths : PacketPaths
    hops : HopCodes
    flow : numpy.ndarray of int64, shape (paths,)
        Number of the flow of each ``first_tx``.
    cut : numpy.ndarray of bool, shape (paths,)
        Segments that GSO cut from a larger one; only the larger one is considered.

    Returns
    -------
    original : numpy.ndarray of int64, shape (paths,)
        The earlier path, -1 if there is none.
    fresh : numpy.ndarray of bool, shape (paths,)
        Segments that carry their last byte of payload for the first time.

    Notes
    -----
    A keep-alive (RFC 9293 section 3.8.4) is empty or repeats the last byte that was sent. So a single byte at the end
    of the stream counts as repeated only if it was sent alone the first time as well.
    """
    original, fresh = np.full(len(paths), -1, np.int64), np.zeros(len(paths), bool)
    number = np.flatnonzero((events["proto"][paths.first_tx] == TCP) & ~cut)
    at = paths.first_tx[number]
    payload, flags = payload_bytes(events, at), events["tcp_flags"][at]
    size = payload + (flags & SYN != 0) + (flags & FIN != 0)
    by_time = np.flatnonzero(size > 0)
    by_time = by_time[np.argsort(at[by_time])]
    own = numbered(flow[number[by_time]], hops.device.take(hops.code.take(at[by_time])))
    stream = _stream(events, own, at[by_time], size[by_time])
    order = by_time[stream.order]
    number, payload, flags, size = number[order], payload[order], flags[order], size[order]
    item = np.arange(len(number))
    first = stream.carrier(item, stream.begin)
    alone = (size == 1) & (payload == 1) & (stream.end == stream.ahead)
    repeated = (first < item) & ~(alone & (size[first] > 1))
    original[number[repeated]] = number[first[repeated]]
    last_byte = stream.end - 1 - (flags & FIN != 0)
    fresh[number[(payload > 0) & (stream.carrier(item, last_byte) == item)]] = True
    return original, fresh
