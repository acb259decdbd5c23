"""The network as a graph: which namespace, bridge and device is wired to which, and by what."""

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
#: Devices of these kinds sit on another one, which takes their packets and hands them out.
CHILDREN = ("macvlan", "macvtap", "ipvlan", "ipvtap")
#: What only the network namespace of a host has.
_OF_HOSTS = ("bridge", "vxlan")


class Link(NamedTuple):
    """What of a row of the table of links is looked at."""

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
    """What packets come to: a namespace, a bridge, or a device that is none of a container's ends."""

    name: str
    kind: str
    netns: int


class Edge(NamedTuple):
    """Two nodes and what joins them; a device is (0, 0) where a node has none on it."""

    a: Node
    b: Node
    kind: str
    a_device: Device
    b_device: Device


class Graph:
    """What the interfaces of a recording say of its network.

    Parameters
    ----------
    names : Names
        Of the recording; its table of links is read.
    passed : numpy.ndarray of uint64
        Distinct words ``netns << 32 | ifindex`` of the devices that packets passed.

    Attributes
    ----------
    devices : dict of (int, int) to Link
        The last row of each interface.
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
        """Namespaces of hosts."""
        found = {netns for (netns, _), row in self.devices.items() if row.kind in _OF_HOSTS}
        return found | {netns for netns, _ in self.devices if self.names.namespace(netns) == "host"}

    def space(self, netns: int) -> Node:
        """Return the node of a namespace."""
        return Node(self.names.namespace(netns), "host" if netns in self._hosts else "container", netns)

    def device(self, device: Device) -> Node:
        """Return the node of a device of its own."""
        kind = self.devices[device].kind
        return Node(self.names.place(*device), kind if kind in _OF_HOSTS else "interface", device[0])

    def inside(self, device: Device) -> Node:
        """Return the node that a device hands to what it receives, and sends for."""
        row = self.devices[device]
        master = row.netns, row.master
        if device in self.parents:
            return self.device(device)
        if row.master and master in self.devices:
            return self.device(master)
        return self.space(row.netns)

    def guests(self, netns: int) -> list[str]:
        """Return the names of the containers that share a namespace which is called otherwise."""
        return self._guests.get(netns, [])

    @cached_property
    def parents(self) -> dict[Device, list[Device]]:
        """Devices that others sit on (macvlan), with those."""
        found: dict[Device, list[Device]] = defaultdict(list)
        for device, row in self.devices.items():
            below = row.link_netns or row.netns, row.lower
            if row.kind in CHILDREN and below in self.devices:
                found[below].append(device)
        return dict(found)

    @cached_property
    def peers(self) -> dict[Device, Device]:
        """The other end of each veth, where it is in sight.

        An ifindex is unique within its namespace only. Where the links do not say which namespace the
        other end is in, it is the one device that takes this one for its own other end.
        """
        told: dict[tuple[int, int], list[Device]] = defaultdict(list)
        veths = {device: row for device, row in self.devices.items() if row.kind == "veth" and row.peer}
        for device, row in veths.items():
            told[row.ifindex, row.peer].append(device)
        found = {}
        for device, row in veths.items():
            others = [
                other
                for other in told[row.peer, row.ifindex]
                if other != device and row.link_netns in (0, other[0]) and veths[other].link_netns in (0, device[0])
            ]
            if len(others) == 1:
                found[device] = others[0]
        return found

    # ---- edges -----------------------------------------------------------------

    @cached_property
    def edges(self) -> list[Edge]:
        """Every connection once; a container, or what is nearer to one, comes first."""
        tunnels = [device for device, row in self.devices.items() if row.kind == "vxlan"]
        return self._wires + [
            Edge(self.device(a), self.device(b), "tunnel", a, b)
            for a, b in combinations(tunnels, 2)
            if self.same_tunnel(a, b)
        ]

    @cached_property
    def _wires(self) -> list[Edge]:
        """Every edge but tunnels."""
        return list(dict.fromkeys(edge for device in self.devices for edge in self._of(device)))

    def same_tunnel(self, a: Device, b: Device) -> bool:
        """Tell whether two vxlan devices are ends of one overlay.

        They have its number, or one name where that is not known, and what they wrap can come from
        one to the other: other overlays on this machine may have the same number.
        """
        one, other = self.devices[a], self.devices[b]
        alike = one.vni == other.vni if one.vni and other.vni else one.name == other.name
        islands = [self._islands.get(self.space(self.under(end)).name) for end in (a, b)]
        return a[0] != b[0] and alike and islands[0] == islands[1]

    def under(self, tunnel: Device) -> int:
        """Return the namespace in which what a tunnel's end wraps goes on."""
        row = self.devices[tunnel]
        return int(row.link_netns or row.netns)

    @cached_property
    def _islands(self) -> dict[str, str]:
        """A name for the part of the network that each node is in, without tunnels: that of one of its nodes."""
        island: dict[str, str] = {}

        def top(name: str) -> str:
            while island.setdefault(name, name) != name:
                name = island[name]
            return name

        for edge in self._wires:
            island[top(edge.a.name)] = top(edge.b.name)
        return {name: top(name) for name in list(island)}

    def _of(self, device: Device) -> Iterator[Edge]:
        """Yield the edges that a device makes."""
        row, none = self.devices[device], (0, 0)
        if row.kind == "veth":
            yield self._veth(device)
        elif row.kind == "bridge":
            if row.addresses:
                yield Edge(self.space(row.netns), self.device(device), "gateway", device, none)
        elif row.kind == "vxlan":
            yield Edge(self.inside(device), self.device(device), _port(row), none, device)
        elif row.kind in CHILDREN:
            below = next((parent for parent, sons in self.parents.items() if device in sons), None)
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
        # The same whichever end it is made from.
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
        """Return one row an edge; columns of ``schema.TABLES["topology"]``."""
        hosts = self._homes()
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

    def _homes(self) -> dict[int, str]:
        """Return the name of the host's namespace that each namespace is wired to."""
        homes = {netns: self.names.namespace(netns) for netns, _ in self.devices}
        for edge in self.edges:
            for one, other in ((edge.a.netns, edge.b.netns), (edge.b.netns, edge.a.netns)):
                if one not in self._hosts and other in self._hosts:
                    homes[one] = self.names.namespace(other)
        return homes


_RANK = {"container": 0, "host": 1, "interface": 2, "bridge": 3, "vxlan": 4}


def is_loopback(row: Link) -> bool:
    """Tell whether a device is the loopback of its namespace."""
    return row.ifindex == _LOOPBACK and not row.kind


def _port(row: Link) -> str:
    """Return what joins a device to what it is in: a bridge, or the namespace itself."""
    return "port" if row.master else "device" if row.kind else "uplink"
