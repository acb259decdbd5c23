"""Match TCP segments to the moment when the application read them.

Problem
-------
The delay of a packet ends when the application has its data, not when the packet arrives. So each TCP segment needs the
read that took it from the socket.

The packet buffer does not show this. TCP merges buffers in the receive queue (``tcp_try_coalesce`` in
``net/ipv4/tcp_input.c``), so the data of a segment is often copied from the buffer of another segment. Counting does
not work either: one read may take many segments or a part of one, segments arrive out of order, and some arrive twice.

The byte stream is the same on both sides. Each segment has the sequence numbers of its bytes, and each read reports its
position in the stream. But sequence numbers have 32 bits. They wrap around after 4 GiB, and events of one flow are not
in order of their numbers, because segments are repeated and reordered.

Approach
--------
1. Number the flows: addresses and ports of one direction (`flow_numbers`). Wherever a further value must be equal as
   well, such as the namespace or the device, the pairs are numbered again (`numbered`).
2. Turn sequence numbers into places that do not wrap (`places`). If all numbers of a flow lie within 2**30 of one of
   them, their signed difference from it is enough. Otherwise follow the numbers through time, each relative to the one
   before it (`positions`), as RFC 9293 section 3.4 compares them.
3. Add an offset per flow, so that places of different flows never overlap. Then one sorted array holds all flows, and
   one binary search answers for all segments.
4. A segment is delivered by the first read (or copy) whose end is not before the segment's last byte, if the read
   includes that byte and is later than the arrival (`delivered_by`). Segments that repeat bytes which were read before
   have no delivery.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from .order import Columns

_NEAR = 1 << 30  # sequence numbers that are no further apart than this cannot be confused by a wrap


def flow_numbers(events: Columns, at: np.ndarray, *also: np.ndarray) -> np.ndarray:
    """Number the flows (addresses and ports, one direction) of some events.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table; addresses and ports are read.
    at : numpy.ndarray of int64, shape (n,)
        Positions of the events wanted.
    *also : numpy.ndarray of integers of 32 bits or less, shape (n,)
        Further values that must be equal within a flow.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        Number of each event's flow, from 0.
    """
    addresses = events["saddr"].take(at).astype(np.uint64) << np.uint64(32) | events["daddr"].take(at)
    ports = events["sport"].take(at).astype(np.int64) << 16 | events["dport"].take(at)
    flow = pd.factorize(addresses)[0].astype(np.int64)
    for value in (ports, *also):
        flow = numbered(flow, value)
    return flow


def numbered(flow: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Number the distinct pairs of a flow and another value.

    Parameters
    ----------
    flow : numpy.ndarray of int64, shape (n,)
        Numbers of flows, from 0.
    value : numpy.ndarray of integers of 32 bits or less, shape (n,)
        The other value, at least 0.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        Number of each pair, from 0.
    """
    width = int(value.max(initial=0)) + 1
    pairs = (int(flow.max(initial=0)) + 1) * width
    key = flow * width + value
    if pairs > len(key):
        return pd.factorize(key)[0].astype(np.int64)
    there = np.zeros(pairs, bool)
    there[key] = True
    return (np.cumsum(there) - 1).take(key)


def by_flow(flow: np.ndarray) -> np.ndarray:
    """Return the stable order by flow number, an array of positions."""
    small = flow.astype(np.uint16) if flow.max(initial=0) < 1 << 16 else flow  # numpy sorts 16 bits by counting
    return np.argsort(small, kind="stable")


