"""Join TCP segments to the moment the application read them.

TCP merges buffers in the receive queue, so a segment's own buffer is often not the
one that is copied out.  The byte stream is the same: a segment is delivered by the
read, or the copy, that holds its last byte.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .order import Columns

_NEAR = 1 << 30


def flow_numbers(events: Columns, at: np.ndarray, *also: np.ndarray) -> np.ndarray:
    """Number the flows (addresses and ports, one direction) of the events at positions `at`, int64.

    `also` are integers of 32 bits or less, one an event, in which the events of a flow must agree as well.
    """
    addresses = events["saddr"].take(at).astype(np.uint64) << np.uint64(32) | events["daddr"].take(at)
    ports = events["sport"].take(at).astype(np.int64) << 16 | events["dport"].take(at)
    flow = pd.factorize(addresses)[0].astype(np.int64)
    for value in (ports, *also):
        flow = numbered(flow, value)
    return flow


def numbered(flow: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Number the distinct pairs of a flow's number and another value of 32 bits or less, int64."""
    width = int(value.max(initial=0)) + 1
    pairs = (int(flow.max(initial=0)) + 1) * width
    key = flow * width + value
    if pairs > len(key):
        return pd.factorize(key)[0].astype(np.int64)
    there = np.zeros(pairs, bool)
    there[key] = True
    return (np.cumsum(there) - 1).take(key)


def by_flow(flow: np.ndarray) -> np.ndarray:
    """Return the stable order by flow number."""
    small = flow.astype(np.uint16) if flow.max(initial=0) < 1 << 16 else flow  # numpy counts what has 16 bits
    return np.argsort(small, kind="stable")


def by_place(flow: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return the stable order by place; within a flow most are in order already."""
    order = by_flow(flow)
    return order[np.argsort(place[order], kind="stable")]


def look_up(known: np.ndarray, flow: np.ndarray, place: np.ndarray, side: str) -> np.ndarray:
    """Return numpy's ``searchsorted(known, place, side)``; flow after flow, so that neighbours are looked up together.

    Parameters
    ----------
    known : numpy.ndarray of int64, ascending
    flow, place : numpy.ndarray of int64, shape (n,)
    side : {"left", "right"}
    """
    order, found = by_flow(flow), np.empty(len(flow), np.int64)
    found[order] = np.searchsorted(known, place[order], side)
    return found


def places(flow: np.ndarray, seq: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Turn the 32-bit sequence numbers of items in any order into places that do not wrap.

    Parameters
    ----------
    flow, time : numpy.ndarray of int64, shape (n,)
        Flow and place in time of each item.
    seq : numpy.ndarray of uint32, shape (n,)

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        The place within its flow, plus an offset that keeps flows apart.

    Notes
    -----
    Numbers of a flow that all lie within 2**30 of one of them cannot wrap, whatever their order in time;
    only the others are followed through time (`positions`).
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
        look = look[np.argsort(time[look], kind="stable")]  # a few runs that are in order: this is a merge
        look = look[by_flow(flow[look])]
        place[look] = (flows << 32) + positions(flow[look], seq[look])
    return place


def positions(flow: np.ndarray, seq: np.ndarray) -> np.ndarray:
    """Turn 32-bit sequence numbers into positions that do not wrap.

    Parameters
    ----------
    flow : numpy.ndarray of int, shape (n,)
        Flow of each item; equal flows are neighbours, in order of time.
    seq : numpy.ndarray of uint32, shape (n,)

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        Position within the flow, 0 the lowest, plus an offset that keeps flows
        apart and in order (RFC 9293 section 3.4: differences are modulo 2**32).
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
    """Find for each segment the copy (or read) that holds its last byte.

    Parameters
    ----------
    segment_flow, copy_flow : numpy.ndarray of int64
        Numbers of the flows.
    segment_end, copy_end : numpy.ndarray of uint32
        Sequence number behind the last byte.
    arrival, copy : numpy.ndarray of int64
        Places in time, no two equal: positions in the events.
    copy_bytes : numpy.ndarray of int64
        Length of each copy.

    Returns
    -------
    numpy.ndarray of int64, shape (segments,)
        Index of the copy; -1 where none was seen, or it was before the arrival (the
        segment repeats what had been delivered).
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
