"""Join TCP segments to the moment the application read them.

TCP merges buffers in the receive queue, so a segment's own buffer is often not the
one that is copied out.  The byte stream is the same: a segment is delivered by the
read, or the copy, that holds its last byte.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .order import Columns


def flow_numbers(events: Columns, at: np.ndarray, *also: str) -> np.ndarray:
    """Number the flows (addresses and ports, one direction) of the events at positions `at`, int64.

    `also` names columns of integers of 32 bits or less, in which the events of a flow must agree as well.
    """
    addresses = events["saddr"][at].astype(np.uint64) << np.uint64(32) | events["daddr"][at]
    ports = events["sport"][at].astype(np.int64) << 16 | events["dport"][at]
    flow, _ = pd.factorize(addresses)
    for value in (ports, *(events[name][at] for name in also)):
        flow, _ = pd.factorize(flow.astype(np.int64) << 32 | value)
    return flow.astype(np.int64)


def by_flow(flow: np.ndarray) -> np.ndarray:
    """Return the stable order by flow number."""
    small = flow.astype(np.uint16) if flow.max(initial=0) < 1 << 16 else flow  # numpy counts what has 16 bits
    return np.argsort(small, kind="stable")


def places(flow: np.ndarray, seq: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Return `positions` of items in any order.

    Parameters
    ----------
    flow, time : numpy.ndarray of int64, shape (n,)
        Flow and place in time of each item.
    seq : numpy.ndarray of uint32, shape (n,)
    """
    order = np.argsort(time, kind="stable")  # a few runs that are in order: this is a merge
    order = order[by_flow(flow[order])]
    place = np.empty(len(order), np.int64)
    place[order] = positions(flow[order], seq[order])
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
    segment_flow: np.ndarray, segment_end: np.ndarray, arrival: np.ndarray,
    copy_flow: np.ndarray, copy_end: np.ndarray, copy_bytes: np.ndarray, copy: np.ndarray,
) -> np.ndarray:  # fmt: skip
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
    copies = np.argsort(place[segments:], kind="stable")
    sorted_copies = place[segments:][copies]
    at = np.searchsorted(sorted_copies, place[:segments], side="left")
    candidate = copies[np.minimum(at, len(copies) - 1)]
    good = (at < len(copies)) & (copy_flow[candidate] == segment_flow) & (copy[candidate] > arrival)
    good &= sorted_copies[np.minimum(at, len(copies) - 1)] - copy_bytes[candidate] < place[:segments]
    found[good] = candidate[good]
    return found
