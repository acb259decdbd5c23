"""From events to journeys: which hops belong to one packet, and in what order."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from .delivery import join_datagrams, join_segments, scheduled
from .family import parents
from .journey import Journeys
from .order import PART, Columns, hop_codes, runs
from .packets import Stages, packets
from .repeats import repeats
from .retransmit import retransmissions
from .sending import sends_of
from .ways import Ways, payload_bytes, ways_of

__all__ = ["Journeys", "Stages", "correlate", "payload_bytes", "retransmissions"]


def correlate(
    events: Columns, stages: Stages, lost: Collection[int] = (), blind: Collection[int] = (), sampled: bool = False
) -> Journeys:
    """Group events into journeys.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    stages : Stages
        What each point means.
    lost : collection of int
        Ids of the points where events were lost. Deliveries that can be told only
        when all of them are known are then left out, and those journeys end at the
        arrival.
    blind : collection of int
        Times (ns) at which tracepoints fell silent and spoke again, or at which other
        rules came into force: packets may have passed points unseen around them,
        without being counted as lost.
    sampled : bool
        Packets were sampled out, so that datagrams cannot be counted.

    Returns
    -------
    Journeys
        In order of their packets' first hops.

    Notes
    -----
    The free that ends an undropped packet is no hop of its journey.  A TCP segment's
    send and delivery are found by its place in the byte stream (`sending`, `stream`),
    a UDP datagram's delivery by its place in the socket's queue (`datagram`).
    """
    hops, gaps = hop_codes(events), set(lost)
    found = packets(events, hops, stages, whole=not (gaps & stages.buffers or len(blind) or sampled))
    ways = ways_of(events, found, hops, stages)
    read = np.full(len(ways), -1, np.int64)
    join_segments(events, found, ways, stages, gaps, read)
    if not (stages.read | stages.receive | stages.drop) & gaps and not sampled:
        join_datagrams(events, found, ways, stages, np.sort(np.array(blind, np.int64)), read)
    cut_from, merged_into = parents(events, ways, hops, stages)
    again, fresh = repeats(events, ways, cut_from >= 0)
    send = sends_of(events, found, ways, stages, fresh)
    event, start = _with_sockets(ways, send, *scheduled(events, found, ways, stages, read), read)
    ends = ways.departure, ways.arrival, ways.sent, ways.received
    return Journeys(event, start, hops, found.orphans, *ends, again, cut_from, merged_into)


def _with_sockets(
    ways: Ways, send: np.ndarray, wake: np.ndarray, run: np.ndarray, read: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Put before each way its send, and behind it wake-up, run and read; there is no wake-up without a run.

    Returns
    -------
    event, start : numpy.ndarray
        See `Journeys`.
    """
    before = (send >= 0).astype(np.int64)
    behind = [at >= 0 for at in (read, run, wake)]
    start = np.zeros(len(ways) + 1, np.int64)
    np.cumsum(before + ways.length + sum(behind), out=start[1:])
    event = np.empty(start[-1], ways.event.dtype)
    for at in range(0, len(ways), PART // 8):
        part = slice(at, at + PART // 8)
        to = runs((start[:-1] + before)[part], ways.length[part])
        event[to] = ways.event[runs(ways.begin[part], ways.length[part])]
    event[start[:-1][send >= 0]] = send[send >= 0]
    for place, (at, there) in enumerate(zip((read, run, wake), behind, strict=True)):
        event[start[1:][there] - 1 - place] = at[there]
    return event, start
