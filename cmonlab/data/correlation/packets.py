"""Find which events belong to one packet.

Problem
-------
An event says that some packet buffer (``struct sk_buff``) passed some point. All events of one packet must be found
among millions, without changing the packet and without any state in the kernel.

The address of the buffer alone does not identify a packet:

- After a buffer is freed, the kernel soon gives its address to another packet.
- The free is not always recorded. A rule may not include the point, or the event was lost or fell into a trace gap.
- TCP keeps each segment in its write queue and sends a clone of it (``__tcp_transmit_skb`` in
  ``net/ipv4/tcp_output.c``). A clone is a buffer of its own. A retransmission is another clone, often at the
  same address and with the same sequence number.
- A capture tool receives clones as well (packet sockets), which are freed or copied but never pass a device.

The fields of the packet do not identify it either. NAT changes addresses and ports on the way, a retransmission repeats
the sequence number, and many packets have an identification of 0.

Approach
--------
The address is unique while the buffer lives. So events are grouped by address, and each group is split in time:

1. Sort all events of packet buffers by (address, time); see `order.by_buffer`. Events of sockets are set aside.
2. Begin a new packet where a field changes that no hop changes: protocol, TCP sequence number, IP identification.
   In a tunnel these are fields of the inner packet.
3. Begin a new packet after a free or a drop.
4. Begin a new packet where addresses or ports change *and* the namespace does, or where they are exchanged within one
   namespace: that is an answer. Any other change within a namespace is NAT of the same packet.
5. Begin a new packet where the packet's first hop repeats: then the free between the two was not seen. A kernel
   function may be called several times for one packet before it reaches a device; such repeated calls do not count.
6. If events may be missing (losses, trace gaps, sampling), begin a new packet at *any* repeated device hop. The first
   hop of the next packet may be one that was not seen.
7. Remove what is not a hop: the free after use, copies of TCP data (they are kept apart, for kernels whose reads have
   no tracepoint), and everything after a delivery. Groups without any device hop or function are counted as orphans.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .order import PART, Columns, HopCodes, by_buffer, parts, runs
from .stages import Stages
from .threads import spread

TCP, UDP = 6, 17

_TRANSMIT, _RECEIVE, _FUNCTION, _DELIVER, _CONSUME, _DROP = (np.uint32(1 << bit) for bit in range(6))
_NAMESPACE = 6  # the bits above hold a number of the namespace


@dataclass(frozen=True)
class Packets:
    """Hops of packets, packet after packet in order of their buffers.

    Attributes
    ----------
    event : numpy.ndarray of uint32, shape (hops,)
        Position in the events of each hop, in order of time within a packet.
    length : numpy.ndarray of int64, shape (packets,)
        Number of hops of each packet, at least 1.
    copy : numpy.ndarray of int64, shape (copies,), ascending
        Events that copied TCP data to an application.
    copy_end : numpy.ndarray of uint32, shape (copies,)
        Sequence number behind the last byte of each copy.
    socket : numpy.ndarray of int64, ascending
        Events of sockets.
    orphans : int
        Groups of events without a path: frees and deliveries of packets whose path was not seen, and clones that a
        capture tool made.
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
        From `order.hop_codes`.
    stages : Stages
        The stage of each point.
    whole : bool
        Whether every packet was seen at every point. If not, any device hop that repeats begins a packet, not only
        the first one.
    threads : int
        Number of threads.

    Returns
    -------
    Packets
    """
    of_buffer = np.empty(len(hops.code), bool)
    own = stages.of("buffers", hops.point)

    def mark(at: int) -> None:
        of_buffer[at : at + PART] = own.take(hops.code[at : at + PART])

    spread(mark, range(0, len(of_buffer), PART), threads=threads)
    order, changes = by_buffer(events["skb"], of_buffer, threads)
    socket = np.flatnonzero(np.logical_not(of_buffer, out=of_buffer))
    stage_masks = _stage_masks(hops, stages)

    def find(part: slice) -> tuple:
        at = order[part].astype(np.int64)
        hop = hops.code.take(at).astype(np.int64)
        stage_mask = stage_masks.take(hop)
        starts = _starts(events, at, hop, stage_mask, changes[part])
        if not whole:
            starts = _split_repeats(hop, starts, stage_mask & (_TRANSMIT | _RECEIVE) != 0, len(stage_masks))
        kept, *rest = _trim(events, at, stage_mask, starts)
        # What is kept is never longer than what was read, so `order` becomes the result.
        order[part.start : part.start + len(kept)] = kept
        return slice(part.start, part.start + len(kept)), *rest

    return _joined(order, socket, spread(find, parts(changes), threads=threads))


def _joined(order: np.ndarray, socket: np.ndarray, found: list[tuple]) -> Packets:
    """Move the hops kept of each part together in `order`, and join the other results of the parts."""
    filled = 0
    for part, *_ in found:
        order[filled : filled + part.stop - part.start] = order[part]
        filled += part.stop - part.start
    _, lengths, copies, ends, orphans = zip(*found, strict=True) if found else ((),) * 5
    length = np.concatenate([*lengths, np.empty(0, np.int64)])
    copy, end = np.concatenate([*copies, np.empty(0, np.int64)]), np.concatenate([*ends, np.empty(0, np.uint32)])
    by_time = np.argsort(copy)
    return Packets(order[:filled], length, copy[by_time], end[by_time], socket, sum(orphans))


def _stage_masks(hops: HopCodes, stages: Stages) -> np.ndarray:
    """Return one uint32 word for each distinct hop: one bit for its stage, and a number of its namespace above."""
    masks = hops.namespace.astype(np.uint32) << np.uint32(_NAMESPACE)
    bits = {
        "transmit": _TRANSMIT,
        "receive": _RECEIVE,
        "function": _FUNCTION,
        "deliver": _DELIVER,
        "consume": _CONSUME,
        "drop": _DROP,
    }
    for stage, bit in bits.items():
        masks[stages.of(stage, hops.point)] |= bit
    return masks


def _starts(
    events: Columns, at: np.ndarray, hop: np.ndarray, stage_mask: np.ndarray, changes: np.ndarray
) -> np.ndarray:
    """Mark where, among events sorted by buffer, a new packet begins (steps 2 to 5).

    Parameters
    ----------
    at, hop : numpy.ndarray of int64, shape (n,)
        Position in the events, and code of the hop.
    stage_mask : numpy.ndarray of uint32, shape (n,)
        See `_stage_masks`.
    changes : numpy.ndarray of bool, shape (n,)
        Where another buffer begins.
    """
    starts = changes.copy()
    starts_new_packet = starts[1:]
    for name in ("seq", "ident", "proto"):
        value = events[name].take(at)
        starts_new_packet |= value[1:] != value[:-1]
    starts_new_packet |= stage_mask[:-1] & (_CONSUME | _DROP) != 0
    _mark_other_flows(events, at, stage_mask, starts_new_packet)
    begins = np.flatnonzero(starts)
    repeats = hop == _per_hop(begins, len(hop), hop[begins])
    called = np.flatnonzero(repeats & (stage_mask & _FUNCTION != 0))
    if len(called):
        others = np.cumsum(stage_mask & _FUNCTION == 0)[called]
        repeats[called[1:]] = others[1:] > others[:-1]
    starts |= repeats
    return starts


def _per_hop(begins: np.ndarray, count: int, value: np.ndarray) -> np.ndarray:
    """Repeat one value per packet for each of its hops, given where packets begin among `count` hops."""
    return np.repeat(value, np.diff(begins, append=count))


def _mark_other_flows(events: Columns, at: np.ndarray, stage_mask: np.ndarray, starts_new_packet: np.ndarray) -> None:
    """Mark, in place, changes of addresses between namespaces and answers within one (step 4)."""
    outward = stage_mask[1:] & (_TRANSMIT | _FUNCTION) != 0
    moved = (stage_mask[1:] ^ stage_mask[:-1]) >> np.uint32(_NAMESPACE) != 0
    look = np.flatnonzero((moved | (outward & (stage_mask[:-1] & _TRANSMIT == 0))) & ~starts_new_packet)
    old, new = at.take(look), at.take(look + 1)
    saddr, daddr, sport, dport = (events[name] for name in ("saddr", "daddr", "sport", "dport"))
    same = np.ones(len(look), bool)
    for value in (saddr, daddr, sport, dport):
        same &= value.take(old) == value.take(new)
    look, old, new = (which[~same] for which in (look, old, new))
    answer = (saddr[old] == daddr[new]) & (daddr[old] == saddr[new])
    ports = (events["proto"][old] == TCP) | (events["proto"][old] == UDP)
    answer &= ~ports | ((sport[old] == dport[new]) & (dport[old] == sport[new]))
    starts_new_packet[look] = moved[look] | answer


def _split_repeats(hop: np.ndarray, starts: np.ndarray, device_hop: np.ndarray, codes: int) -> np.ndarray:
    """Begin a packet also where any of its device hops repeats (step 6).

    Parameters
    ----------
    hop : numpy.ndarray of int64, shape (n,)
        Code of each hop, below `codes`.
    starts : numpy.ndarray of bool, shape (n,)
        Where packets begin so far.
    device_hop : numpy.ndarray of bool, shape (n,)
        Which hops are transmit or receive hops.
    codes : int
        Number of distinct hops.
    """
    bit = np.uint64(1) << (np.arange(codes, dtype=np.uint64) & np.uint64(63))
    passed = bit.take(hop)
    passed *= device_hop
    begins = np.flatnonzero(starts)
    distinct = np.bitwise_count(np.bitwise_or.reduceat(passed, begins))
    if int(distinct.sum(dtype=np.int64)) == np.count_nonzero(device_hop):
        return starts
    starts, ends = starts.copy(), np.append(begins[1:], len(starts))
    doubtful = distinct < np.add.reduceat(device_hop, begins, dtype=np.int64)
    begins, ends = begins[doubtful], ends[doubtful]
    while len(begins):
        second = _first_repeat(hop, begins, ends - begins, device_hop, codes)
        starts[second[second < ends]] = True
        begins, ends = second[second < ends], ends[second < ends]
    return starts


def _first_repeat(
    hop: np.ndarray, begins: np.ndarray, length: np.ndarray, device_hop: np.ndarray, codes: int
) -> np.ndarray:
    """Return where a device hop occurs for the second time in each of these runs, ``len(hop)`` if none does."""
    at, packet = runs(begins, length), np.repeat(np.arange(len(begins)), length)
    at, packet = at[device_hop[at]], packet[device_hop[at]]
    key = packet * codes + hop[at]
    by_key = np.argsort(key, kind="stable")
    repeats = by_key[1:][key[by_key][1:] == key[by_key][:-1]]
    first = np.full(len(begins), len(hop), np.int64)
    np.minimum.at(first, packet[repeats], at[repeats])
    return first


def _trim(
    events: Columns, at: np.ndarray, stage_mask: np.ndarray, starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Leave out what is not a hop: frees after use, copies of TCP data, what follows a delivery (step 7).

    Returns
    -------
    event, length, copy, copy_end, orphans
        See `Packets`.
    """
    begins = np.flatnonzero(starts)
    has_path = stage_mask[begins] & (_TRANSMIT | _RECEIVE | _FUNCTION) != 0
    keep = _per_hop(begins, len(at), has_path)
    copies = np.flatnonzero(stage_mask & _DELIVER)
    group = np.searchsorted(begins, copies, side="right") - 1
    known = (events["proto"][at[copies]] == TCP) & keep[copies]  # a capture tool's copies are of clones
    keep &= stage_mask & _CONSUME == 0
    behind = copies[copies < len(at) - 1] + 1
    keep[behind[~starts[behind]]] = False
    keep[copies[events["proto"][at[copies]] == TCP]] = False
    copy, end = _copied_to(events, at[copies[known]], group[known])
    length = np.add.reduceat(keep, begins, dtype=np.int64)[has_path]
    return at[keep], length, copy, end, int((~has_path).sum())


def _copied_to(events: Columns, copy: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the copies out of TCP buffers, and the sequence number behind the last byte of each.

    A buffer (`group`) may be copied in several calls; each continues where the one before it ended.
    """
    amount = events["aux"][copy].astype(np.int64)
    total = np.cumsum(amount)
    first = np.ones(len(copy), bool)
    first[1:] = group[1:] != group[:-1]
    before = (total - amount)[first][np.cumsum(first) - 1] if len(copy) else total
    return copy, (events["seq"][copy].astype(np.int64) + total - before).astype(np.uint32)
