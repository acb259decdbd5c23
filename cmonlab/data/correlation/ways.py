"""The way of each packet: its own hops, without what sockets tell before and after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .order import Columns, HopCodes
from .packets import TCP, Packets, Stages

_HEADER_SHIFT = 3
FIN, SYN = 0x01, 0x02


@dataclass(frozen=True)
class Ways:
    """Ways as ranges of one array of event positions, in order of their first hops.

    Attributes
    ----------
    event : numpy.ndarray of uint32, shape (hops,)
        Position in the events of each hop.
    begin, length : numpy.ndarray of int64, shape (ways,)
        Way ``w`` is ``event[begin[w]:begin[w] + length[w]]``.
    arrival : numpy.ndarray of int64, shape (ways,)
        Event of the last hop.
    first_tx, tail : numpy.ndarray of int64, shape (ways,)
        Events of the first and the last hop that is no function, if there is any.
    sent, received : numpy.ndarray of bool, shape (ways,)
        The first_tx is a transmit hop; the tail is a receive hop, or a datagram's copy.
    """

    event: np.ndarray
    begin: np.ndarray
    length: np.ndarray
    arrival: np.ndarray
    first_tx: np.ndarray
    tail: np.ndarray
    sent: np.ndarray
    received: np.ndarray

    def __len__(self) -> int:
        return len(self.begin)


def ways_of(events: Columns, found: Packets, hops: HopCodes, stages: Stages) -> Ways:
    """Put the packets in order of their first hops."""
    begin = np.cumsum(found.length) - found.length
    rank = np.argsort(found.event[begin])  # no two are the same
    begin, length = begin[rank], found.length[rank]
    last = begin + length - 1
    arrival = found.event[last].astype(np.int64)
    first_tx, tail = found.event[begin].astype(np.int64), arrival
    if stages.function:
        function = stages.of("function", hops.point)[hops.code[found.event]]
        first_tx = found.event[_beyond(function, begin, last, 1)].astype(np.int64)
        tail = found.event[_beyond(function, last, begin, -1)].astype(np.int64)
    sent = stages.of("transmit", events["point"][first_tx])
    point = events["point"][tail]
    received = stages.of("receive", point) | stages.of("deliver", point)
    return Ways(found.event, begin, length, arrival, first_tx, tail, sent, received)


def _beyond(function: np.ndarray, at: np.ndarray, end: np.ndarray, step: int) -> np.ndarray:
    """Move each position on to the first hop that is no function; leave it where there is none until `end`."""
    moved = at.copy()
    look = np.flatnonzero(function[moved])
    while len(look):
        stuck = moved[look] == end[look]
        moved[look[stuck]] = at[look[stuck]]
        look = look[~stuck]
        moved[look] += step
        look = look[function[moved[look]]]
    return moved


def payload_bytes(events: Columns, at: np.ndarray) -> np.ndarray:
    """Return the bytes behind the transport header of the events at positions `at`, int64."""
    header = (events["shape"][at] >> _HEADER_SHIFT).astype(np.int64) * 4
    return np.maximum(events["len_bytes"][at].astype(np.int64) - header, 0)


def first_byte(events: Columns, at: np.ndarray) -> np.ndarray:
    """Return the sequence number of the first byte of payload, uint32: a SYN takes a number of its own."""
    return events["seq"][at] + (events["tcp_flags"][at] & SYN != 0)


def segments(events: Columns, ways: Ways) -> tuple[np.ndarray, np.ndarray]:
    """Return the ways of TCP segments with payload, and their bytes as they departed (GRO may have added since)."""
    tcp = np.flatnonzero(events["proto"][ways.first_tx] == TCP)
    size = payload_bytes(events, ways.first_tx[tcp])
    return tcp[size > 0], size[size > 0]
