"""Match UDP datagrams to the receive calls that took them from the socket.

Problem
-------
The delay of a datagram ends when the application receives it. A receive call is an event of a socket, though, not of a
packet buffer. It reports the socket's ports, the number of bytes and how many datagrams it left in the queue, but not
which datagram it took.

A socket's queue is first in, first out, so calls take datagrams in the order of arrival. But pairing the n-th call with
the n-th arrival fails. Datagrams may have been in the queue before the trace began, some arrivals or calls may not have
been recorded, and one wrong pair shifts all pairs after it. Several sockets may share a port. A socket that does not
use UDP_GRO receives the segments of a large packet one by one.

Approach
--------
1. Find the queue of each arrival by namespace and ports, and by the peer's port where the socket is connected
   (`_Queues`). Ports that several sockets share are left out.
2. Cut each queue at the breaks (trace gaps, changes of rules). Counting starts again after each of them (`_stretch`).
3. Count an arrival several times if the kernel puts its segments into the queue one by one (`_parts`).
4. At each call compute the surplus: arrivals so far, less datagrams left, less calls so far. It is 0 while all is
   seen, and falls by one with each arrival that was not seen (`_taken`).
5. When the queue is empty, the surplus is known for certain. A call between two such moments takes the arrival with its
   own number, corrected by the surplus, but only if the surplus is the same at both.
6. Accept the pairs between two moments of an empty queue only if all of them are possible: each call is later than its
   arrival and does not return more bytes than arrived (`reads_of`). Otherwise none of them is accepted.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .order import Columns


def _queue(events: Columns, at: np.ndarray, netns: np.ndarray, connected: bool) -> np.ndarray:
    """Return a uint64 name of each event's queue: namespace, local port, and the peer's port if it is connected."""
    key = netns.astype(np.uint64) << np.uint64(32)
    key |= events["dport"][at].astype(np.uint64) << np.uint64(16)
    return key | events["sport"][at] if connected else key


class _Queues:
    """The sockets that were read, and which of them receives an arrival.

    A socket that is connected during the trace (as by a server that answers one peer) has one queue under two names.

    Attributes
    ----------
    names : numpy.ndarray of uint64, ascending
        Names of queues; see `_queue`.
    number : numpy.ndarray of int64, shape (reads,)
        Number of each read's socket.
    socket : numpy.ndarray of int64, shape (names,)
        Number of the socket that was read under each name.
    shared : numpy.ndarray of bool, shape (names,)
        Whether several sockets were read under the name.
    """

    def __init__(self, events: Columns, read: np.ndarray):
        name, self.names = pd.factorize(_queue(events, read, events["netns"][read], True), sort=True)
        self.number = pd.factorize(events["skb"][read])[0].astype(np.int64)
        self.socket = np.empty(len(self.names), np.int64)
        self.socket[name] = self.number
        self.shared = np.zeros(len(self.names), bool)
        self.shared[name[self.number != self.socket[name]]] = True

    def of(self, name: np.ndarray) -> np.ndarray:
        """Return the number of each name's socket, -1 if it was not read or several sockets share the name."""
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
    """Match datagrams to the receive calls that took them.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    arrival : numpy.ndarray of int64, shape (arrivals,), ascending
        Events of arrivals; the buffer is a packet.
    payload : numpy.ndarray of int64, shape (arrivals,)
        Payload bytes of each datagram.
    copied : numpy.ndarray of bool, shape (arrivals,)
        Whether the delivery is known already because the copy was seen. These datagrams are counted, but get no read.
    read : numpy.ndarray of int64, shape (reads,), ascending
        Events of receive calls; the buffer is a socket.
    breaks : numpy.ndarray of int64, ascending
        Times (ns) around which packets and reads may have passed without an event. Counting starts again at each, and
        no pair extends across one.
    home : numpy.ndarray of integers, shape (arrivals,)
        Namespace of the socket that each datagram is for.

    Returns
    -------
    numpy.ndarray of int64, shape (arrivals,)
        Event of the read; if a datagram was read in several segments, of the last one. -1 if the read was not seen, if
        the delivery is known already, if several sockets share the port, or if a pair between the same two moments of
        an empty queue is impossible.
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
    good &= np.append(known, -1)[taken[pairs] + 1] != datagram  # only the last of a datagram's parts
    found[datagram[good]] = by[good]
    return found


def _parts(
    events: Columns, arrival: np.ndarray, payload: np.ndarray, queue: np.ndarray, read: np.ndarray, queues: _Queues
) -> np.ndarray:
    """Return as how many datagrams each arrival was put into the queue, int64.

    A socket that does not request larger packets (UDP_GRO) receives their segments one by one.
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
    whole = read_bytes > np.maximum(segment_bytes, single_bytes)  # only a larger packet returns so many bytes at once
    return np.where(several & ~whole[queue], segments, 1)


def _stretch(events: Columns, breaks: np.ndarray, queue: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return another number for each queue behind each break."""
    return queue * (len(breaks) + 1) + np.searchsorted(breaks, events["ts_ns"][at])


def _taken(arrivals: np.ndarray, reads: np.ndarray, width: int, left: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find which arrival each read took.

    Parameters
    ----------
    arrivals, reads : numpy.ndarray of int64, ascending
        Queue (between two breaks) times `width` plus event.
    width : int
        Number of events.
    left : numpy.ndarray of integers, shape (events,)
        Datagrams that each read left in the queue.

    Returns
    -------
    taken : numpy.ndarray of int64, shape (reads,)
        Position in `arrivals`, -1 if it is not known.
    period : numpy.ndarray of int64, shape (reads,)
        The first read of the period between two moments of an empty queue.

    Notes
    -----
    Of the arrivals before a read, those that are not left were read. So ``surplus`` = arrived - left - reads is 0, and
    falls by one with each arrival that was not seen. It rises only for the short time between the event of an arrival
    and its entry into the queue.
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
    # The surplus when the queue was last empty (0 before the first read) …
    number = np.zeros(len(reads), np.int64)
    number[empty] = 1
    number = np.cumsum(number) - number
    around = np.concatenate([[-1], empty, [len(reads)]])
    last, following = around[number], around[number + 1]
    known = last >= begin
    before = np.where(known, surplus[last], 0)
    # … must be the same when it is empty again, or at the end if it was never lower in between.
    period = np.where(known, last + 1, begin)
    ended = (surplus[final] == before) & (lowest[final] == before)
    closed = (following < len(reads)) & (queue[np.minimum(following, len(reads) - 1)] == queue)
    sure = np.where(closed, surplus[np.minimum(following, len(reads) - 1)] == before, ended)
    taken = origin + count + before
    sure &= (taken >= origin) & (taken < end)
    return np.where(sure, taken, -1), period
