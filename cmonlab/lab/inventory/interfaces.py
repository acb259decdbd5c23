"""Interfaces of a network namespace and their history, from rtnetlink messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_IFF_UP = 1
_LOOPBACK = ("127.", "::1")


@dataclass
class _Version:
    """A row of an interface's history: while its name stayed the same and it lost no address."""

    row: dict[str, Any]
    # Whether it was ever up: only then can a packet have passed it.
    up: bool = False
    # Id of the namespace with the other end (IFLA_LINK_NETNSID), which is valid in this namespace only; -1: the
    # other end is here, or there is none.
    nsid: int = -1


class Interfaces:
    """The interfaces of one namespace and their history.

    An interface gets a new row when it is renamed or loses an address, so that the name and the owner of an address
    at the time of a packet can be looked up later. The rows of an interface that was never up, so that no packet can
    have passed it, are kept only while it exists.

    Parameters
    ----------
    netns : int
        Inode number of the namespace.
    """

    def __init__(self, netns: int):
        self.netns = netns
        self._versions: dict[int, list[_Version]] = {}
        self._seen: set[int] = set()
        self._dumped: dict[int, list[str]] | None = None
        self._neighbours: dict[int, int] = {-1: netns}

    @property
    def dumping(self) -> bool:
        """Whether a dump has begun and not ended."""
        return self._dumped is not None

    def begin(self) -> None:
        """Begin a dump: all interfaces and addresses follow until `end`."""
        self._seen, self._dumped = set(), {}

    def end(self, at_ns: int) -> None:
        """End a dump: interfaces and addresses that were not in it are gone since this time (CLOCK_MONOTONIC)."""
        dumped, self._dumped = self._dumped or {}, None
        for index in list(self._versions):
            if index not in self._seen:
                self._gone(index, at_ns)
            else:
                self._set_addresses(index, dumped.get(index, []), at_ns)

    def take(self, message: Any, at_ns: int, since_ns: int | None = None) -> None:
        """Process a message of rtnetlink.

        Parameters
        ----------
        message : pyroute2.netlink.nlmsg
            RTM_NEWLINK, RTM_DELLINK, RTM_NEWADDR or RTM_DELADDR.
        at_ns : int
            When it arrived, in ns of CLOCK_MONOTONIC.
        since_ns : int, optional
            ``from_ns`` of an interface that is new; by default ``at_ns``.
        """
        event, index = message["event"], message["index"]
        if event in ("RTM_NEWADDR", "RTM_DELADDR"):
            # On a point-to-point link IFA_ADDRESS is the address of the other end.
            address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
            if address:
                self._address(index, address, event == "RTM_NEWADDR", at_ns)
        elif event == "RTM_NEWLINK":
            self._seen.add(index)
            self._link(index, message, at_ns, at_ns if since_ns is None else since_ns)
        elif event == "RTM_DELLINK":
            self._seen.discard(index)
            self._gone(index, at_ns)

    def _current(self, index: int) -> _Version | None:
        versions = self._versions.get(index)
        return versions[-1] if versions and not versions[-1].row["to_ns"] else None

    def _begin(self, index: int, row: dict[str, Any], at_ns: int) -> _Version:
        """Begin a row. The row before ends, or is replaced if the interface was never up."""
        versions = self._versions.setdefault(index, [])
        current = self._current(index)
        if current is not None and current.up:
            current.row["to_ns"] = at_ns
        elif current is not None:
            at_ns = versions.pop().row["from_ns"]
        versions.append(_Version(row | {"from_ns": at_ns, "to_ns": 0}))
        return versions[-1]

    def _link(self, index: int, message: Any, at_ns: int, since_ns: int) -> None:
        found = _row(self.netns, message)
        current = self._current(index)
        if current is None:
            first_ns = at_ns if index in self._versions else since_ns
            current = self._begin(index, found | {"addresses": []}, first_ns)
        elif current.row["name"] != found["name"]:
            current = self._begin(index, found | {"addresses": list(current.row["addresses"])}, at_ns)
        # An interface that is being removed first loses its bridge and its peer, which packets have passed.
        kept = {key: found[key] or current.row[key] for key in ("master", "peer", "lower")}
        current.row.update(found | kept)
        number = message.get_attr("IFLA_LINK_NETNSID")
        current.nsid = current.nsid if number is None else number
        current.up |= bool(message["flags"] & _IFF_UP)

    def _gone(self, index: int, at_ns: int) -> None:
        current = self._current(index)
        if current is not None and current.up:
            current.row["to_ns"] = at_ns
        elif current is not None:
            versions = self._versions[index]
            versions.pop()
            if not versions:
                del self._versions[index]

    def _address(self, index: int, address: str, come: bool, at_ns: int) -> None:
        current = self._current(index)
        if self._dumped is not None:
            known = self._dumped.setdefault(index, [])
        elif current is not None:
            known = current.row["addresses"]
        else:
            return
        if (address in known) == come or (not come and address.startswith(_LOOPBACK)):
            return
        changed = [*known, address] if come else [one for one in known if one != address]
        if self._dumped is not None:
            self._dumped[index] = changed
        else:
            self._set_addresses(index, changed, at_ns)

    def _set_addresses(self, index: int, addresses: list[str], at_ns: int) -> None:
        current = self._current(index)
        if current is None:
            return
        if set(current.row["addresses"]) <= set(addresses):
            current.row["addresses"] = addresses
        else:
            self._begin(index, current.row | {"addresses": addresses}, at_ns)

    def addresses(self) -> tuple[str, ...]:
        """Return the current addresses except those of loopback, by ifindex."""
        current = [version for index in sorted(self._versions) if (version := self._current(index))]
        found = (address for version in current for address in version.row["addresses"])
        return tuple(address for address in found if not address.startswith(_LOOPBACK))

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return rows of the table ``links`` by ifindex and time, with this name of the namespace."""
        versions = [version for index in sorted(self._versions) for version in self._versions[index]]
        return [
            version.row
            | {"namespace": name, "link_netns": self._link_netns(version), "addresses": list(version.row["addresses"])}
            for version in versions
        ]

    def _link_netns(self, version: _Version) -> int:
        linked = version.row["peer"] or version.row["lower"] or version.nsid >= 0
        return self._neighbours.get(version.nsid, 0) if linked else 0

    def unresolved_nsids(self) -> set[int]:
        """Return the ids of those namespaces with other ends of interfaces that have no known inode number yet."""
        known = [version.nsid for versions in self._versions.values() for version in versions]
        return set(known) - self._neighbours.keys()

    def add_nsid_mapping(self, neighbours: Mapping[int, int]) -> None:
        """Add ids of namespaces, as this namespace numbers them → inode numbers."""
        self._neighbours |= neighbours

    def forget(self, before_ns: int) -> None:
        """Drop the rows that ended before a time (CLOCK_MONOTONIC, in ns)."""
        for index, versions in list(self._versions.items()):
            kept = [version for version in versions if not 0 < version.row["to_ns"] < before_ns]
            if kept:
                self._versions[index] = kept
            else:
                del self._versions[index]


def _row(netns: int, link: Any) -> dict[str, Any]:
    info, below = link.get_attr("IFLA_LINKINFO"), link.get_attr("IFLA_LINK") or 0
    kind = (info.get_attr("IFLA_INFO_KIND") if info is not None else None) or ""
    data = info.get_attr("IFLA_INFO_DATA") if kind == "vxlan" else None
    return {
        "netns": netns,
        "namespace": "",
        "ifindex": link["index"],
        "name": link.get_attr("IFLA_IFNAME"),
        "kind": kind,
        "master": link.get_attr("IFLA_MASTER") or 0,
        # For other kinds IFLA_LINK is the parent device, not the other end.
        "peer": below if kind == "veth" else 0,
        "lower": below if kind != "veth" and below != link["index"] else 0,
        "link_netns": 0,
        "vni": (data.get_attr("IFLA_VXLAN_ID") if data is not None else None) or 0,
        "mtu": link.get_attr("IFLA_MTU") or 0,
        "mac": link.get_attr("IFLA_ADDRESS") or "",
    }
