"""Tell packets apart: the hops of one packet, among the events of one buffer.

A buffer carries one packet after another.  Where one ends and the next begins is
told by the fields that no hop changes, by the free between them, and by hops that
come again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from .order import PART, Columns, HopCodes, by_buffer, parts, runs
from .threads import spread

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
        return cls(
            **{
                field.name: frozenset(point["id"] for point in points if point["stage"] == field.name)
                for field in fields(cls)
            }
        )

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


def packets(events: Columns, hops: HopCodes, stages: Stages, whole: bool, threads: int = 1) -> Packets:
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
    threads : int
    """
    of_buffer = np.empty(len(hops.code), bool)
    own = stages.of("buffers", hops.point)

    def tell(at: int) -> None:
        of_buffer[at : at + PART] = own.take(hops.code[at : at + PART])

    spread(tell, range(0, len(of_buffer), PART), threads=threads)
    order, changes = by_buffer(events["skb"], of_buffer, threads)
    socket = np.flatnonzero(np.logical_not(of_buffer, out=of_buffer))
    traits = _traits(hops, stages)

    def find(part: slice) -> tuple:
        at = order[part].astype(np.int64)
        hop = hops.code.take(at).astype(np.int64)
        trait = traits.take(hop)
        starts = _starts(events, at, hop, trait, changes[part])
        if not whole:
            starts = _split_repeats(hop, starts, trait & (_TRANSMIT | _RECEIVE) != 0, len(traits))
        kept, *rest = _trim(events, at, trait, starts)
        # What was kept is never longer than what was read: `order` becomes the result.
        order[part.start : part.start + len(kept)] = kept
        return slice(part.start, part.start + len(kept)), *rest

    found = spread(find, parts(changes), threads=threads)
    filled = 0
    for part, *_ in found:
        order[filled : filled + part.stop - part.start] = order[part]
        filled += part.stop - part.start
    _, lengths, copies, ends, orphans = zip(*found, strict=True) if found else ((),) * 5
    length = np.concatenate([*lengths, np.empty(0, np.int64)])
    copy, end = np.concatenate([*copies, np.empty(0, np.int64)]), np.concatenate([*ends, np.empty(0, np.uint32)])
    by_time = np.argsort(copy)
    return Packets(order[:filled], length, copy[by_time], end[by_time], socket, sum(orphans))


_TRANSMIT, _RECEIVE, _FUNCTION, _DELIVER, _CONSUME, _DROP = (np.uint32(1 << bit) for bit in range(6))
_NAMESPACE = 6  # the bits above: a number of the namespace


def _traits(hops: HopCodes, stages: Stages) -> np.ndarray:
    """Return what counts of each hop as one word: its stage, one bit, and its namespace."""
    traits = hops.namespace.astype(np.uint32) << np.uint32(_NAMESPACE)
    stage_of = {
        "transmit": _TRANSMIT,
        "receive": _RECEIVE,
        "function": _FUNCTION,
        "deliver": _DELIVER,
        "consume": _CONSUME,
        "drop": _DROP,
    }
    for stage, bit in stage_of.items():
        traits[stages.of(stage, hops.point)] |= bit
    return traits


def _starts(events, at, hop, trait, changes):
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
        value = events[name].take(at)
        later |= value[1:] != value[:-1]
    later |= trait[:-1] & (_CONSUME | _DROP) != 0
    _other_flow(events, at, trait, later)
    begins = np.flatnonzero(starts)
    again = hop == _of_each(begins, len(hop), hop[begins])
    called = np.flatnonzero(again & (trait & _FUNCTION != 0))
    if len(called):
        others = np.cumsum(trait & _FUNCTION == 0)[called]
        again[called[1:]] = others[1:] > others[:-1]
    starts |= again
    return starts


def _of_each(begins, count, value):
    """Return the value of the packet, of which the hops begin there, for each of `count` hops."""
    return np.repeat(value, np.diff(begins, append=count))


