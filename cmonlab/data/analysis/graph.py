"""The network as a graph: how namespaces, bridges and devices are connected."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from cmonlab.schema import columns

from .names import Names

Device = tuple[int, int]
"""Inode number of a namespace, and ifindex in it."""

_LOOPBACK = 1  # net/core/dev.c: of each namespace, it is the first device
#: Devices of these kinds are attached to another device, which sends and receives their packets.
CHILDREN = ("macvlan", "macvtap", "ipvlan", "ipvtap")
#: Kinds of devices that only a host's network namespace has.
_OF_HOSTS = ("bridge", "vxlan")


class Link(NamedTuple):
    """The columns of the links table that the graph is built from."""

    netns: int
    ifindex: int
    namespace: str
    name: str
    kind: str
    master: int
    peer: int
    lower: int
    link_netns: int
    vni: int
    addresses: list[str]


class Node(NamedTuple):
    """A node: a namespace, a bridge, or another device that packets pass between namespaces."""

    name: str
    kind: str
    netns: int


class Edge(NamedTuple):
    """Two nodes and the kind of their connection; a device is (0, 0) if the node has no device on it."""

    a: Node
    b: Node
    kind: str
    a_device: Device
    b_device: Device


class Graph:
    """The network of a recording, built from its table of links.

    Parameters
    ----------
    names : Names
        Names of the recording, with its table of links.
    passed : numpy.ndarray of uint64, shape (devices,)
        Distinct words ``netns << 32 | ifindex`` of the devices that packets passed.

    Attributes
    ----------
    names : Names
    devices : dict of (int, int) to Link
        (netns, ifindex) → last row of each interface.
    passed : list of (int, int)
        The devices that packets passed.
    """

    def __init__(self, names: Names, passed: np.ndarray):
        self.names = names
        self.passed: list[Device] = [(word >> 32, word & 0xFFFFFFFF) for word in passed.tolist()]
        self.devices: dict[Device, Link] = {}
        self._guests: dict[int, list[str]] = defaultdict(list)
        for row in map(Link._make, zip(*(names.links[field].tolist() for field in Link._fields), strict=True)):
            if row.namespace == names.namespace(row.netns):
                self.devices[row.netns, row.ifindex] = row
            elif row.namespace not in self._guests[row.netns]:
                self._guests[row.netns].append(row.namespace)

    # ---- nodes -----------------------------------------------------------------

    @cached_property
    def _hosts(self) -> set[int]:
        """Inode numbers of hosts' namespaces."""
        found = {netns for (netns, _), row in self.devices.items() if row.kind in _OF_HOSTS}
        return found | {netns for netns, _ in self.devices if self.names.namespace(netns) == "host"}

    def space(self, netns: int) -> Node:
        """Return the node of a namespace."""
        return Node(self.names.namespace(netns), "host" if netns in self._hosts else "container", netns)

    def device(self, device: Device) -> Node:
        """Return the node of a device that is a node itself."""
        kind = self.devices[device].kind
        return Node(self.names.place(*device), kind if kind in _OF_HOSTS else "interface", device[0])

    def inside(self, device: Device) -> Node:
        """Return the node behind a device: the one that it receives and sends packets for."""
        row = self.devices[device]
        master = row.netns, row.master
        if device in self.parents:
            return self.device(device)
        if row.master and master in self.devices:
            return self.device(master)
        return self.space(row.netns)

    def guests(self, netns: int) -> list[str]:
        """Return the names of containers that share a namespace which has another container's name."""
        return self._guests.get(netns, [])

    @cached_property
    def parents(self) -> dict[Device, list[Device]]:
        """Device → the devices that are attached to it (macvlan, for example)."""
        found: dict[Device, list[Device]] = defaultdict(list)
        for device, row in self.devices.items():
            below = row.link_netns or row.netns, row.lower
            if row.kind in CHILDREN and below in self.devices:
                found[below].append(device)
        return dict(found)

    @cached_property
    def peers(self) -> dict[Device, Device]:
        """The other end of each veth, if it was seen.

        An ifindex is unique within its namespace only. If the links do not say which namespace the other end is in, it
        is the one device whose own other end is this device.
        """
        by_ends: dict[tuple[int, int], list[Device]] = defaultdict(list)
        veths = {device: row for device, row in self.devices.items() if row.kind == "veth" and row.peer}
        for device, row in veths.items():
            by_ends[row.ifindex, row.peer].append(device)
        found = {}
        for device, row in veths.items():
            others = [
                other
                for other in by_ends[row.peer, row.ifindex]
                if other != device and row.link_netns in (0, other[0]) and veths[other].link_netns in (0, device[0])
            ]
            if len(others) == 1:
                found[device] = others[0]
        return found

    # ---- edges -----------------------------------------------------------------

    @cached_property
    def edges(self) -> list[Edge]:
        """All edges, each once; the node that is nearer to a container comes first."""
        tunnels = [device for device, row in self.devices.items() if row.kind == "vxlan"]
        return self._wires + [
            Edge(self.device(a), self.device(b), "tunnel", a, b)
            for a, b in combinations(tunnels, 2)
            if self.same_tunnel(a, b)
        ]

    @cached_property
    def _wires(self) -> list[Edge]:
        """All edges except tunnels."""
        return list(dict.fromkeys(edge for device in self.devices for edge in self._of(device)))

    def same_tunnel(self, a: Device, b: Device) -> bool:
        """Return whether two vxlan devices are ends of one overlay.

        They are if they have the same VNI (or the same name, if the VNI is not known) and encapsulated packets can get
        from one to the other. Other overlays on this machine may have the same VNI.

        Parameters
        ----------
        a, b : (int, int)
            The devices: (netns, ifindex).

        Returns
        -------
        bool
        """
        one, other = self.devices[a], self.devices[b]
        alike = one.vni == other.vni if one.vni and other.vni else one.name == other.name
        islands = [self._islands.get(self.space(self.under(end)).name) for end in (a, b)]
        return a[0] != b[0] and alike and islands[0] == islands[1]

    def under(self, tunnel: Device) -> int:
        """Return the namespace that the encapsulated packets of a tunnel's end are sent in."""
        row = self.devices[tunnel]
        return int(row.link_netns or row.netns)

    @cached_property
    def _islands(self) -> dict[str, str]:
        """Name of each node → name of one node of the connected part of the network that it is in, without tunnels."""
        island: dict[str, str] = {}

        def top(name: str) -> str:
            while island.setdefault(name, name) != name:
                name = island[name]
            return name

        for edge in self._wires:
            island[top(edge.a.name)] = top(edge.b.name)
        return {name: top(name) for name in list(island)}

    def _of(self, device: Device) -> Iterator[Edge]:
        """Yield the edges that a device creates."""
        row, none = self.devices[device], (0, 0)
        if row.kind == "veth":
            yield self._veth(device)
        elif row.kind == "bridge":
            if row.addresses:
                yield Edge(self.space(row.netns), self.device(device), "gateway", device, none)
        elif row.kind == "vxlan":
            yield Edge(self.inside(device), self.device(device), _port(row), none, device)
        elif row.kind in CHILDREN:
            below = next((parent for parent, children in self.parents.items() if device in children), None)
            yield Edge(
                self.inside(device),
                self.inside(below) if below else self.device(device),
                row.kind,
                device,
                below or none,
            )
        elif is_loopback(row):
            yield from self._loopback(device)
        elif row.master or row.addresses or device in self.parents:
            inner = self.inside(device) if row.master else self.space(row.netns)
            yield Edge(inner, self.device(device), _port(row), none, device)

    def _veth(self, device: Device) -> Edge:
        peer = self.peers.get(device)
        mine = self.inside(device)
        if peer is None:
            return Edge(mine, self.device(device), "veth", device, (0, 0))
        other = self.inside(peer)
        # The same edge whether it is created from one end or from the other.
        if (_RANK[mine.kind], device) <= (_RANK[other.kind], peer):
            return Edge(mine, other, "veth", device, peer)
        return Edge(other, mine, "veth", peer, device)

    def _loopback(self, device: Device) -> Iterator[Edge]:
        """Yield the edges of a loopback device: to each container that shares the namespace, else to itself."""
        netns, here = device[0], self.space(device[0])
        for name in self.guests(netns):
            yield Edge(Node(name, "container", netns), here, "loopback", (0, 0), device)
        if device in self.passed:
            yield Edge(here, here, "loopback", device, device)

    def table(self) -> pd.DataFrame:
        """Return one row per edge; columns of ``schema.describe("topology")``."""
        hosts = self._host_names()
        rows = [
            {
                "a": edge.a.name,
                "b": edge.b.name,
                "a_kind": edge.a.kind,
                "b_kind": edge.b.kind,
                "kind": edge.kind,
                "a_interface": self._place(edge.a_device),
                "b_interface": self._place(edge.b_device),
                "a_host": hosts[edge.a.netns],
                "b_host": hosts[edge.b.netns],
            }
            for edge in self.edges
        ]
        return pd.DataFrame(rows, columns=columns("topology"), dtype=object)

    def _place(self, device: Device) -> str:
        return self.names.place(*device) if device[1] else ""

    def _host_names(self) -> dict[int, str]:
        """Return netns → name of the host's namespace that it is connected to."""
        names = {netns: self.names.namespace(netns) for netns, _ in self.devices}
        for edge in self.edges:
            for one, other in ((edge.a.netns, edge.b.netns), (edge.b.netns, edge.a.netns)):
                if one not in self._hosts and other in self._hosts:
                    names[one] = self.names.namespace(other)
        return names


_RANK = {"container": 0, "host": 1, "interface": 2, "bridge": 3, "vxlan": 4}


def is_loopback(row: Link) -> bool:
    """Return whether a device is the loopback of its namespace."""
    return row.ifindex == _LOOPBACK and not row.kind


def _port(row: Link) -> str:
    """Return how a device is connected: as a port of a bridge, or to its namespace directly."""
    return "port" if row.master else "device" if row.kind else "uplink"
