"""GSO segmentation and GRO merging: which larger packet a packet was cut from or merged into.

Generic segmentation offload (GSO) cuts a large packet into segments or datagrams. Each of them continues in a buffer of
its own, from the device at which the large packet ends. Generic receive offload (GRO) merges segments. A merged segment
ends at a device, and its bytes continue in another buffer, which is longer from there on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .order import Columns, HopCodes, runs
from .packets import UDP
from .paths import PacketPaths, first_byte, payload_bytes, segments
from .stages import Stages
from .stream import flow_numbers, places

#: Finds which of some larger packets, given their last hops at devices, includes each of some smaller ones.
_Find = Callable[[Columns, HopCodes, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class _Large:
    """Larger segments at devices.

    Attributes
    ----------
    since, until : numpy.ndarray of int64, shape (n,)
        Events between which segments are cut from it or merged into it. The first one has its flow and device.
    size : numpy.ndarray of int64, shape (n,)
        Bytes of payload.
    """

    since: np.ndarray
    until: np.ndarray
    size: np.ndarray

    def of(self, events: Columns, hops: HopCodes, small: np.ndarray) -> np.ndarray:
        """Return which of them includes the bytes of each of the events `small`, -1 if none."""
        n = len(self.since)
        at = np.concatenate([self.since, small])
        flow = flow_numbers(events, at, hops.device[hops.code[at]])
        begin = places(flow, first_byte(events, at), at)
        order = np.lexsort((self.since, begin[:n]))
        since, until, size, own = self.since[order], self.until[order], self.size[order], flow[order]
        end = begin[n:] + payload_bytes(events, small)
        found = np.full(len(small), -1, np.int64)
        look = np.arange(len(small))
        near = np.searchsorted(begin[order], begin[n:], side="right") - 1
        while len(look):  # from the last one that begins before it backwards, while one may be long enough
            place = near[look]
            look = look[(place >= 0) & (begin[order[place]] + size.max() >= end[look])]
            place = near[look]
            holds = (begin[order[place]] + size[place] >= end[look]) & (own[place] == flow[n:][look])
            holds &= (since[place] < small[look]) & (small[look] < until[place])
            found[look[holds]] = order[place[holds]]
            look = look[~holds]
            near[look] -= 1
        return found


def gso_gro_relations(
    events: Columns, paths: PacketPaths, hops: HopCodes, stages: Stages
) -> tuple[np.ndarray, np.ndarray]:
    """Find the larger packets that TCP segments were cut from or merged into, and that UDP datagrams were cut from.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    paths : PacketPaths
    hops : HopCodes
    stages : Stages
        The stage of each point.

    Returns
    -------
    segmented_from : numpy.ndarray of int64, shape (paths,)
        Path of the larger packet that GSO cut each one from, -1 if none.
    merged_into : numpy.ndarray of int64, shape (paths,)
        Path of the segment that GRO merged each one into, -1 if none. A segment may have both.
    """
    segmented_from, merged_into = (np.full(len(paths), -1, np.int64) for _ in range(2))
    data, _ = segments(events, paths)
    datagrams = np.flatnonzero(events["proto"][paths.first_tx] == UDP)
    for packets, find in ((data, _by_place), (datagrams, _by_order)):
        child, whole = _cut(events, paths, hops, stages, packets, find)
        segmented_from[child] = whole
    child, whole = _merged(events, paths, hops, stages, data)
    merged_into[child] = whole
    return segmented_from, merged_into


def _cut(
    events: Columns, paths: PacketPaths, hops: HopCodes, stages: Stages, data: np.ndarray, find: _Find
) -> tuple[np.ndarray, np.ndarray]:
    """Return packets, and the larger packet that each was cut from.

    The larger packet reached the device where the smaller ones begin, but not their first hop. `data` are the paths to
    consider; `find` returns which of the larger packets includes the bytes of a smaller one.
    """
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
    whole = find(events, hops, last_dev_hop, at)
    good = (whole >= 0) & ~np.isin(whole * codes + hops.code[at], passed)
    return small[good], large[whole[good]]


def _by_place(events: Columns, hops: HopCodes, last_dev_hop: np.ndarray, small: np.ndarray) -> np.ndarray:
    """Return which segment that ends in `last_dev_hop` includes the bytes of each of the events `small`, -1 if none."""
    until = np.full(len(last_dev_hop), len(events["point"]))
    return _Large(last_dev_hop, until, payload_bytes(events, last_dev_hop)).of(events, hops, small)


def _by_order(events: Columns, hops: HopCodes, last_dev_hop: np.ndarray, small: np.ndarray) -> np.ndarray:
    """Return which packet of datagrams each of the events `small` was cut from, -1 if it is not certain.

    The kernel cuts one packet after the other. So it is the last one of the flow at the device, if all datagrams
    together are as long as it.
    """
    number, width = len(last_dev_hop), len(events["point"])
    at = np.concatenate([last_dev_hop, small])
    key = flow_numbers(events, at, hops.device[hops.code[at]]) * width + at
    order = np.argsort(key[:number])
    last = np.searchsorted(key[:number][order], key[number:]) - 1
    whole = np.where(last >= 0, order[last], -1)
    whole[key[whole] // width != key[number:] // width] = -1
    got = np.bincount(whole[whole >= 0], payload_bytes(events, small[whole >= 0]), number)
    whole[(got != payload_bytes(events, last_dev_hop))[whole]] = -1
    return whole


def _merged(
    events: Columns, paths: PacketPaths, hops: HopCodes, stages: Stages, data: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return segments that were merged, and the path of the buffer that each was merged into.

    They end at a hop behind which a buffer of the same flow grows while they arrive.
    """
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
    whole = _Large(at[grows], at[grows + 1], size).of(events, hops, paths.last_dev_hop[small])
    return small[whole >= 0], number[grows[whole[whole >= 0]]]