def by_place(flow: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return the stable order by place.

    Parameters
    ----------
    flow, place : numpy.ndarray of int64, shape (n,)
        Flow and place (`places`) of each item. Sorting by flow first is faster, as most items of a flow are in order.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        Positions.
    """
    order = by_flow(flow)
    return order[np.argsort(place[order], kind="stable")]


def look_up(known: np.ndarray, flow: np.ndarray, place: np.ndarray, side: Literal["left", "right"]) -> np.ndarray:
    """Return ``numpy.searchsorted(known, place, side)``, computed flow by flow so that memory is read in order.

    Parameters
    ----------
    known : numpy.ndarray of int64, ascending
        Places to search in.
    flow, place : numpy.ndarray of int64, shape (n,)
        Flow and place of each item to look up.
    side : {"left", "right"}
        As for `numpy.searchsorted`.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
    """
    order, found = by_flow(flow), np.empty(len(flow), np.int64)
    found[order] = np.searchsorted(known, place[order], side)
    return found


def places(flow: np.ndarray, seq: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Turn 32-bit sequence numbers of items in any order into places that do not wrap.

    Parameters
    ----------
    flow : numpy.ndarray of int64, shape (n,)
        Number of each item's flow, from 0.
    seq : numpy.ndarray of uint32, shape (n,)
        TCP sequence numbers.
    time : numpy.ndarray of int64, shape (n,)
        Any number that orders the items in time, for example their position in the events.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        Place within the flow in bytes, plus an offset per flow so that flows do not overlap.

    Notes
    -----
    If all numbers of a flow lie within 2**30 of one of them, they cannot wrap, whatever their order in time. Only the
    other flows are followed through time (`positions`).
    """
    flows = int(flow.max(initial=-1)) + 1
    one = np.zeros(flows, np.uint32)
    one[flow] = seq
    away = (seq - one.take(flow)).view(np.int32)
    place = (flow << 32) + away
    wide = np.zeros(flows, bool)
    wide[flow[(away > _NEAR) | (away < -_NEAR)]] = True
    if wide.any():
        look = np.flatnonzero(wide.take(flow))
        look = look[np.argsort(time[look], kind="stable")]  # a few sorted runs, so this is a merge
        look = look[by_flow(flow[look])]
        place[look] = (flows << 32) + positions(flow[look], seq[look])
    return place


def positions(flow: np.ndarray, seq: np.ndarray) -> np.ndarray:
    """Turn 32-bit sequence numbers into positions that do not wrap, following them through time.

    Parameters
    ----------
    flow : numpy.ndarray of int, shape (n,)
        Flow of each item. Items of one flow are neighbours, in order of time.
    seq : numpy.ndarray of uint32, shape (n,)
        TCP sequence numbers.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        Position within the flow in bytes, 0 for the lowest, plus an offset per flow so that flows do not overlap and
        stay in order.

    Notes
    -----
    Differences of sequence numbers are modulo 2**32 (RFC 9293 section 3.4).
    """
    if len(seq) == 0:
        return np.empty(0, np.int64)
    first = np.empty(len(seq), bool)
    first[0] = True
    np.not_equal(flow[1:], flow[:-1], out=first[1:])
    step = np.zeros(len(seq), np.int64)
    step[1:] = np.diff(seq).view(np.int32)
    step[first] = 0
    at = np.cumsum(step)
    begins = np.flatnonzero(first)
    which = np.cumsum(first) - 1
    at -= np.minimum.reduceat(at, begins)[which]
    span = np.maximum.reduceat(at, begins) + 1
    return at + (np.cumsum(span) - span)[which]


def delivered_by(
    segment_flow: np.ndarray,
    segment_end: np.ndarray,
    arrival: np.ndarray,
    copy_flow: np.ndarray,
    copy_end: np.ndarray,
    copy_bytes: np.ndarray,
    copy: np.ndarray,
) -> np.ndarray:
    """Find for each segment the copy (or read) that includes its last byte.

    Parameters
    ----------
    segment_flow : numpy.ndarray of int64, shape (segments,)
        Number of each segment's flow.
    segment_end : numpy.ndarray of uint32, shape (segments,)
        Sequence number behind its last byte.
    arrival : numpy.ndarray of int64, shape (segments,)
        Event of its arrival.
    copy_flow : numpy.ndarray of int64, shape (copies,)
        Number of each copy's flow.
    copy_end : numpy.ndarray of uint32, shape (copies,)
        Sequence number behind its last byte.
    copy_bytes : numpy.ndarray of int64, shape (copies,)
        Its length.
    copy : numpy.ndarray of int64, shape (copies,)
        Its event; no two events are equal.

    Returns
    -------
    numpy.ndarray of int64, shape (segments,)
        Index of the copy, -1 if none was seen or it was before the arrival: then the segment repeats bytes that were
        delivered before.
    """
    found = np.full(len(segment_flow), -1, np.int64)
    if len(segment_flow) == 0 or len(copy_flow) == 0:
        return found
    segments = len(segment_flow)
    place = places(*map(np.concatenate, ((segment_flow, copy_flow), (segment_end, copy_end), (arrival, copy))))
    wanted, place = place[:segments], place[segments:]
    order = by_place(copy_flow, place)
    at = look_up(place[order], segment_flow, wanted, "left")
    candidate = order.take(at, mode="clip")
    good = (at < len(order)) & (copy_flow[candidate] == segment_flow) & (copy[candidate] > arrival)
    good &= place[candidate] - copy_bytes[candidate] < wanted
    found[good] = candidate[good]
    return found
