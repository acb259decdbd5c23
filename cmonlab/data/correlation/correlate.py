"""Correlation: find the hops of each packet among the events, in order, and the socket events around them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from .delivery import join_datagrams, join_segments, scheduled
from .gso_gro import gso_gro_relations
from .journey import Journeys
from .order import PART, Columns, hop_codes, runs
from .packets import packets
from .paths import PacketPaths, packet_paths, payload_bytes
from .repeats import repeats
from .retransmit import retransmissions
from .sending import sends_of
from .stages import Stages
from .stream import flow_numbers
from .threads import both, processors, spread

__all__ = ["Journeys", "Stages", "correlate", "payload_bytes", "retransmissions"]


def correlate(
    events: Columns,
    stages: Stages,
    lost: Collection[int] = (),
    breaks: Collection[int] = (),
    sampled: bool = False,
    threads: int | None = None,
    rx_namespace_by_address: Mapping[int, int] | None = None,
) -> Journeys:
    """Group events into journeys.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    stages : Stages
        The stage of each point.
    lost : collection of int
        Ids of the points where events were lost. Deliveries that can only be found when all events of these points
        are known are then left out, and those journeys end at the arrival.
    breaks : collection of int
        Times (ns) at which a trace gap began or ended, or other rules came into force. Around them packets may have
        passed points without an event, and without being counted as lost.
    sampled : bool
        Whether only a sample of the packets was recorded, so that datagrams cannot be counted.
    threads : int, optional
        Number of threads; by default the number of processors that may be used.
    rx_namespace_by_address : mapping of int to int, optional
        For macvlan interfaces, which receive packets without passing a point: ``netns << 32 | daddr`` of the
        interface below → namespace of the socket that gets the packets.

    Returns
    -------
    Journeys
        In order of their packets' first hops.

    Notes
    -----
    The free that ends an undropped packet is not a hop of its journey. The send and delivery of a TCP segment are found
    by its place in the byte stream (modules `sending` and `stream`), the delivery of a UDP datagram by its place in the
    socket's queue (module `datagram`).
    """
    threads, gaps = threads or processors(), set(lost)
    hops = hop_codes(events, threads)
    found = packets(events, hops, stages, not (gaps & stages.buffers or len(breaks) or sampled), threads)
    paths = packet_paths(events, found, hops, stages)

    def deliveries() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        read = np.full(len(paths), -1, np.int64)
        join_segments(events, found, paths, stages, gaps, read)
        if not (stages.read | stages.receive | stages.drop) & gaps and not sampled:
            join_datagrams(
                events, found, paths, stages, np.sort(np.array(breaks, np.int64)), rx_namespace_by_address or {}, read
            )
        return *scheduled(events, found, paths, stages, read), read

    def relations() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        segmented_from, merged_into = gso_gro_relations(events, paths, hops, stages)
        send = found.socket[stages.of("send", events["point"][found.socket])]
        flow = flow_numbers(events, np.concatenate([paths.first_tx, send]))
        original, fresh = repeats(events, paths, hops, flow[: len(paths)], segmented_from >= 0)
        return sends_of(events, paths, hops, send, flow, fresh), original, segmented_from, merged_into

    (wake, run, read), (send, *related) = both(deliveries, relations, threads)
    event, start = _with_sockets(paths, send, wake, run, read, threads)
    ends = paths.first_tx, paths.arrival, paths.sent, paths.received
    return Journeys(event, start, hops, found.orphans, *ends, *related)


def _with_sockets(
    paths: PacketPaths, send: np.ndarray, wake: np.ndarray, run: np.ndarray, read: np.ndarray, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Add the socket events to each path: the send before it; wake-up, run and read behind it.

    Parameters
    ----------
    send, wake, run, read : numpy.ndarray of int64, shape (paths,)
        Events, -1 if there is none. There is no wake-up without a run.

    Returns
    -------
    event, start : numpy.ndarray
        See `Journeys`.
    """
    before = (send >= 0).astype(np.int64)
    behind = [at >= 0 for at in (read, run, wake)]
    start = np.zeros(len(paths) + 1, np.int64)
    np.cumsum(before + paths.length + sum(behind), out=start[1:])
    event = np.empty(start[-1], paths.event.dtype)

    def place(part: slice) -> None:
        first, end = start[:-1][part], start[1:][part]
        own = runs(paths.begin[part] - before[part], end - first)  # socket events are set below
        event[first[0] : end[-1]] = paths.event.take(own, mode="clip")

    spread(place, [slice(at, at + PART // 8) for at in range(0, len(paths), PART // 8)], threads=threads)
    event[start[:-1][send >= 0]] = send[send >= 0]
    for back, (at, there) in enumerate(zip((read, run, wake), behind, strict=True)):
        event[start[1:][there] - 1 - back] = at[there]
    return event, start
