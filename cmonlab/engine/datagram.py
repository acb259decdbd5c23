"""Join UDP datagrams to the read that took them from the socket.

A socket's queue is first in, first out, so the n-th arrival is taken by the n-th
read.  That holds only as long as every arrival and every read is known.
"""

from __future__ import annotations

import numpy as np

from .order import Columns


def _queue(events: Columns, at: np.ndarray, sport: np.ndarray) -> np.ndarray:
    """Name the queue of each event: namespace, local port, and the peer's port of a connected socket."""
    key = events["netns"][at].astype(np.uint64) << np.uint64(32)
    return key | events["dport"][at].astype(np.uint64) << np.uint64(16) | sport.astype(np.uint64)


def _rank(key: np.ndarray) -> np.ndarray:
    """Return how many equal keys stand before each key."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    rank = np.empty(len(key), np.int64)
    rank[order] = np.arange(len(key)) - np.repeat(begins, np.diff(np.append(begins, len(key))))
    return rank


def reads_of(events: Columns, arrival: np.ndarray, payload: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Find for each datagram the read that took it.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table.
    arrival, read : numpy.ndarray of int, ascending
        Events that are arrivals (a packet) and reads (a socket).
    payload : numpy.ndarray of int64, shape (arrivals,)
        Bytes of each datagram.

    Returns
    -------
    numpy.ndarray of int64, shape (arrivals,)
        Event of the read; -1 where it was not seen, where several sockets share the
        port so that the queue is not known, and from the first pair on that cannot
        be: read before it arrived, or more bytes than came.
    """
    found = np.full(len(arrival), -1, np.int64)
    queue = _queue(events, read, events["sport"][read])
    first_socket, number = np.unique(queue, return_inverse=True)
    sockets = np.full(len(first_socket), events["skb"].min(), np.uint64)
    np.maximum.at(sockets, number, events["skb"][read])
    shared = np.zeros(len(first_socket), bool)
    np.logical_or.at(shared, number, events["skb"][read] != sockets[number])

    connected = _queue(events, arrival, events["sport"][arrival])
    key = np.where(np.isin(connected, first_socket), connected, _queue(events, arrival, np.zeros(len(arrival))))
    at = np.minimum(np.searchsorted(first_socket, key), len(first_socket) - 1)
    known = (first_socket[at] == key) & ~shared[at]
    if not known.any():
        return found
    arrivals, group = np.flatnonzero(known), at[known]
    # Reads before the first arrival took what had come before the recording began.
    first = np.full(len(first_socket), len(events["ts_ns"]), np.int64)
    np.minimum.at(first, group, arrival[arrivals])
    usable = read > first[number]
    taken = _pair(group, number[usable], read[usable])
    good = taken >= 0
    good &= (taken > arrival[arrivals]) & (events["len_bytes"][taken] <= payload[arrivals])
    bad_from = np.full(len(first_socket), len(arrival), np.int64)
    np.minimum.at(bad_from, group[~good], arrivals[~good])
    good &= arrivals < bad_from[group]
    found[arrivals[good]] = taken[good]
    return found


def _pair(arrival_queue: np.ndarray, read_queue: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Return for each arrival the read of the same queue and rank, -1 where there is none."""
    if len(read) == 0:
        return np.full(len(arrival_queue), -1, np.int64)
    width = len(read) + len(arrival_queue)
    have = read_queue * width + _rank(read_queue)
    order = np.argsort(have)
    wanted = arrival_queue * width + _rank(arrival_queue)
    at = order[np.minimum(np.searchsorted(have[order], wanted), len(have) - 1)]
    return np.where(have[at] == wanted, read[at], -1)
