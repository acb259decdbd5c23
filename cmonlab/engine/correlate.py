"""From events to journeys: which hops belong to one packet, and in what order."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from .datagram import reads_of
from .order import PART, Columns, HopCodes, hop_codes, runs
from .packets import TCP, UDP, Packets, Stages, packets
from .stream import delivered_by, flow_numbers

__all__ = ["Journeys", "Stages", "correlate", "payload_bytes"]

_HEADER_SHIFT = 3


@dataclass(frozen=True)
class Journeys:
    """Journeys as ranges of one array of event positions.

    Attributes
    ----------
    event : numpy.ndarray of int, shape (hops,)
        Position in the events of each hop, journey after journey, in order of time.
        One event may end several journeys: a copy that delivers several segments.
    start : numpy.ndarray of int64, shape (journeys + 1,)
        Journey ``j`` is ``event[start[j]:start[j + 1]]``.
    hops : HopCodes
        Numbered hops.
    orphans : int
        Groups of events that begin nowhere: frees and deliveries of packets whose
        way was not seen, and clones that a capture tool made.
    """

    event: np.ndarray
    start: np.ndarray
    hops: HopCodes
    orphans: int

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def first(self) -> np.ndarray:
        """Event of each journey's first hop."""
        return self.event[self.start[:-1]]

    @property
    def last(self) -> np.ndarray:
        """Event of each journey's last hop."""
        return self.event[self.start[1:] - 1]

    @property
    def length(self) -> np.ndarray:
        """Hops of each journey."""
        return np.diff(self.start)


def payload_bytes(events: Columns, at: np.ndarray) -> np.ndarray:
    """Return the bytes behind the transport header of the events at positions `at`, int64."""
    header = (events["shape"][at] >> _HEADER_SHIFT).astype(np.int64) * 4
    return np.maximum(events["len_bytes"][at].astype(np.int64) - header, 0)


def correlate(events: Columns, stages: Stages, lost: Collection[int] = (), blind: Collection[int] = ()) -> Journeys:
    """Group events into journeys.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    stages : Stages
        What each point means.
    lost : collection of int
        Ids of the points where events were lost. Deliveries that can be told only
        when all of them are known are then left out, and those journeys end at the
        arrival.
    blind : collection of int
        Times (ns) at which tracepoints fell silent and spoke again: packets may have
        passed points unseen around them, without being counted as lost.

    Returns
    -------
    Journeys
        In order of their first hop.

    Notes
    -----
    The free that ends an undropped packet is no hop of its journey.  A TCP segment's
    delivery is found by its place in the byte stream (`stream`), a UDP datagram's by
    its place in the socket's queue (`datagram`).
    """
    hops = hop_codes(events)
    found = packets(events, hops, stages, whole=not lost and len(blind) == 0)
    end = np.cumsum(found.length)
    delivery = np.full(len(end), -1, np.int64)
    if not set(np.unique(events["point"][found.copy]).tolist()) & set(lost):
        _join_segments(events, found, end, stages, delivery)
    if not (stages.read | stages.receive | stages.drop) & set(lost):
        _join_datagrams(events, found, end, stages, delivery, np.sort(np.array(blind, np.int64)))
    return Journeys(*_in_order(found, end, delivery), hops, found.orphans)


def _join_segments(events: Columns, found: Packets, end: np.ndarray, stages: Stages, delivery: np.ndarray) -> None:
    """Set the delivery of each TCP segment that arrived: the copy that reached its last byte."""
    tail = found.event[end - 1]
    data = np.flatnonzero((events["proto"][tail] == TCP) & stages.of("receive", events["point"][tail]))
    size = payload_bytes(events, found.event[(end - found.length)[data]])  # GRO may have added others' bytes since
    data, size = data[size > 0], size[size > 0]
    if len(found.copy) == 0 or len(data) == 0:
        return
    tail = tail[data].astype(np.int64)
    copied_bytes = events["aux"][found.copy].astype(np.int64)
    flow = flow_numbers(events, np.concatenate([tail, found.copy]))
    last_byte = (events["seq"][tail].astype(np.int64) + size).astype(np.uint32)
    joined = delivered_by(
        flow[: len(tail)], last_byte, tail, flow[len(tail) :], found.copy_end, copied_bytes, found.copy
    )
    hit = joined >= 0
    delivery[data[hit]] = found.copy[joined[hit]]


def _join_datagrams(
    events: Columns, found: Packets, end: np.ndarray, stages: Stages, delivery: np.ndarray, breaks: np.ndarray
) -> None:
    """Set the delivery of each UDP datagram that arrived: the read that took it."""
    read = np.flatnonzero(stages.of("read", events["point"]))
    tail = found.event[end - 1]
    udp = events["proto"][tail] == UDP
    copied = udp & stages.of("deliver", events["point"][tail]) & (found.length > 1)
    data = np.flatnonzero(copied | (udp & stages.of("receive", events["point"][tail])))
    if len(read) == 0 or len(data) == 0:
        return
    arrival = found.event[end[data] - 1 - copied[data]].astype(np.int64)
    by_arrival = np.argsort(arrival)  # events are in order of time, and no two are the same
    data, arrival = data[by_arrival], arrival[by_arrival]
    joined = reads_of(events, arrival, payload_bytes(events, arrival), copied[data], read, breaks)
    hit = joined >= 0
    delivery[data[hit]] = joined[hit]


def _in_order(found: Packets, end: np.ndarray, delivery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put the packets in order of their first event, each with its delivery behind it."""
    begin = end - found.length
    rank = np.argsort(found.event[begin], kind="stable")
    begin, length, delivery = begin[rank], found.length[rank], delivery[rank]
    start = np.zeros(len(rank) + 1, np.int64)
    np.cumsum(length + (delivery >= 0), out=start[1:])
    event = np.empty(start[-1], found.event.dtype)
    for at in range(0, len(rank), PART // 8):
        part = slice(at, at + PART // 8)
        event[runs(start[:-1][part], length[part])] = found.event[runs(begin[part], length[part])]
    delivered = delivery >= 0
    event[start[1:][delivered] - 1] = delivery[delivered]
    return event, start