def _other_flow(events, at, trait, later):
    """Mark a change of addresses between namespaces, and an answer within one.

    Any other change of addresses within a namespace is NAT.
    """
    outward = trait[1:] & (_TRANSMIT | _FUNCTION) != 0
    moved = (trait[1:] ^ trait[:-1]) >> np.uint32(_NAMESPACE) != 0
    look = np.flatnonzero((moved | (outward & (trait[:-1] & _TRANSMIT == 0))) & ~later)
    old, new = at.take(look), at.take(look + 1)
    saddr, daddr, sport, dport = (events[name] for name in ("saddr", "daddr", "sport", "dport"))
    same = np.ones(len(look), bool)
    for value in (saddr, daddr, sport, dport):
        same &= value.take(old) == value.take(new)
    look, old, new = (which[~same] for which in (look, old, new))
    answer = (saddr[old] == daddr[new]) & (daddr[old] == saddr[new])
    ports = (events["proto"][old] == TCP) | (events["proto"][old] == UDP)
    answer &= ~ports | ((sport[old] == dport[new]) & (dport[old] == sport[new]))
    later[look] = moved[look] | answer


def _split_repeats(hop, starts, way, codes):
    """Begin a packet also where any hop of its way comes again; what was between was not seen."""
    bit = np.uint64(1) << (np.arange(codes, dtype=np.uint64) & np.uint64(63))
    passed = bit.take(hop)
    passed *= way
    begins = np.flatnonzero(starts)
    distinct = np.bitwise_count(np.bitwise_or.reduceat(passed, begins))
    if int(distinct.sum(dtype=np.int64)) == np.count_nonzero(way):
        return starts
    starts, ends = starts.copy(), np.append(begins[1:], len(starts))
    repeats = distinct < np.add.reduceat(way, begins, dtype=np.int64)
    begins, ends = begins[repeats], ends[repeats]
    while len(begins):
        again = _first_repeat(hop, begins, ends - begins, way, codes)
        starts[again[again < ends]] = True
        begins, ends = again[again < ends], ends[again < ends]
    return starts


def _first_repeat(hop, begins, length, way, codes):
    """Return where a hop of the way comes for the second time in each of these runs; behind it all where none does."""
    at, packet = runs(begins, length), np.repeat(np.arange(len(begins)), length)
    at, packet = at[way[at]], packet[way[at]]
    key = packet * codes + hop[at]
    by_key = np.argsort(key, kind="stable")
    again = by_key[1:][key[by_key][1:] == key[by_key][:-1]]
    first = np.full(len(begins), len(hop), np.int64)
    np.minimum.at(first, packet[again], at[again])
    return first


def _trim(events, at, trait, starts):
    """Leave out what is no hop: frees after use, copies of TCP data, what follows a delivery.

    Returns
    -------
    event, length, copy, copy_end, orphans
        See `Packets`.
    """
    begins = np.flatnonzero(starts)
    on_the_way = trait[begins] & (_TRANSMIT | _RECEIVE | _FUNCTION) != 0
    keep = _of_each(begins, len(at), on_the_way)
    copies = np.flatnonzero(trait & _DELIVER)
    group = np.searchsorted(begins, copies, side="right") - 1
    known = (events["proto"][at[copies]] == TCP) & keep[copies]  # a capture tool's copies are of clones
    keep &= trait & _CONSUME == 0
    behind = copies[copies < len(at) - 1] + 1
    keep[behind[~starts[behind]]] = False
    keep[copies[events["proto"][at[copies]] == TCP]] = False
    copy, end = _copied_to(events, at[copies[known]], group[known])
    length = np.add.reduceat(keep, begins, dtype=np.int64)[on_the_way]
    return at[keep], length, copy, end, int((~on_the_way).sum())


def _copied_to(events, copy, group):
    """Return (events, sequence number behind their last byte) of copies out of TCP buffers."""
    amount = events["aux"][copy].astype(np.int64)
    total = np.cumsum(amount)
    fresh = np.ones(len(copy), bool)
    fresh[1:] = group[1:] != group[:-1]
    before = (total - amount)[fresh][np.cumsum(fresh) - 1] if len(copy) else total
    return copy, (events["seq"][copy].astype(np.int64) + total - before).astype(np.uint32)
