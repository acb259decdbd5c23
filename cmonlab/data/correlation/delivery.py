"""Delivery: when the application got the data of a packet, and when its task was woken for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from .datagram import reads_of
from .order import Columns
from .packets import TCP, UDP, Packets
from .paths import PacketPaths, first_byte, payload_bytes, segments
from .stages import Stages
from .stream import delivered_by, flow_numbers


def join_segments(
    events: Columns, found: Packets, paths: PacketPaths, stages: Stages, lost: Collection[int], delivery: np.ndarray
) -> None:
    """Find the delivery of each TCP segment that arrived: the read (or copy) that includes its last byte.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    found : Packets
    paths : PacketPaths
    stages : Stages
        The stage of each point.
    lost : collection of int
        Ids of the points where events were lost.
    delivery : numpy.ndarray of int64, shape (paths,)
        Event of the delivery of each path; set where one is found.

    Notes
    -----
    A read reports its place in the byte stream, so its place is right even if other reads were lost. Kernels before
    6.3 have no tracepoint for reads. There the copies out of buffers are used, but the place of a copy depends on the
    copies before it, so they are not used if some were lost.
    """
    data, size = segments(events, paths)
    data, size = data[paths.received[data]], size[paths.received[data]]
    read = found.socket[stages.of("read", events["point"][found.socket])]
    read = read[(events["proto"][read] == TCP) & (events["aux"][read] > 0)]
    end = events["seq"][read] + events["aux"][read]
    if len(read) == 0 and not set(np.unique(events["point"][found.copy]).tolist()) & set(lost):
        read, end = found.copy, found.copy_end
    if len(read) == 0 or len(data) == 0:
        return
    arrival = paths.arrival[data]
    flow = flow_numbers(events, np.concatenate([arrival, read]))
    last_byte = first_byte(events, arrival) + size.astype(np.uint32)
    read_bytes = events["aux"][read].astype(np.int64)
    joined = delivered_by(flow[: len(data)], last_byte, arrival, flow[len(data) :], end, read_bytes, read)
    hit = joined >= 0
    delivery[data[hit]] = read[joined[hit]]


def join_datagrams(
    events: Columns,
    found: Packets,
    paths: PacketPaths,
    stages: Stages,
    breaks: np.ndarray,
    rx_namespace_by_address: Mapping[int, int],
    delivery: np.ndarray,
) -> None:
    """Match each UDP datagram that arrived to the receive call that took it from the socket.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    found : Packets
    paths : PacketPaths
    stages : Stages
        The stage of each point.
    breaks : numpy.ndarray of int64, ascending
        Times (ns) around which packets may have passed without an event.
    rx_namespace_by_address : mapping of int to int
        See `correlate.correlate`.
    delivery : numpy.ndarray of int64, shape (paths,)
        Event of the delivery of each path; set where one is found.
    """
    read = found.socket[stages.of("read", events["point"][found.socket])]
    read = read[events["proto"][read] == UDP]
    udp = (events["proto"][paths.arrival] == UDP) & paths.received
    copied = udp & stages.of("deliver", events["point"][paths.arrival])
    data = np.flatnonzero(udp & (~copied | (paths.length > 1)))
    if len(read) == 0 or len(data) == 0:
        return
    arrival = paths.event[(paths.begin + paths.length - 1)[data] - copied[data]].astype(np.int64)
    by_arrival = np.argsort(arrival)  # positions of events: in order of time, no two are equal
    data, arrival = data[by_arrival], arrival[by_arrival]
    socket_netns = _socket_namespaces(events, arrival, rx_namespace_by_address)
    joined = reads_of(events, arrival, payload_bytes(events, arrival), copied[data], read, breaks, socket_netns)
    hit = joined >= 0
    delivery[data[hit]] = joined[hit]


def _socket_namespaces(events: Columns, arrival: np.ndarray, rx_namespace_by_address: Mapping[int, int]) -> np.ndarray:
    """Return the namespace of the socket that gets each arrival."""
    netns = events["netns"][arrival]
    if not rx_namespace_by_address:
        return netns
    words = np.array(sorted(rx_namespace_by_address), np.uint64)
    word = netns.astype(np.uint64) << np.uint64(32) | events["daddr"][arrival]
    at = np.minimum(np.searchsorted(words, word), len(words) - 1)
    receivers = np.array([rx_namespace_by_address[word] for word in words.tolist()], netns.dtype)
    return np.where(words[at] == word, receivers[at], netns)


def scheduled(
    events: Columns, found: Packets, paths: PacketPaths, stages: Stages, delivery: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find when the task that read a packet was woken for it, and when it began to run on a CPU.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    found : Packets
    paths : PacketPaths
    stages : Stages
        The stage of each point.
    delivery : numpy.ndarray of int64, shape (paths,)
        Event of the delivery of each path, -1 if there is none.

    Returns
    -------
    wake, run : numpy.ndarray of int64, shape (paths,)
        Events, -1 if there is none. A run counts only between arrival and read, and a wake-up only between arrival and
        run. Otherwise the task was woken for something else.
    """
    wake, run = (np.full(len(paths), -1, np.int64) for _ in range(2))
    point = events["point"][found.socket]
    woken, ran = (found.socket[stages.of(stage, point)] for stage in ("wake", "run"))
    if len(ran) == 0:
        return wake, run
    by_read = np.flatnonzero((delivery >= 0) & stages.of("read", events["point"][delivery]))
    read, arrival = delivery[by_read], paths.arrival[by_read]
    key = _key(events["skb"][read], events["ts_ns"][read].astype(np.uint32))
    began = _reported_with(events, ran, key)
    ts = events["ts_ns"]
    good = np.flatnonzero(began >= 0)
    good = good[(ts[began[good]] >= ts[arrival[good]]) & (ts[began[good]] <= ts[read[good]])]
    began, arrival, by_read = began[good], arrival[good], by_read[good]
    run[by_read] = began
    waking = _reported_with(events, woken, key[good])
    good = (waking >= 0) & (ts[waking] >= ts[arrival]) & (ts[waking] <= ts[began])
    wake[by_read[good]] = waking[good]
    return wake, run


def _reported_with(events: Columns, at: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Return which of the events `at` was reported by the same read as each key, -1 if none."""
    if len(at) == 0:
        return np.full(len(key), -1, np.int64)
    known = _key(events["skb"][at], events["aux"][at])
    order = np.argsort(known, kind="stable")  # nearly in order
    place = np.minimum(np.searchsorted(known[order], key), len(at) - 1)
    return np.where(known[order[place]] == key, at[order[place]], -1)


def _key(socket: np.ndarray, read_ts: np.ndarray) -> np.ndarray:
    """Combine a socket and the lower half of the time of a read (uint32)."""
    return read_ts.astype(np.uint64) << np.uint64(32) | socket
