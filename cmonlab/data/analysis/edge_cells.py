"""Traffic, loss and delay of each edge of the graph, from aggregates."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np
import pandas as pd

from cmonlab.points.records import SHAPE_IPV6

from .aggregate import DROP, HOP, SEGMENT, Cells, Context, device, number, take, total
from .crossing import NOWHERE, Crossing
from .edges import finished
from .graph import Graph
from .histogram import quantiles

#: Points at which packets of one edge are counted: the first of these that counted any.
_RECEIVED = ("netif_rx", "napi_gro_receive_entry", "netif_receive_skb")
_SENT = ("net_dev_start_xmit", "qdisc_dequeue", "qdisc_enqueue", "net_dev_queue")
_QUANTILES = {"delay_p50_ns": 0.5, "delay_p99_ns": 0.99}
_UNTIMED = -1

#: Directed edge, position among the cells, whether the cell counts packets, and the part of the delay that it times.
Part = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class _Passed:
    """Cells of packets that devices received, sent or dropped, and the position of the device in the graph.

    Attributes
    ----------
    cells : dict of str to numpy.ndarray
        Cells that count hops, segments and drops; the arrays below have one value per cell.
    at : numpy.ndarray of int64
        Position of the cell's device in `crossing`.
    came, sent, dropped : numpy.ndarray of bool
        Whether the cell counts what the device received, sent or dropped.
    pair : numpy.ndarray of int64
        Number of the pair of addresses.
    at_home : numpy.ndarray of bool
        Whether one of the two addresses belongs to the device's namespace.
    """

    def __init__(self, cells: Cells, context: Context):
        self.cells = cells = take(cells, np.isin(cells["kind"], (HOP, SEGMENT, DROP)) & (cells["ifindex"] > 0))
        self.at, devices = pd.factorize(device(cells))
        self.crossing = Crossing(Graph(context.names, devices))
        self.dropped = cells["kind"] == DROP
        self.came = ~self.dropped & context.stages.of("receive", cells["point"])
        self.sent = ~self.dropped & context.stages.of("transmit", cells["point"])
        self.pair = number(cells["saddr"], cells["daddr"])[0]
        own = [cells["netns"].astype(np.uint64) << np.uint64(32) | cells[end] for end in ("saddr", "daddr")]
        self.at_home = np.isin(own[0], context.names.local) | np.isin(own[1], context.names.local)
        self.context = context

    def among(self, directed: dict[str, int], address: str, rows: np.ndarray) -> np.ndarray:
        """Return the edge of the owner of each cell's address, `NOWHERE` if there is none.

        Parameters
        ----------
        directed : dict of str to int
            Owner → edge.
        address : {"saddr", "daddr"}
            Which address.
        rows : numpy.ndarray of int64
            Positions of the cells wanted.
        """
        ends = self.cells[address][rows], self.cells["shape"][rows] & SHAPE_IPV6, self.cells["end_ns"][rows]
        owner = self.context.names.endpoints(*ends)
        return np.array([directed.get(name, NOWHERE) for name in owner.categories] + [NOWHERE], np.int64)[owner.codes]

    def part(self, rows: np.ndarray) -> np.ndarray:
        """Return the part of a delay that each cell times: to the device (0), to its stack (1), or -1 if none."""
        stack = self.cells["point"][rows] == self.context.points.get(_RECEIVED[-1], -1)
        return np.where(self.cells["kind"][rows] == SEGMENT, stack.astype(np.int64), _UNTIMED)


def counted(cells: Cells, context: Context, windows: bool = False) -> pd.DataFrame:
    """Return what crossed each edge of the graph in each direction.

    Parameters
    ----------
    cells : mapping of str to numpy.ndarray
        Columns of `cmonlab.data.store.cells`.
    context : Context
        Names and meanings of the numbers.
    windows : bool
        One row per edge, direction and window; otherwise one per edge and direction.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("edges")``.

    Notes
    -----
    As in `edges.captured`, with two differences. If a delay was counted in several segments (the backlog behind the
    device, the devices below a tunnel), its quantiles are the sums of the segments' quantiles, because histograms do
    not keep which times belong to one packet. That is exact if the segments rise and fall together or only one of them
    varies, and approximate otherwise. Drops without a device are not included. If several rules counted an edge, the
    one that counted most packets is used.
    """
    passed = _Passed(cells, context)
    cells, crossing = passed.cells, passed.crossing
    if not windows and len(cells["start_ns"]):
        ends = {"start_ns": cells["start_ns"].min(), "end_ns": cells["end_ns"].max()}
        cells = passed.cells = {**cells, **{name: np.full_like(cells[name], end) for name, end in ends.items()}}
    parts = [*_received(passed), *_others(passed), *_tunnels(passed)]
    edge, row, counts, part = (np.concatenate(some) for some in zip(*parts, strict=True))
    known = edge != NOWHERE
    edge, row, counts, part = (some[known] for some in (edge, row, counts, part))
    group, first = number(cells["start_ns"][row], cells["rule"][row], edge)
    table = pd.DataFrame(
        {
            "start_ns": cells["start_ns"][row][first],
            "end_ns": cells["end_ns"][row][first],
            "edge": edge[first],
            **_traffic(passed, group[counts], row[counts], len(first)),
            **_delays(passed, group[part != _UNTIMED], row[part != _UNTIMED], part[part != _UNTIMED], len(first)),
            "dropped": total(group, cells["packets"][row] * passed.dropped[row], len(first)),
        }
    )
    most = table.sort_values(["packets", "dropped"], ascending=False, kind="stable")
    table = most.drop_duplicates(["start_ns", "edge"]).sort_values(["start_ns", "edge"], ignore_index=True)
    return finished(table, crossing.directed)


def _received(passed: _Passed) -> Iterator[Part]:
    """Yield the cells of what devices received."""
    crossing, rows = passed.crossing, np.flatnonzero(passed.came)
    at, none = passed.at[rows], np.full(len(rows), _UNTIMED)
    edge, part = crossing.into[at], np.where(crossing.timed[at], passed.part(rows), _UNTIMED)
    for place, givers in crossing.given.items():
        here = np.flatnonzero(at == place)
        own = passed.among(givers, "saddr", rows[here])
        edge[here] = np.where(own == NOWHERE, edge[here], own)
    for place, children in crossing.children.items():
        here = np.flatnonzero(at == place)
        own = passed.among(children, "saddr", rows[here])
        edge[here[own != NOWHERE]] = NOWHERE
        yield own, rows[here], np.zeros(len(here), bool), passed.part(rows[here])
    yield edge, rows, np.ones(len(rows), bool), part
    seen = np.unique(passed.pair[rows[crossing.child[at]]])
    for place, takers in crossing.taken.items():
        here = np.flatnonzero((at == place) & ~np.isin(passed.pair[rows], seen))
        yield passed.among(takers, "daddr", rows[here]), rows[here], np.ones(len(here), bool), none[here]


def _others(passed: _Passed) -> Iterator[Part]:
    """Yield the cells of what devices sent, if no other device will see it, and of what was dropped."""
    crossing, at = passed.crossing, passed.at
    rows = np.flatnonzero(passed.sent & crossing.counts_out[at])
    yield crossing.out[at[rows]], rows, np.ones(len(rows), bool), np.full(len(rows), _UNTIMED)
    # The kernel does not count the direction of a dropped packet; it follows from other packets of its pair.
    place = passed.pair * len(crossing.devices) + at
    rows = np.flatnonzero(passed.dropped)
    went = np.isin(place[rows], place[passed.sent]) & ~np.isin(place[rows], place[passed.came])
    edge = np.where(went, crossing.out[at[rows]], crossing.into[at[rows]])
    for where, takers in crossing.taken.items():
        here = np.flatnonzero(~went & (at[rows] == where))
        own = passed.among(takers, "daddr", rows[here])
        edge[here] = np.where(own == NOWHERE, edge[here], own)
    yield edge, rows, np.zeros(len(rows), bool), np.full(len(rows), _UNTIMED)


def _tunnels(passed: _Passed) -> Iterator[Part]:
    """Yield the cells of packets in tunnels: where they come out and, for the delay, the devices between the ends."""
    crossing, cells, at = passed.crossing, passed.cells, passed.at
    segment = cells["kind"] == SEGMENT
    for a, b in permutations(np.flatnonzero(crossing.tunnel).tolist(), 2):
        edge = crossing.between(a, b)
        if edge == NOWHERE:
            continue
        out = np.flatnonzero(passed.came & (at == b))
        out = out[np.isin(passed.pair[out], passed.pair[passed.sent & (at == a)])]
        mine = segment & np.isin(passed.pair, passed.pair[out])
        under = [crossing.under(one) for one in (a, b)]
        below = mine & ~crossing.port[at] & (at != a) & (at != b)
        sent = np.flatnonzero(below & passed.sent & (cells["netns"] == under[0]))
        came = np.flatnonzero(below & passed.came & (cells["netns"] == under[1]))
        ends = [*under, *(crossing.devices[one][0] for one in (a, b))]
        between = np.flatnonzero(mine & ~np.isin(cells["netns"], ends) & ~passed.at_home)
        yield np.full(len(out), edge), out, np.ones(len(out), bool), passed.part(out)
        for rows in (sent, came, between):
            # Parts 0 and 1 are those of the tunnel's end; higher numbers are those of other devices.
            part = np.where(passed.sent[rows], cells["point"][rows], passed.part(rows) + 256)
            yield np.full(len(rows), edge), rows, np.zeros(len(rows), bool), 2 + at[rows] * 512 + part


def _traffic(passed: _Passed, group: np.ndarray, row: np.ndarray, groups: int) -> dict[str, np.ndarray]:
    """Return packets and bytes of each group, counted at one point only."""
    cells, points = passed.cells, passed.context.points
    order = np.array([points.get(name, -1) for name in (*_RECEIVED, *_SENT)])
    rank = (cells["point"][row][:, None] == order).argmax(axis=1)
    sums = [
        total(group * len(order) + rank, cells[name][row], groups * len(order)).reshape(groups, -1)
        for name in ("packets", "bytes")
    ]
    first = (sums[0] > 0).argmax(axis=1)
    return dict(zip(("packets", "bytes"), (of[np.arange(groups), first] for of in sums), strict=True))


def _delays(
    passed: _Passed, group: np.ndarray, row: np.ndarray, part: np.ndarray, groups: int
) -> dict[str, np.ndarray]:
    """Return the sum of the parts' quantiles of each group."""
    cells = passed.cells
    code, first = number(group, part)
    found = quantiles(code, cells["bucket"][row], cells["packets"][row], len(first), list(_QUANTILES.values()))
    sums = [np.bincount(group[first], values, groups) for values in found]
    timed = np.bincount(group[first], minlength=groups) > 0
    return {name: np.where(timed, values, np.nan) for name, values in zip(_QUANTILES, sums, strict=True)}
