"""Join UDP datagrams to the read that took them from the socket.

A socket's queue is first in, first out, so reads take arrivals in their order.
Where to begin to count, and whether all were seen, is told by the reads: each says
how many datagrams it left.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .order import Columns


def _queue(events: Columns, at: np.ndarray, netns: np.ndarray, connected: bool) -> np.ndarray:
    """Name the queue of each event: namespace, local port, and the peer's port of a connected socket."""
    key = netns.astype(np.uint64) << np.uint64(32)
    key |= events["dport"][at].astype(np.uint64) << np.uint64(16)
    return key | events["sport"][at] if connected else key


class _Queues:
    """The sockets that were read, and which of them takes an arrival.

    A socket that is connected on the way (as a server does that answers one peer) has
    one queue under two names.
    """

    def __init__(self, events: Columns, read: np.ndarray):
        name, self.names = pd.factorize(_queue(events, read, events["netns"][read], True), sort=True)
        self.number = pd.factorize(events["skb"][read])[0].astype(np.int64)
        self.socket = np.empty(len(self.names), np.int64)
        self.socket[name] = self.number
        self.shared = np.zeros(len(self.names), bool)
        self.shared[name[self.number != self.socket[name]]] = True

    def of(self, name: np.ndarray) -> np.ndarray:
        """Return the number of each name's queue, -1 where it was not read or has several sockets."""
        at = np.minimum(np.searchsorted(self.names, name), len(self.names) - 1)
        return np.where((self.names[at] == name) & ~self.shared[at], self.socket[at], -1)


def reads_of(
    events: Columns,
    arrival: np.ndarray,
    payload: np.ndarray,
    copied: np.ndarray,
    read: np.ndarray,
    breaks: np.ndarray,
    home: np.ndarray,
) -> np.ndarray:
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
        Whose delivery is known already, as the copy was seen; they have their place
        in the queue.
    breaks : numpy.ndarray of int64, ascending
        Times around which packets and reads may have passed unseen; the count begins
        anew at each, and no pair reaches across one.
    home : numpy.ndarray of integers, shape (arrivals,)
        Namespace of the socket that each is for.

    Returns
    -------
    numpy.ndarray of int64, shape (arrivals,)
        Event of the read, of several segments the last one's; -1 where it was not seen
        or the delivery is known, where several sockets share the port, and between two
        moments of an empty queue unless as much was read as had arrived, each after it
        came and no longer.
    """
    found = np.full(len(arrival), -1, np.int64)
    queues = _Queues(events, read)
    queue = queues.of(_queue(events, arrival, home, True))
    other = np.flatnonzero(queue < 0)
    queue[other] = queues.of(_queue(events, arrival[other], home[other], False))
    known = np.flatnonzero(queue >= 0)
    if len(known) == 0:
        return found
    width = len(events["ts_ns"])
    in_queue = _stretch(events, breaks, queue[known], arrival[known]) * width + arrival[known]
    order = np.argsort(in_queue)
    parts = _parts(events, arrival, payload, queue, read, queues)[known[order]]
    known, arrivals = np.repeat(known[order], parts), np.repeat(in_queue[order], parts)
    reads = np.sort(_stretch(events, breaks, queues.number, read) * width + read)
    taken, period = _taken(arrivals, reads, width, events["detail"])
    pairs = np.flatnonzero(taken >= 0)
    datagram, by, period = known[taken[pairs]], reads[pairs] % width, period[pairs]
    good = (by > arrival[datagram]) & ((events["len_bytes"][by] <= payload[datagram]) | copied[datagram])
    doubtful = np.zeros(len(reads) + 1, bool)
    doubtful[period[~good]] = True
    good = ~doubtful[period] & ~copied[datagram]
    good &= np.append(known, -1)[taken[pairs] + 1] != datagram  # the last of its parts
    found[datagram[good]] = by[good]
    return found


def _parts(events, arrival, payload, queue, read, queues):
    """Tell in how many datagrams each arrival was put into the queue.

    A socket that does not ask for larger packets (UDP_GRO) is given their segments.
    """
    segments = np.maximum(events["detail"][arrival].astype(np.int64), 1)
    several = (segments > 1) & (queue >= 0)
    if not several.any():
        return np.ones(len(arrival), np.int64)
    read_bytes, segment_bytes, single_bytes = np.zeros((3, queues.number.max() + 1), np.int64)
    np.maximum.at(read_bytes, queues.number, events["len_bytes"][read])
    np.maximum.at(segment_bytes, queue[several], (payload[several] - 1) // (segments[several] - 1))
    single = ~several & (queue >= 0)
    np.maximum.at(single_bytes, queue[single], payload[single])
    whole = read_bytes > np.maximum(segment_bytes, single_bytes)  # only a larger packet brings so much at once
    return np.where(several & ~whole[queue], segments, 1)


def _stretch(events: Columns, breaks: np.ndarray, queue: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Number the queues anew from each break on."""
    return queue * (len(breaks) + 1) + np.searchsorted(breaks, events["ts_ns"][at])


def _taken(arrivals, reads, width, left):
    """Tell which arrival each read took.

    Parameters
    ----------
    arrivals, reads : numpy.ndarray of int64, ascending
        Queue (between two breaks) times `width` plus event.
    left : numpy.ndarray
        By event: datagrams left in the queue.

    Returns
    -------
    taken, period : numpy.ndarray of int64, shape (reads,)
        Position in `arrivals`, -1 where it is not known; and the first read of the
        time between two moments of an empty queue.

    Notes
    -----
    Of the arrivals before a read, those that are not left have been read, so
    ``surplus`` = arrived - left - reads is 0 and falls by one with each arrival that
    was not seen.  It never rises but for the moment between the stamp of an arrival
    and its place in the queue.
    """
    queue, left = reads // width, left[reads % width]
    heads = np.append(0, np.flatnonzero(queue[1:] != queue[:-1]) + 1)
    length = np.diff(heads, append=len(reads))
    edges = np.searchsorted(arrivals, [queue[heads] * width, (queue[heads] + 1) * width])
    begin, final, origin, end = (np.repeat(of, length) for of in (heads, heads + length - 1, *edges))
    count = np.arange(len(reads)) - begin
    surplus = np.searchsorted(arrivals, reads) - origin - left.astype(np.int64) - count - 1
    empty = np.flatnonzero(left == 0)
    far = (queue - queue[0]) * np.int64(1 << 40)  # keeps the queues apart
    lowest = np.minimum(np.minimum.accumulate(surplus - far) + far, 0)
    empty = empty[surplus[empty] == lowest[empty]]
    # What was surplus when the queue was last empty (nothing, before the first read) …
    number = np.zeros(len(reads), np.int64)
    number[empty] = 1
    number = np.cumsum(number) - number
    around = np.concatenate([[-1], empty, [len(reads)]])
    last, following = around[number], around[number + 1]
    known = last >= begin
    before = np.where(known, surplus[last], 0)
    # … is so when it is empty again, or in the end and never less until then.
    period = np.where(known, last + 1, begin)
    ended = (surplus[final] == before) & (lowest[final] == before)
    closed = (following < len(reads)) & (queue[np.minimum(following, len(reads) - 1)] == queue)
    sure = np.where(closed, surplus[np.minimum(following, len(reads) - 1)] == before, ended)
    taken = origin + count + before
    sure &= (taken >= origin) & (taken < end)
    return np.where(sure, taken, -1), period
