"""From events to journeys: which hops belong to one packet, and in what order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .datagram import reads_of
from .order import Columns, HopCodes, by_buffer, flow_hash, hop_codes, packet_starts
from .stream import delivered_by

TCP, UDP = 6, 17
_HEADER_SHIFT = 3


@dataclass(frozen=True)
class Stages:
    """Which point ids transmit, receive, deliver (copy a packet out), read (a socket), and free."""

    transmit: frozenset[int]
    receive: frozenset[int]
    deliver: frozenset[int]
    read: frozenset[int]
    consume: frozenset[int]
    drop: frozenset[int]


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


def correlate(events: Columns, stages: Stages, whole: bool) -> Journeys:
    """Group events into journeys.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    stages : Stages
        What each point means.
    whole : bool
        No event was lost. Otherwise UDP arrivals and reads cannot be paired by
        their order, and those journeys end at the arrival.

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
    drop, consume, deliver, read = (
        np.isin(hops.point, list(ids)) for ids in (stages.drop, stages.consume, stages.deliver, stages.read)
    )
    order, changes = by_buffer(events["skb"])
    starts = packet_starts(events, hops, order, changes, drop | consume)
    copies = _tcp_copies(events, hops.code[order], deliver, order, starts)
    begins = np.flatnonzero(starts)
    event, start, orphans = _trim(events, hops.code[order], order, begins, ~(drop | consume | deliver | read), consume, deliver)
    event, start = _by_first_hop(event, start)
    event, start = _append_deliveries(events, event, start, stages, *copies)
    if whole:
        event, start = _append_reads(events, event, start, stages)
    return Journeys(event, start, hops, orphans)


def _trim(events, hop, order, begins, on_the_way, consume, deliver):
    """Drop what is no hop: frees after use, copies of TCP data, what follows a delivery."""
    group = np.zeros(len(order), np.int32)
    group[begins[1:]] = 1
    np.cumsum(group, out=group)
    tcp = events["proto"][order] == TCP
    copied = deliver[hop]
    again = np.zeros(len(order), bool)
    again[1:] = copied[:-1] & (group[1:] == group[:-1])
    keep = ~consume[hop] & ~again & ~(copied & tcp)
    first = hop[begins] if len(begins) else np.empty(0, hop.dtype)
    rooted = on_the_way[first]
    keep &= rooted[group]
    length = np.bincount(group[keep], minlength=len(begins))[rooted]
    start = np.concatenate([[0], np.cumsum(length)])
    return order[keep], start, int((~rooted).sum())


def _by_first_hop(event: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put the journeys in order of their first event."""
    by_time = np.argsort(event[start[:-1]], kind="stable")
    length = np.diff(start)[by_time]
    ends = np.cumsum(length)
    shift = start[:-1][by_time] - (ends - length)
    return event[np.repeat(shift, length) + np.arange(len(event))], np.concatenate([[0], ends])


def _tcp_copies(events, hop, deliver, order, starts):
    """Return (events, end of the copied bytes) of the copies out of TCP buffers."""
    at = np.flatnonzero(deliver[hop] & (events["proto"][order] == TCP))
    copy = order[at]
    group = np.cumsum(starts)[at]
    amount = events["aux"][copy].astype(np.int64)
    total = np.cumsum(amount)
    fresh = np.ones(len(at), bool)
    fresh[1:] = group[1:] != group[:-1]
    before = (total - amount)[fresh][np.cumsum(fresh) - 1] if len(at) else total
    return copy, (events["seq"][copy].astype(np.int64) + total - before).astype(np.uint32)


def _append_deliveries(events, event, start, stages, copy, copy_end):
    """End each TCP segment that arrived with the copy that delivered it."""
    data = _arrived(events, event, start, stages, TCP)
    data = data[payload_bytes(events, event[start[1:][data] - 1]) > 0]
    if len(copy) == 0 or len(data) == 0:
        return event, start
    tail = event[start[1:][data] - 1]
    both = np.concatenate([tail, copy])
    flows = flow_hash({name: events[name][both] for name in ("saddr", "daddr", "sport", "dport", "proto")})
    end = (events["seq"][tail].astype(np.int64) + payload_bytes(events, tail)).astype(np.uint32)
    ts = events["ts_ns"]
    found = delivered_by(flows[: len(tail)], end, ts[tail], flows[len(tail) :], copy_end, ts[copy])
    hit = found >= 0
    return _append(event, start, data[hit], copy[found[hit]])


def _append_reads(events, event, start, stages):
    """End each UDP datagram that arrived with the read that took it."""
    read = np.flatnonzero(np.isin(events["point"], list(stages.read)))
    data = _arrived(events, event, start, stages, UDP)
    if len(read) == 0 or len(data) == 0:
        return event, start
    tail = event[start[1:][data] - 1]
    by_arrival = np.argsort(tail, kind="stable")  # events are in order of time
    data, tail = data[by_arrival], tail[by_arrival]
    found = reads_of(events, tail, payload_bytes(events, tail), read)
    hit = found >= 0
    kept = np.argsort(data[hit], kind="stable")
    return _append(event, start, data[hit][kept], found[hit][kept])


def _arrived(events, event, start, stages, proto):
    """Return the journeys of a protocol whose last hop received them, ascending."""
    last = event[start[1:] - 1]
    return np.flatnonzero(np.isin(events["point"][last], list(stages.receive)) & (events["proto"][last] == proto))


def _append(event, start, journeys, events_to_add):
    """Append one hop to each of the given journeys (ascending)."""
    extra = np.zeros(len(start), np.int64)
    extra[journeys + 1] = 1
    return np.insert(event, start[1:][journeys], events_to_add), start + np.cumsum(extra)
