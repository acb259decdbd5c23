"""Packet paths: the hops of each packet's own buffer, without the socket events before and after them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmonlab.points.records import SHAPE_HEADER_SHIFT

from .order import Columns, HopCodes
from .packets import TCP, Packets
from .stages import Stages

FIN, SYN = 0x01, 0x02


@dataclass(frozen=True)
class PacketPaths:
    """Packet paths as ranges of one array of event positions, in order of their first hops.

    Attributes
    ----------
    event : numpy.ndarray of uint32, shape (hops,)
        Position in the events of each hop.
    begin, length : numpy.ndarray of int64, shape (paths,)
        Path ``p`` is ``event[begin[p]:begin[p] + length[p]]``.
    arrival : numpy.ndarray of int64, shape (paths,)
        Event of the last hop.
    first_tx, last_dev_hop : numpy.ndarray of int64, shape (paths,)
        Events of the first and the last hop at a device. If a path has only kernel functions, these are its first
        and last hop.
    sent, received : numpy.ndarray of bool, shape (paths,)
        Whether ``first_tx`` is a transmit hop, and whether ``last_dev_hop`` is a receive hop or the copy of a
        datagram.
    """

    event: np.ndarray
    begin: np.ndarray
    length: np.ndarray
    arrival: np.ndarray
    first_tx: np.ndarray
    last_dev_hop: np.ndarray
    sent: np.ndarray
    received: np.ndarray

    def __len__(self) -> int:
        return len(self.begin)


def packet_paths(events: Columns, found: Packets, hops: HopCodes, stages: Stages) -> PacketPaths:
    """Sort the packets by their first hops.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    found : Packets
        From `packets.packets`.
    hops : HopCodes
        From `order.hop_codes`.
    stages : Stages
        The stage of each point.

    Returns
    -------
    PacketPaths
    """
    begin = np.cumsum(found.length) - found.length
    rank = np.argsort(found.event[begin])  # no two are equal
    begin, length = begin[rank], found.length[rank]
    last = begin + length - 1
    arrival = found.event[last].astype(np.int64)
    first_tx, last_dev_hop = found.event[begin].astype(np.int64), arrival
    if stages.function:
        function = stages.of("function", hops.point)[hops.code[found.event]]
        first_tx = found.event[_skip_functions(function, begin, last, 1)].astype(np.int64)
        last_dev_hop = found.event[_skip_functions(function, last, begin, -1)].astype(np.int64)
    sent = stages.of("transmit", events["point"][first_tx])
    point = events["point"][last_dev_hop]
    received = stages.of("receive", point) | stages.of("deliver", point)
    return PacketPaths(found.event, begin, length, arrival, first_tx, last_dev_hop, sent, received)


def _skip_functions(function: np.ndarray, at: np.ndarray, end: np.ndarray, step: int) -> np.ndarray:
    """Move each position to the next hop that is not a function; leave it if there is none up to `end`."""
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
    """Return the number of bytes behind the transport header.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table; ``len_bytes`` and ``shape`` are read.
    at : numpy.ndarray of int64, shape (n,)
        Positions of the events wanted.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        Bytes, at least 0.
    """
    header = (events["shape"][at] >> SHAPE_HEADER_SHIFT).astype(np.int64) * 4
    return np.maximum(events["len_bytes"][at].astype(np.int64) - header, 0)


def first_byte(events: Columns, at: np.ndarray) -> np.ndarray:
    """Return the TCP sequence number of the first payload byte; a SYN takes one number before it.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table; ``seq`` and ``tcp_flags`` are read.
    at : numpy.ndarray of int64, shape (n,)
        Positions of the events wanted.

    Returns
    -------
    numpy.ndarray of uint32, shape (n,)
    """
    return events["seq"][at] + (events["tcp_flags"][at] & SYN != 0)


def segments(events: Columns, paths: PacketPaths) -> tuple[np.ndarray, np.ndarray]:
    """Find the TCP segments that carry payload.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table.
    paths : PacketPaths

    Returns
    -------
    number : numpy.ndarray of int64, shape (segments,)
        Which paths are such segments, ascending.
    size : numpy.ndarray of int64, shape (segments,)
        Payload bytes at ``first_tx``; GRO may have added some later.
    """
    tcp = np.flatnonzero(events["proto"][paths.first_tx] == TCP)
    size = payload_bytes(events, paths.first_tx[tcp])
    return tcp[size > 0], size[size > 0]
