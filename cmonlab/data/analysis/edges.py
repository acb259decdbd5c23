"""Traffic, loss and delay of each edge of the graph, from recorded events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from cmonlab.points.records import SHAPE_IPV6
from cmonlab.schema import columns

from ..correlation.correlate import Journeys, Stages
from ..correlation.order import Columns
from .category import relabelled
from .crossing import NOWHERE, Crossing, DirectedEdge
from .graph import Graph
from .names import Names

_OUT, _IN, _DROP = 1, 2, 3
_QUANTILES = {"delay_p50_ns": 0.5, "delay_p99_ns": 0.99}
#: Width of a window of captured events.
WINDOW_NS = 10**9

#: Edge, visit, whether it counts as a packet, and its delay in ns (NaN if there is none).
_Part = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class _Visits:
    """Visits of packets at devices: consecutive hops at which one device sends, or receives, one packet.

    Attributes
    ----------
    journey, device, stage : numpy.ndarray of int64, shape (visits,)
        Journey, position of the device, and `_OUT` or `_IN`.
    last_ns : numpy.ndarray of int64, shape (visits,)
        Time of the last hop of the visit.
    event : numpy.ndarray of int64, shape (visits,)
        Event of the first hop.
    follows : numpy.ndarray of bool, shape (visits,)
        Whether the visit before belongs to the same packet.
    """

    def __init__(self, events: Columns, found: Journeys, stages: Stages, device_of: np.ndarray):
        point = found.hops.point
        stage_of = np.where(stages.of("transmit", point), _OUT, np.where(stages.of("receive", point), _IN, 0))
        code = found.hops.code.take(found.event)
        at_device = np.flatnonzero(stage_of.take(code))
        code, event = code[at_device], found.event[at_device].astype(np.int64)
        journey = np.repeat(np.arange(len(found)), np.diff(found.start))[at_device]
        key = device_of.take(code) * 4 + stage_of.take(code)
        begins = np.ones(len(key), bool)
        begins[1:] = (key[1:] != key[:-1]) | (journey[1:] != journey[:-1])
        first = np.flatnonzero(begins)
        last = np.append(first[1:], len(key))[: len(first)] - 1
        self.journey, self.device, self.stage = journey[first], key[first] // 4, key[first] % 4
        self.event, self.last_ns = event[first], events["ts_ns"][event[last]]
        self.follows = np.zeros(len(first), bool)
        self.follows[1:] = self.journey[1:] == self.journey[:-1]


def captured(events: Columns, found: Journeys, names: Names, stages: Stages, windows: bool = False) -> pd.DataFrame:
    """Return what crossed each edge of the graph in each direction.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    found : Journeys
        From `correlate.correlate`.
    names : Names
        Names of the recording.
    stages : Stages
        The stage of each point.
    windows : bool
        One row per edge, direction and second; otherwise one per edge and direction.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("edges")``.

    Notes
    -----
    A packet crosses an edge when the device at its end receives it, or sends it if the other end has no device that was
    traced. The delay is from the last point at the sending device to the last point at the receiving one
    (``netif_receive_skb``), so it includes waiting for the softirq. The delay of a tunnel is from one of its ends to
    the other. Edges without a device on both sides have no delay. A dropped packet counts at the edge where it was
    last seen.
    """
    if len(events["ts_ns"]) == 0:
        return pd.DataFrame({name: [] for name in columns("edges")})
    hops = found.hops
    words = hops.netns.astype(np.uint64) << np.uint64(32) | hops.ifindex
    device_of, devices = pd.factorize(words)
    crossing = Crossing(Graph(names, devices))
    visits = _Visits(events, found, stages, device_of.astype(np.int64))
    crossed = [*_received(events, visits, crossing, names), *_sent(visits, crossing), *_tunnels(visits, crossing)]
    edge, visit, counts, took = (np.concatenate(parts) for parts in zip(*crossed, strict=True))
    lost_edge, lost_at = _dropped(events, found, stages, visits, crossing, names)
    begin = int(events["ts_ns"][0])
    width = WINDOW_NS if windows else int(events["ts_ns"][-1]) - begin + 1
    event = visits.event[visit]
    rows = pd.DataFrame(
        {
            "edge": np.append(edge, lost_edge),
            "window": (events["ts_ns"][np.append(event, lost_at)] - begin) // width,
            "packets": np.append(counts, np.zeros(len(lost_at), bool)).astype(np.int64),
            "bytes": np.append(events["len_bytes"][event] * counts, np.zeros(len(lost_at))).astype(np.int64),
            "dropped": np.repeat([0, 1], [len(event), len(lost_at)]),
            "took": np.append(took, np.full(len(lost_at), np.nan)),
        }
    )
    each = rows[rows["edge"] != NOWHERE].groupby(["window", "edge"])
    table = each[["packets", "bytes", "dropped"]].sum()
    for name, quantile in _QUANTILES.items():
        table[name] = each["took"].quantile(quantile)
    table = table.reset_index()
    table["start_ns"] = begin + table["window"] * width
    table["end_ns"] = np.minimum(table["start_ns"] + width, int(events["ts_ns"][-1]) + 1)
    return finished(table, crossing.directed)


def finished(table: pd.DataFrame, directed: list[DirectedEdge]) -> pd.DataFrame:
    """Complete a table of numbered edges with names, rates and loss.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per directed edge and window: edge (int), start_ns, end_ns, packets, bytes, dropped, and quantiles of
        the delay in ns.
    directed : list of DirectedEdge
        The edges by their numbers.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("edges")``.
    """
    edge, packets = table["edge"].to_numpy(), table["packets"] + table["dropped"]
    return table.assign(
        src=relabelled(edge, [one.src for one in directed]),
        dst=relabelled(edge, [one.dst for one in directed]),
        throughput_bps=table["bytes"] * 8e9 / np.maximum(table["end_ns"] - table["start_ns"], 1),
        loss=table["dropped"] / packets.where(packets > 0),
    )[columns("edges")]


def _received(events: Columns, visits: _Visits, crossing: Crossing, names: Names) -> Iterator[_Part]:
    """Yield edges, visits, whether each visit counts there, and its delay (ns): what devices received."""
    at = np.flatnonzero(visits.stage == _IN)
    device = visits.device[at]
    sent = visits.follows[at] & (visits.stage[at - 1] == _OUT)
    took = np.where(sent, visits.last_ns[at] - visits.last_ns[at - 1], np.nan)
    from_child = sent & crossing.child[visits.device[at - 1]]
    edge = np.where(from_child, NOWHERE, crossing.into[device])
    whole = np.ones(len(at), bool)
    for place, givers in crossing.given.items():
        here = np.flatnonzero(device == place)
        own = _owners(events, visits, at[here], "saddr", names, givers)
        edge[here] = np.where(own == NOWHERE, edge[here], own)
    yield edge, at, whole, np.where(crossing.timed[device] & ~from_child, took, np.nan)
    yield crossing.out[visits.device[at[from_child] - 1]], at[from_child], whole[from_child] & False, took[from_child]
    goes_on = np.zeros(len(at), bool)
    goes_on[:-1] = visits.follows[at[:-1] + 1] & crossing.child[visits.device[at[:-1] + 1]]
    for place, takers in crossing.taken.items():
        here = at[(device == place) & ~goes_on]
        own = _owners(events, visits, here, "daddr", names, takers)
        yield own, here, np.ones(len(here), bool), np.full(len(here), np.nan)


def _owners(
    events: Columns, visits: _Visits, at: np.ndarray, address: str, names: Names, directed: Mapping[str, int]
) -> np.ndarray:
    """Return the edge of the owner of each packet's address, `NOWHERE` if there is none.

    `address` is the column of the address, `directed` maps owners to edges.
    """
    event = visits.event[at]
    owner = names.endpoints(events[address][event], events["shape"][event] & SHAPE_IPV6, events["ts_ns"][event])
    return np.array([directed.get(name, NOWHERE) for name in owner.categories] + [NOWHERE], np.int64)[owner.codes]


def _sent(visits: _Visits, crossing: Crossing) -> Iterator[_Part]:
    """Yield the same of what devices sent, if no other device will see it."""
    at = np.flatnonzero((visits.stage == _OUT) & crossing.counts_out[visits.device])
    yield crossing.out[visits.device[at]], at, np.ones(len(at), bool), np.full(len(at), np.nan)


def _tunnels(visits: _Visits, crossing: Crossing) -> Iterator[_Part]:
    """Yield the same of tunnels: from the last device that encapsulated a packet to the one that decapsulated it."""
    inside = crossing.tunnel[visits.device]
    at = np.flatnonzero(inside & (visits.stage == _IN))
    put = np.where(inside & (visits.stage == _OUT), np.arange(len(inside)), -1)
    before = np.maximum.accumulate(put)[at] if len(at) else at
    same = (before >= 0) & (visits.journey[before] == visits.journey[at])
    at, before = at[same], before[same]
    pair, distinct = pd.factorize(visits.device[before] * len(crossing.devices) + visits.device[at])
    directed = [crossing.between(*divmod(int(one), len(crossing.devices))) for one in distinct]
    took = (visits.last_ns[at] - visits.last_ns[before]).astype(float)
    yield np.array(directed, np.int64)[pair], at, np.ones(len(at), bool), took


def _dropped(
    events: Columns, found: Journeys, stages: Stages, visits: _Visits, crossing: Crossing, names: Names
) -> tuple[np.ndarray, np.ndarray]:
    """Return edge and event of each dropped packet: the edge over which it came to the place where it was last seen."""
    last = found.last.astype(np.int64)
    ended = np.flatnonzero(stages.of("drop", events["point"][last]))
    final = np.searchsorted(visits.journey, ended, side="right") - 1
    known = (final >= 0) & (np.append(visits.journey, -1)[final] == ended)
    ended, final = ended[known], final[known]
    came = visits.stage[final] == _IN
    device = visits.device[final]
    edge = np.where(came, crossing.into[device], crossing.out[device])
    for place, takers in crossing.taken.items():
        here = np.flatnonzero(came & (device == place))
        own = _owners(events, visits, final[here], "daddr", names, takers)
        edge[here] = np.where(own == NOWHERE, edge[here], own)
    return edge, last[ended]
