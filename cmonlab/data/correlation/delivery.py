"""When the application got what a packet brought, and when it was woken for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from .datagram import reads_of
from .order import Columns
from .packets import TCP, UDP, Packets, Stages
from .stream import delivered_by, flow_numbers
from .paths import PacketPaths, first_byte, payload_bytes, segments


def join_segments(
    events: Columns, found: Packets, paths: PacketPaths, stages: Stages, lost: Collection[int], delivery: np.ndarray
) -> None:
    """Set the delivery of each TCP segment that arrived: the read (or copy) that reached its last byte.

    A read tells its place in the stream, so that reads stay right where others are
    lost. Copies, of kernels whose reads have no tracepoint, tell the place only
    together with those before them.
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
    """Set the delivery of each UDP datagram that arrived: the read that took it."""
    read = found.socket[stages.of("read", events["point"][found.socket])]
    read = read[events["proto"][read] == UDP]
    udp = (events["proto"][paths.arrival] == UDP) & paths.received
    copied = udp & stages.of("deliver", events["point"][paths.arrival])
    data = np.flatnonzero(udp & (~copied | (paths.length > 1)))
    if len(read) == 0 or len(data) == 0:
        return
    arrival = paths.event[(paths.begin + paths.length - 1)[data] - copied[data]].astype(np.int64)
    by_arrival = np.argsort(arrival)  # events are in order of time, and no two are the same
    data, arrival = data[by_arrival], arrival[by_arrival]
    home = _homes(events, arrival, rx_namespace_by_address)
    joined = reads_of(events, arrival, payload_bytes(events, arrival), copied[data], read, breaks, home)
    hit = joined >= 0
    delivery[data[hit]] = joined[hit]


def _homes(events: Columns, arrival: np.ndarray, rx_namespace_by_address: Mapping[int, int]) -> np.ndarray:
    """Return the namespace whose socket gets each arrival."""
    netns = events["netns"][arrival]
    if not rx_namespace_by_address:
        return netns
    words = np.array(sorted(rx_namespace_by_address), np.uint64)
    word = netns.astype(np.uint64) << np.uint64(32) | events["daddr"][arrival]
    at = np.minimum(np.searchsorted(words, word), len(words) - 1)
    homes = np.array([rx_namespace_by_address[word] for word in words.tolist()], netns.dtype)
    return np.where(words[at] == word, homes[at], netns)


def scheduled(
    events: Columns, found: Packets, paths: PacketPaths, stages: Stages, delivery: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find when the task that read a packet was woken for it, and when it came onto a CPU.

    Returns
    -------
    wake, run : numpy.ndarray of int64, shape (paths,)
        Events, -1 none. A run is told only between arrival and read; a wake-up only
        between arrival and run: before, the task had been woken for something else.
    """
    wake, run = (np.full(len(paths), -1, np.int64) for _ in range(2))
    point = events["point"][found.socket]
    woken, ran = (found.socket[stages.of(stage, point)] for stage in ("wake", "run"))
    if len(ran) == 0:
        return wake, run
    by_read = np.flatnonzero((delivery >= 0) & stages.of("read", events["point"][delivery]))
    read, arrival = delivery[by_read], paths.arrival[by_read]
    key = _key(events["skb"][read], events["ts_ns"][read].astype(np.uint32))  # its lower half
    came = _told(events, ran, key)
    ts = events["ts_ns"]
    good = np.flatnonzero(came >= 0)
    good = good[(ts[came[good]] >= ts[arrival[good]]) & (ts[came[good]] <= ts[read[good]])]
    came, arrival, by_read = came[good], arrival[good], by_read[good]
    run[by_read] = came
    woke = _told(events, woken, key[good])
    good = (woke >= 0) & (ts[woke] >= ts[arrival]) & (ts[woke] <= ts[came])
    wake[by_read[good]] = woke[good]
    return wake, run


def _told(events: Columns, at: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Return which of the events `at` was told together with the read of each key, -1 none."""
    if len(at) == 0:
        return np.full(len(key), -1, np.int64)
    known = _key(events["skb"][at], events["aux"][at])
    order = np.argsort(known, kind="stable")  # nearly in order
    place = np.minimum(np.searchsorted(known[order], key), len(at) - 1)
    return np.where(known[order[place]] == key, at[order[place]], -1)


def _key(socket: np.ndarray, read_ts: np.ndarray) -> np.ndarray:
    return read_ts.astype(np.uint64) << np.uint64(32) | socket
