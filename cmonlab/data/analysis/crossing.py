"""Which edge of the graph a packet crosses when a device receives or sends it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .graph import CHILDREN, Device, Graph, is_loopback

NOWHERE = -1


class Way(NamedTuple):
    """An edge, one way: names of its nodes."""

    src: str
    dst: str


class Crossing:
    """Edges by the devices at which packets cross them.

    Parameters
    ----------
    graph : Graph
        Of the devices that packets passed; positions are in its list of them.

    Attributes
    ----------
    ways : list of Way
        In order of their numbers, which the following arrays hold, one value a device; `NOWHERE` where a
        device is no part of the graph.
    into, out : numpy.ndarray of int64
        The way that a packet took which the device received, and the way of what it sent.
    counts_out : numpy.ndarray of bool
        Whether what it sent is counted here: no device of the other end will see it.
    timed : numpy.ndarray of bool
        Whether what it received left another device at the other end.
    tunnel, port : numpy.ndarray of bool
        Whether it is the end of a tunnel, or a port of a bridge.
    child : numpy.ndarray of bool
        Whether it sits on another device.
    given, taken : dict of int to dict of str to int
        Device (position) → owner of the packet's source, or destination → the way from there, or to there:
        where no device tells them apart.
    sons : dict of int to dict of str to int
        Device → owner → the way from there, where that is a device which sits on it.
    """

    def __init__(self, graph: Graph):
        self._graph, self._numbers = graph, {}
        self.devices = graph.passed
        n = len(self.devices)
        self.into, self.out = np.full((2, n), NOWHERE, np.int64)
        self.counts_out, self.timed, self.tunnel, self.child, self.port = np.zeros((5, n), bool)
        self.given: dict[int, dict[str, int]] = {}
        self.taken: dict[int, dict[str, int]] = {}
        self.sons: dict[int, dict[str, int]] = {}
        for at, device in enumerate(self.devices):
            if device in graph.devices:
                self._place(at, device)

    @property
    def ways(self) -> list[Way]:
        return list(self._numbers)

    def way(self, src: str, dst: str) -> int:
        """Return the number of a way, a new one where it has none."""
        return self._numbers.setdefault(Way(src, dst), len(self._numbers))

    def between(self, a: int, b: int) -> int:
        """Return the number of the way from one end of a tunnel to another, given the devices' positions."""
        one, other = self.devices[a], self.devices[b]
        if not self._graph.same_tunnel(one, other):
            return NOWHERE
        return self.way(self._graph.device(one).name, self._graph.device(other).name)

    def under(self, at: int) -> int:
        """Return the namespace in which what a tunnel's end wraps goes on."""
        return self._graph.under(self.devices[at])

    def _place(self, at: int, device: Device) -> None:
        graph = self._graph
        row = graph.devices[device]
        peer = graph.peers.get(device)
        self.timed[at] = peer is not None
        self.port[at] = bool(row.master)
        self.tunnel[at], self.child[at] = row.kind == "vxlan", row.kind in CHILDREN
        if peer is not None:
            self._join(at, graph.inside(peer).name, graph.inside(device).name, False)
        elif row.kind == "bridge":
            if row.addresses:
                self._join(at, graph.device(device).name, graph.space(device[0]).name, True)
        elif row.kind in CHILDREN:
            below = next((parent for parent, sons in graph.parents.items() if device in sons), device)
            self._join(at, graph.device(below).name, graph.inside(device).name, True)
        elif is_loopback(row):
            self._loopback(at, device)
        else:
            inner = graph.inside(device) if row.master else graph.space(device[0])
            self._join(at, graph.device(device).name, inner.name, True)
        for son in graph.parents.get(device, ()):
            name, here = graph.inside(son).name, graph.device(device).name
            self.taken.setdefault(at, {})[name] = self.way(here, name)
            self.sons.setdefault(at, {})[name] = self.way(name, here)

    def _join(self, at: int, outside: str, inside: str, counts_out: bool) -> None:
        self.into[at], self.out[at] = self.way(outside, inside), self.way(inside, outside)
        self.counts_out[at] = counts_out

    def _loopback(self, at: int, device: Device) -> None:
        here, self.timed[at] = self._graph.space(device[0]).name, True
        self.into[at] = self.out[at] = self.way(here, here)
        for name in self._graph.guests(device[0]):
            self.given.setdefault(at, {})[name] = self.way(name, here)
            self.taken.setdefault(at, {})[name] = self.way(here, name)
