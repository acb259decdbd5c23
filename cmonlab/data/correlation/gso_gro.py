"""Segments and datagrams that are cut from a larger packet on their way (GSO), or segments merged into one (GRO).

What is cut off goes on in a buffer of its own, from the device at which the larger
segment ends. What is merged ends at a device, and its bytes go on in another buffer
that is longer from there on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .order import Columns, HopCodes, runs
from .packets import UDP, Stages
from .stream import flow_numbers, places
from .paths import PacketPaths, first_byte, payload_bytes, segments


@dataclass(frozen=True)
class _Large:
    """Larger segments at devices.

    Attributes
    ----------
    way : numpy.ndarray of int64, shape (n,)
        Whose bytes.
    since, until : numpy.ndarray of int64, shape (n,)
        Events between which segments are cut from it or merged into it; the first one
        tells flow and device.
    size : numpy.ndarray of int64, shape (n,)
        Bytes of payload.
    """

    way: np.ndarray
    since: np.ndarray
    until: np.ndarray
    size: np.ndarray

    def of(self, events: Columns, hops: HopCodes, small: np.ndarray) -> np.ndarray:
        """Return which of them holds the bytes of each of the events `small`, -1 none."""
        n = len(self.way)
        at = np.concatenate([self.since, small])
        flow = flow_numbers(events, at, hops.device[hops.code[at]])
        begin = places(flow, first_byte(events, at), at)
        order = np.lexsort((self.since, begin[:n]))
        since, until, size, own = self.since[order], self.until[order], self.size[order], flow[order]
        end = begin[n:] + payload_bytes(events, small)
        found = np.full(len(small), -1, np.int64)
        look = np.arange(len(small))
        near = np.searchsorted(begin[order], begin[n:], side="right") - 1
        while len(look):  # down from the last that begins before it, while one may reach so far
            place = near[look]
            look = look[(place >= 0) & (begin[order[place]] + size.max() >= end[look])]
            place = near[look]
            holds = (begin[order[place]] + size[place] >= end[look]) & (own[place] == flow[n:][look])
            holds &= (since[place] < small[look]) & (small[look] < until[place])
            found[look[holds]] = order[place[holds]]
            look = look[~holds]
            near[look] -= 1
        return found


def gso_gro_relations(events: Columns, paths: PacketPaths, hops: HopCodes, stages: Stages) -> tuple[np.ndarray, np.ndarray]:
    """Find the larger TCP segments that each one was cut from or merged into; it may be both.

    Of UDP, the larger packets that datagrams were cut from.

    Returns
    -------
    segmented_from, merged_into : numpy.ndarray of int64, shape (paths,)
        Way of the larger segment, -1 none.
    """
    segmented_from, merged_into = (np.full(len(paths), -1, np.int64) for _ in range(2))
    data, _ = segments(events, paths)
    datagrams = np.flatnonzero(events["proto"][paths.first_tx] == UDP)
    for packets, holder in ((data, _by_place), (datagrams, _by_turn)):
        child, whole = _cut(events, paths, hops, stages, packets, holder)
        segmented_from[child] = whole
    child, whole = _merged(events, paths, hops, stages, data)
    merged_into[child] = whole
    return segmented_from, merged_into


def _cut(events, paths, hops, stages, data, holder):
    """Return packets, and what they were cut from: it came to the device where they begin, but not to that hop."""
    none = np.empty(0, np.int64)
    last_dev_hop = paths.last_dev_hop[data]
    large = data[(events["detail"][last_dev_hop] > 1) & stages.of("transmit", events["point"][last_dev_hop])]
    if len(large) == 0:
        return none, none
    last_dev_hop, codes, device = paths.last_dev_hop[large], len(hops.point), hops.device
    number = np.repeat(np.arange(len(large)), paths.length[large])
    passed = hops.code[paths.event[runs(paths.begin[large], paths.length[large])]]
    here = device[passed] == device[hops.code[last_dev_hop]][number]
    passed = np.unique(number[here] * codes + passed[here])
    came = np.bincount(device[hops.code[last_dev_hop]], minlength=device.max() + 1)
    opens = stages.of("transmit", hops.point) & (np.bincount(passed % codes, minlength=codes) < came[device])
    small = data[paths.sent[data] & opens[hops.code[paths.first_tx[data]]]]
    at = paths.first_tx[small]
    whole = holder(events, hops, last_dev_hop, at)
    good = (whole >= 0) & ~np.isin(whole * codes + hops.code[at], passed)
    return small[good], large[whole[good]]


def _by_place(events, hops, last_dev_hop, small):
    """Return which of the larger segments that end in `last_dev_hop` holds the bytes of each of the events `small`, -1 none."""
    until = np.full(len(last_dev_hop), len(events["point"]))
    return _Large(last_dev_hop, last_dev_hop, until, payload_bytes(events, last_dev_hop)).of(events, hops, small)


def _by_turn(events, hops, last_dev_hop, small):
    """Return which packet of datagrams each of the events `small` was cut from, -1 where it is not certain.

    The kernel cuts one after the other, so it is the last of its flow at the device; together they are as long as it.
    """
    number, width = len(last_dev_hop), len(events["point"])
    at = np.concatenate([last_dev_hop, small])
    turn = flow_numbers(events, at, hops.device[hops.code[at]]) * width + at
    order = np.argsort(turn[:number])
    last = np.searchsorted(turn[:number][order], turn[number:]) - 1
    whole = np.where(last >= 0, order[last], -1)
    whole[turn[whole] // width != turn[number:] // width] = -1
    got = np.bincount(whole[whole >= 0], payload_bytes(events, small[whole >= 0]), number)
    whole[(got != payload_bytes(events, last_dev_hop))[whole]] = -1
    return whole


def _merged(events, paths, hops, stages, data):
    """Return segments that end at a hop behind which another buffer of the flow, while they came, grew by them."""
    none = np.empty(0, np.int64)
    grown = data[events["len_bytes"][paths.last_dev_hop[data]] > events["len_bytes"][paths.first_tx[data]]]
    if len(grown) == 0:
        return none, none
    number, device = np.repeat(grown, paths.length[grown]), hops.device
    at = paths.event[runs(paths.begin[grown], paths.length[grown])].astype(np.int64)
    own = ~stages.of("function", events["point"][at])
    number, at = number[own], at[own]
    code, length = hops.code[at], events["len_bytes"][at]
    grows = (number[1:] == number[:-1]) & (length[1:] > length[:-1]) & (device[code[1:]] == device[code[:-1]])
    grows = np.flatnonzero(grows & stages.of("receive", events["point"][at[:-1]]))
    ends = np.zeros(len(hops.point), bool)
    ends[code[grows]] = True
    small = data[ends[hops.code[paths.last_dev_hop[data]]]]
    size = payload_bytes(events, at[grows + 1])
    whole = _Large(number[grows], at[grows], at[grows + 1], size).of(events, hops, paths.last_dev_hop[small])
    return small[whole >= 0], number[grows[whole[whole >= 0]]]
