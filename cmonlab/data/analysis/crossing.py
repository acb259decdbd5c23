"""Map devices to edges: which edge of the graph a packet crosses when a device receives or sends it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .graph import CHILDREN, Device, Graph, is_loopback

NOWHERE = -1


class DirectedEdge(NamedTuple):
    """One direction of an edge: the names of its nodes."""

    src: str
    dst: str


class Crossing:
    """Directed edges by the devices at which packets cross them.

    Parameters
    ----------
    graph : Graph
        Graph of a recording. Positions of devices are those in ``graph.passed``.

    Attributes
    ----------
    directed : list of DirectedEdge
        Directed edges in order of their numbers. The following arrays have one value per device.
    into, out : numpy.ndarray of int64, shape (devices,)
        Number of the directed edge of what the device received, and of what it sent; `NOWHERE` if the device is not
        part of the graph.
    counts_out : numpy.ndarray of bool, shape (devices,)
        Whether packets are counted when the device sends them, because no device at the other end sees them.
    timed : numpy.ndarray of bool, shape (devices,)
        Whether what it received was sent by another device at the other end.
    tunnel, port : numpy.ndarray of bool, shape (devices,)
        Whether it is the end of a tunnel, or a port of a bridge.
    child : numpy.ndarray of bool, shape (devices,)
        Whether it is attached to another device (macvlan, for example).
    given, taken : dict of int to dict of str to int
        Device (position) → owner of the packet's source or destination address → the directed edge from or to the
        owner. Used where several owners share one device.
    children : dict of int to dict of str to int
        Device (position) → owner → the directed edge from the owner, where the owner's device is attached to this one.
    """

    def __init__(self, graph: Graph):
        self._graph = graph
        self._numbers: dict[DirectedEdge, int] = {}
        self.devices = graph.passed
        n = len(self.devices)
        self.into, self.out = np.full((2, n), NOWHERE, np.int64)
        self.counts_out, self.timed, self.tunnel, self.child, self.port = np.zeros((5, n), bool)
        self.given: dict[int, dict[str, int]] = {}
        self.taken: dict[int, dict[str, int]] = {}
        self.children: dict[int, dict[str, int]] = {}
        for at, device in enumerate(self.devices):
            if device in graph.devices:
                self._place(at, device)

    @property
    def directed(self) -> list[DirectedEdge]:
        """Directed edges in order of their numbers."""
        return list(self._numbers)

    def number(self, src: str, dst: str) -> int:
        """Return the number of a directed edge; it gets the next number if it has none.

        Parameters
        ----------
        src, dst : str
            Names of its nodes.

        Returns
        -------
        int
        """
        return self._numbers.setdefault(DirectedEdge(src, dst), len(self._numbers))

    def between(self, a: int, b: int) -> int:
        """Return the number of the directed edge between two ends of a tunnel.

        Parameters
        ----------
        a, b : int
            Positions of the devices.

        Returns
        -------
        int
            `NOWHERE` if they are not ends of one tunnel.
        """
        one, other = self.devices[a], self.devices[b]
        if not self._graph.same_tunnel(one, other):
            return NOWHERE
        return self.number(self._graph.device(one).name, self._graph.device(other).name)

    def under(self, at: int) -> int:
        """Return the namespace that the encapsulated packets of a tunnel's end, given by position, are sent in."""
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
            below = next((parent for parent, children in graph.parents.items() if device in children), device)
            self._join(at, graph.device(below).name, graph.inside(device).name, True)
        elif is_loopback(row):
            self._loopback(at, device)
        else:
            inner = graph.inside(device) if row.master else graph.space(device[0])
            self._join(at, graph.device(device).name, inner.name, True)
        for child in graph.parents.get(device, ()):
            name, here = graph.inside(child).name, graph.device(device).name
            self.taken.setdefault(at, {})[name] = self.number(here, name)
            self.children.setdefault(at, {})[name] = self.number(name, here)

    def _join(self, at: int, outside: str, inside: str, counts_out: bool) -> None:
        self.into[at], self.out[at] = self.number(outside, inside), self.number(inside, outside)
        self.counts_out[at] = counts_out

    def _loopback(self, at: int, device: Device) -> None:
        here, self.timed[at] = self._graph.space(device[0]).name, True
        self.into[at] = self.out[at] = self.number(here, here)
        for name in self._graph.guests(device[0]):
            self.given.setdefault(at, {})[name] = self.number(name, here)
            self.taken.setdefault(at, {})[name] = self.number(here, name)
