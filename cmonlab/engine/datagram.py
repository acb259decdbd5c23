"""Join UDP datagrams to the read that took them from the socket.

A socket's queue is first in, first out, so the n-th arrival is taken by the n-th
read.  That holds only as long as every arrival and every read is known.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .order import Columns


def _queue(events: Columns, at: np.ndarray, sport: np.ndarray | int) -> np.ndarray:
    """Name the queue of each event: namespace, local port, and the peer's port of a connected socket."""
    key = events["netns"][at].astype(np.uint64) << np.uint64(32)
    key |= events["dport"][at].astype(np.uint64) << np.uint64(16)
    return key | np.uint64(sport) if np.isscalar(sport) else key | sport


def _rank(number: np.ndarray) -> np.ndarray:
    """Return how many equal numbers stand before each."""
    order = np.argsort(number, kind="stable")
    ordered = number[order]
    begins = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])) if len(number) else order
    rank = np.empty(len(number), np.int64)
    rank[order] = np.arange(len(number)) - np.repeat(begins, np.diff(np.append(begins, len(number))))
    return rank


class _Queues:
    """The queues that were read, each with its one socket."""

    def __init__(self, events: Columns, read: np.ndarray):
        number, self.keys = pd.factorize(_queue(events, read, events["sport"][read]), sort=True)
        self.number = number.astype(np.int64)
        socket = events["skb"][read]
        one = np.empty(len(self.keys), np.uint64)
        one[self.number] = socket
        self.shared = np.zeros(len(self.keys), bool)
        self.shared[self.number[socket != one[self.number]]] = True

    def of(self, key: np.ndarray) -> np.ndarray:
        """Return the number of each key's queue, -1 where it was not read or has several sockets."""
        at = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        return np.where((self.keys[at] == key) & ~self.shared[at], at, -1)

    def __len__(self) -> int:
        return len(self.keys)


def reads_of(events: Columns, arrival: np.ndarray, payload: np.ndarray, copied: np.ndarray, read: np.ndarray) -> np.ndarray:
    """Find for each datagram the read that took it.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table.
    arrival, read : numpy.ndarray of int, ascending
        Events that are arrivals (a packet) and reads (a socket).
    payload : numpy.ndarray of int64, shape (arrivals,)
        Bytes of each datagram.
    copied : numpy.ndarray of bool, shape (arrivals,)
        Whose delivery is known already (the copy was seen): they have a place in the
        queue, and more bytes than the first of their fragments.

    Returns
    -------
    numpy.ndarray of int64, shape (arrivals,)
        Event of the read; -1 where it was not seen or the delivery is known, where
        the queue is not known (several sockets share the port, or more was read
        than arrived), and from the first pair on that cannot be: read before it
        arrived, or more bytes than came.
    """
    found = np.full(len(arrival), -1, np.int64)
    queues = _Queues(events, read)
    queue = queues.of(_queue(events, arrival, events["sport"][arrival]))
    queue = np.where(queue >= 0, queue, queues.of(_queue(events, arrival, 0)))
    known = np.flatnonzero(queue >= 0)
    if len(known) == 0:
        return found
    # Reads before the first arrival took what had come before the recording began.
    first = np.full(len(queues), len(events["ts_ns"]), np.int64)
    first[queue[known][::-1]] = arrival[known][::-1]
    usable = read > first[queues.number]
    arrived, taken = (np.bincount(n, minlength=len(queues)) for n in (queue[known], queues.number[usable]))
    known = known[(taken <= arrived)[queue[known]]]
    pair = _pair(queue[known], queues.number[usable], read[usable])
    good = (pair >= 0) & (pair > arrival[known]) & ((events["len_bytes"][pair] <= payload[known]) | copied[known])
    bad_from = np.full(len(queues), len(arrival), np.int64)
    bad = known[~good]
    bad_from[queue[bad][::-1]] = bad[::-1]
    good &= (known < bad_from[queue[known]]) & ~copied[known]
    found[known[good]] = pair[good]
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
