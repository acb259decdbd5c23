"""Tell packets apart: the hops of one packet, among the events of one buffer.

A buffer carries one packet after another.  Where one ends and the next begins is
told by the fields that no hop changes, by the free between them, and by hops that
come again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from .order import Columns, HopCodes, by_buffer, parts, runs

TCP, UDP = 6, 17


@dataclass(frozen=True)
class Stages:
    """Which point ids are of which stage.

    Attributes
    ----------
    transmit, receive, function : frozenset of int
        The way of a packet buffer: to a device, from one, and kernel functions between.
        Functions say nothing about where a journey begins and ends.
    deliver, consume, drop : frozenset of int
        Its end: copied to the application, freed after use, dropped.
    read, send, retransmit, rtt, wake, run : frozenset of int
        Events of sockets, and of the tasks that read them.
    """

    transmit: frozenset[int] = frozenset()
    receive: frozenset[int] = frozenset()
    function: frozenset[int] = frozenset()
    deliver: frozenset[int] = frozenset()
    consume: frozenset[int] = frozenset()
    drop: frozenset[int] = frozenset()
    read: frozenset[int] = frozenset()
    send: frozenset[int] = frozenset()
    retransmit: frozenset[int] = frozenset()
    rtt: frozenset[int] = frozenset()
    wake: frozenset[int] = frozenset()
    run: frozenset[int] = frozenset()

    @classmethod
    def of_points(cls, points: Iterable[Mapping]) -> Stages:
        """Return the stages of points with ``id`` and ``stage``; other stages are no part of journeys."""
        points = list(points)
        return cls(**{
            field.name: frozenset(point["id"] for point in points if point["stage"] == field.name)
            for field in fields(cls)
        })  # fmt: skip

    @property
    def buffers(self) -> frozenset[int]:
        """Points that packet buffers pass."""
        return self.transmit | self.receive | self.function | self.deliver | self.consume | self.drop

    def of(self, stage: str, points: np.ndarray) -> np.ndarray:
        """Tell of each point id whether it is of a stage (or another attribute)."""
        table = np.zeros(256, bool)
        table[list(getattr(self, stage))] = True
        return table[points]


@dataclass(frozen=True)
class Packets:
    """Hops of packets, packet after packet in order of their buffers.

    Attributes
    ----------
    event : numpy.ndarray of uint32, shape (hops,)
        Position in the events of each hop, in order of time within a packet.
    length : numpy.ndarray of int64, shape (packets,)
        Hops of each packet, at least 1.
    copy : numpy.ndarray of int64, shape (copies,), ascending
        Events that copied TCP data to an application.
    copy_end : numpy.ndarray of uint32, shape (copies,)
        Sequence number behind the last byte of each copy.
    socket : numpy.ndarray of int64, ascending
        Events of sockets.
    orphans : int
        Groups of events that begin nowhere: frees and deliveries of packets whose
        way was not seen, and clones that a capture tool made.
    """

    event: np.ndarray
    length: np.ndarray
    copy: np.ndarray
    copy_end: np.ndarray
    socket: np.ndarray
    orphans: int


def packets(events: Columns, hops: HopCodes, stages: Stages, whole: bool) -> Packets:
    """Find the packets among the events.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    hops : HopCodes
        From `hop_codes`.
    stages : Stages
        What each point means.
    whole : bool
        Every packet was seen at every point; otherwise any hop that comes again
        begins a packet, not only the first one.
    """
    of_buffer = stages.of("buffers", events["point"])
    order, changes = by_buffer(events["skb"], of_buffer)
    socket = np.flatnonzero(np.logical_not(of_buffer, out=of_buffer))
    kind = {field.name: stages.of(field.name, hops.point) for field in fields(stages)}
    filled, found = 0, []
    for part in parts(changes):
        at = order[part].astype(np.int64)
        hop = hops.code[at]
        starts = _starts(events, hops, kind, at, hop, changes[part])
        if not whole:
            starts = _split_repeats(hop, starts, kind["transmit"] | kind["receive"])
        kept, *rest = _trim(events, kind, at, hop, starts)
        # What was kept is never longer than what was read: `order` becomes the result.
        order[filled : filled + len(kept)] = kept
        filled += len(kept)
        found.append(rest)
    lengths, copies, ends, orphans = zip(*found, strict=True) if found else ([], [], [], [])
    length = np.concatenate([*lengths, np.empty(0, np.int64)])
    copy, end = np.concatenate([*copies, np.empty(0, np.int64)]), np.concatenate([*ends, np.empty(0, np.uint32)])
    by_time = np.argsort(copy)
    return Packets(order[:filled], length, copy[by_time], end[by_time], socket, sum(orphans))


def _starts(events, hops, kind, at, hop, changes):
    """Mark where, among events sorted by buffer, the hops of a new packet begin.

    A new packet begins with a new address; after the buffer was freed; where
    protocol, sequence or identification change; where it belongs to another flow
    (`_other_flow`); and where the hop with which the packet began comes again (the
    free was not seen). A function may be called for one packet several times before
    it comes to a device.
    """
    starts = changes.copy()
    later = starts[1:]
    for name in ("seq", "ident", "proto"):
        value = events[name][at]
        later |= value[1:] != value[:-1]
    later |= (kind["consume"] | kind["drop"])[hop[:-1]]
    _other_flow(events, hops, kind, at, hop, later)
    first = hop[np.flatnonzero(starts)]
    again = hop == first[np.cumsum(starts, dtype=np.int32) - 1]
    if kind["function"].any():
        called = np.flatnonzero(again & kind["function"][hop])
        others = np.cumsum(~kind["function"][hop])[called]
        again[called[1:]] = others[1:] > others[:-1]
    starts |= again
    return starts


def _other_flow(events, hops, kind, at, hop, later):
    """Mark a change of addresses between namespaces, and an answer within one.

    Any other change of addresses within a namespace is NAT.
    """
    _, namespace = np.unique(hops.netns, return_inverse=True)
    here = namespace.astype(np.int32)[hop]
    moved = here[1:] != here[:-1]
    outward = kind["transmit"] | kind["function"]
    turned = outward[hop[1:]] & ~kind["transmit"][hop[:-1]]
    look = np.flatnonzero((moved | turned) & ~later)
    old, new = at[look], at[look + 1]
    saddr, daddr, sport, dport = (events[name] for name in ("saddr", "daddr", "sport", "dport"))
    moved = moved[look]
    same = (
        (saddr[old] == saddr[new])
        & (daddr[old] == daddr[new])
        & (sport[old] == sport[new])
        & (dport[old] == dport[new])
    )
    answer = (saddr[old] == daddr[new]) & (daddr[old] == saddr[new]) & ~same
    ports = (events["proto"][old] == TCP) | (events["proto"][old] == UDP)
    answer &= ~ports | ((sport[old] == dport[new]) & (dport[old] == sport[new]))
    later[look] = (moved & ~same) | answer


def _split_repeats(hop, starts, way):
    """Begin a packet also where any hop of its way comes again; what was between was not seen."""
    starts = starts.copy()
    bit = np.where(way, np.uint64(1) << (np.arange(len(way), dtype=np.uint64) & np.uint64(63)), np.uint64(0))
    begins = np.flatnonzero(starts)
    ends = np.append(begins[1:], len(starts))
    distinct = np.bitwise_count(np.bitwise_or.reduceat(bit[hop], begins))
    repeats = distinct < np.add.reduceat(way[hop], begins, dtype=np.int64)
    begins, ends = begins[repeats], ends[repeats]
    while len(begins):
        again = _first_repeat(hop, begins, ends - begins, way)
        starts[again[again < ends]] = True
        begins, ends = again[again < ends], ends[again < ends]
    return starts


def _first_repeat(hop, begins, length, way):
    """Return where a hop of the way comes for the second time in each of these runs; behind it all where none does."""
    at, packet = runs(begins, length), np.repeat(np.arange(len(begins)), length)
    at, packet = at[way[hop[at]]], packet[way[hop[at]]]
    key = packet * len(way) + hop[at]
    by_key = np.argsort(key, kind="stable")
    again = by_key[1:][key[by_key][1:] == key[by_key][:-1]]
    first = np.full(len(begins), len(hop), np.int64)
    np.minimum.at(first, packet[again], at[again])
    return first


def _trim(events, kind, at, hop, starts):
    """Leave out what is no hop: frees after use, copies of TCP data, what follows a delivery.

    Returns
    -------
    event, length, copy, copy_end, orphans
        See `Packets`.
    """
    begins = np.flatnonzero(starts)
    group = np.cumsum(starts, dtype=np.int32) - 1
    first = hop[begins]
    on_the_way = (kind["transmit"] | kind["receive"] | kind["function"])[first]
    rooted = on_the_way[group]
    copied = kind["deliver"][hop]
    keep = rooted & ~kind["consume"][hop]
    keep[1:] &= ~copied[:-1] | starts[1:]
    copies = np.flatnonzero(copied)
    tcp = events["proto"][at[copies]] == TCP
    keep[copies[tcp]] = False
    copies = copies[tcp & rooted[copies]]  # a capture tool's copies are of clones
    copy, end = _copied_to(events, at[copies], group[copies])
    length = np.bincount(group[keep], minlength=len(begins))[on_the_way]
    return at[keep], length, copy, end, int((~on_the_way).sum())


def _copied_to(events, copy, group):
    """Return (events, sequence number behind their last byte) of copies out of TCP buffers."""
    amount = events["aux"][copy].astype(np.int64)
    total = np.cumsum(amount)
    fresh = np.ones(len(copy), bool)
    fresh[1:] = group[1:] != group[:-1]
    before = (total - amount)[fresh][np.cumsum(fresh) - 1] if len(copy) else total
    return copy, (events["seq"][copy].astype(np.int64) + total - before).astype(np.uint32)
