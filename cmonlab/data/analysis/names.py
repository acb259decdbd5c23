"""Names for numbers: which container an interface, namespace or address belongs to."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import cached_property
from operator import itemgetter

import numpy as np
import pandas as pd

from .category import relabelled

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 47: "gre", 58: "icmpv6", 132: "sctp"}


class Names:
    """Names of one recording, from its table of links.

    Parameters
    ----------
    links : pandas.DataFrame
        Columns of ``schema.describe("links")``. The first row of a namespace has its name; later rows may have names
        of other containers that share the namespace, with their addresses.
    addresses6 : mapping of int to bytes
        Key in the events → IPv6 address (16 bytes).
    points : mapping of int to str
        Id → short label of each point.
    """

    def __init__(self, links: pd.DataFrame, addresses6: Mapping[int, bytes], points: Mapping[int, str]):
        self.links, self.addresses6, self.points = links, dict(addresses6), dict(points)

    @cached_property
    def _namespaces(self) -> dict[int, str]:
        rows = zip(self.links["netns"].astype(int), self.links["namespace"], strict=True)
        return dict(reversed(list(rows)))

    @cached_property
    def _interfaces(self) -> dict[tuple[int, int], str]:
        keys = zip(self.links["netns"].astype(int), self.links["ifindex"].astype(int), strict=True)
        return dict(zip(keys, self.links["name"], strict=True))

    @cached_property
    def _masters(self) -> dict[tuple[int, int], int]:
        keys = zip(self.links["netns"].astype(int), self.links["ifindex"].astype(int), strict=True)
        return dict(zip(keys, self.links["master"].astype(int), strict=True))

    @cached_property
    def _keys(self) -> dict[str, int]:
        """Address as text → its number in the events."""
        keys = {str(ipaddress.IPv6Address(raw)): key for key, raw in self.addresses6.items()}
        for address in {address for address, *_ in self._carried if ":" not in address}:
            keys[address] = int.from_bytes(ipaddress.IPv4Address(address).packed, "little")
        return keys

    @cached_property
    def _carried(self) -> list[tuple[str, int, str, int]]:
        """Address, netns, name of the namespace and begin (ns) of each address of each link."""
        since = self.links["from_ns"].fillna(0)  # older sessions do not say
        rows = zip(self.links["addresses"], self.links["netns"], self.links["namespace"], since, strict=True)
        return [
            (address, int(netns), name, int(from_ns))
            for addresses, netns, name, from_ns in rows
            for address in addresses
        ]

    @cached_property
    def owners(self) -> dict[tuple[bool, int], str]:
        """(is IPv6, number of the address) → name of the namespace that has it."""
        return {
            (":" in a, self._keys[a]): name
            for a, _, name, _ in self._carried
            if a in self._keys and a not in ("127.0.0.1", "::1")
        }

    @cached_property
    def _tenures(self) -> dict[tuple[bool, int], tuple[np.ndarray, list[str]]]:
        """Addresses that several namespaces had in succession → begin of each (ns), and their names."""
        carriers: dict[tuple[bool, int], list[tuple[int, int, str]]] = {}
        for address, netns, name, from_ns in self._carried:
            if (key := (":" in address, self._keys.get(address, -1))) in self.owners:
                carriers.setdefault(key, []).append((from_ns, netns, name))
        found = {}
        for key, rows in carriers.items():
            if len({netns for _, netns, _ in rows}) > 1:
                rows.sort(key=itemgetter(0))
                found[key] = np.array([from_ns for from_ns, *_ in rows]), [name for *_, name in rows]
        return found

    @cached_property
    def local(self) -> np.ndarray:
        """Sorted uint64 words ``netns << 32 | address number`` of the addresses that each namespace has.

        An address of a macvlan also counts as one of the host's namespace, because the interface below it passes
        packets to the macvlan behind the last point.
        """
        words = [netns << 32 | self._keys[a] for a, netns, *_ in self._carried if a in self._keys]
        return np.unique(np.array([*words, *self.macvlans], np.uint64))

    @cached_property
    def macvlans(self) -> dict[int, int]:
        """``netns << 32 | address number`` → namespace of each macvlan; netns is that of the interface below it."""
        host = next((netns for netns, name in self._namespaces.items() if name == "host"), 0)
        above = self.links[(self.links["kind"] == "macvlan") & (self.links["lower"] > 0)]
        below = above["link_netns"].mask(above["link_netns"] == 0, host)
        return {
            int(under) << 32 | self._keys[address]: int(netns)
            for addresses, netns, under in zip(above["addresses"], above["netns"], below, strict=True)
            for address in addresses
            if address in self._keys
        }

    def namespace(self, netns: int) -> str:
        """Return the name of a namespace (inode number), ``ns-<inode>`` if it was never seen."""
        return self._namespaces.get(netns, f"ns-{netns}" if netns else "unknown")

    def place(self, netns: int, ifindex: int) -> str:
        """Return the name of an interface.

        Parameters
        ----------
        netns : int
            Inode number of the namespace.
        ifindex : int
            Interface in it, 0 if none.

        Returns
        -------
        str
            ``namespace:interface``, or the namespace alone.
        """
        name = self.namespace(netns)
        if not ifindex:
            return name
        return f"{name}:{self._interfaces.get((netns, ifindex), f'if{ifindex}')}"

    def bridge(self, netns: int, ifindex: int) -> int:
        """Return the bridge that an interface is a port of.

        Parameters
        ----------
        netns, ifindex : int
            The interface, as for `place`.

        Returns
        -------
        int
            Ifindex of the bridge, 0 if none.
        """
        return self._masters.get((netns, ifindex), 0)

    def hop(self, netns: int, ifindex: int, point: int) -> str:
        """Return the label of a hop: its interface and its point.

        Parameters
        ----------
        netns, ifindex : int
            The interface, as for `place`.
        point : int
            Id of the point.

        Returns
        -------
        str
        """
        return f"{self.place(netns, ifindex)} {self.points.get(point, point)}"

    def address(self, number: int, ipv6: bool) -> str:
        """Return an address as text.

        Parameters
        ----------
        number : int
            The address in the events: of IPv4 its four bytes in network order read as a little-endian number, of IPv6 a
            key of ``addresses6``.
        ipv6 : bool
            Whether it is an IPv6 address.

        Returns
        -------
        str
            ``ipv6-<key>`` if the key is not known.
        """
        if not ipv6:
            return str(ipaddress.IPv4Address(int(number).to_bytes(4, "little")))
        raw = self.addresses6.get(int(number))
        return str(ipaddress.IPv6Address(raw)) if raw else f"ipv6-{number:08x}"

    def endpoint(self, number: int, ipv6: bool) -> str:
        """Return the name of the namespace that owns an address, or else the address.

        Parameters
        ----------
        number, ipv6
            As for `address`.

        Returns
        -------
        str
        """
        return self.owners.get((ipv6, int(number))) or self.address(number, ipv6)

    def endpoints(self, numbers: np.ndarray, ipv6: np.ndarray, ts_ns: np.ndarray) -> pd.Categorical:
        """Return the names of the namespaces that owned addresses at certain times, or else the addresses.

        Docker gives the address of a container that ended to the next one, so the owner depends on the time.

        Parameters
        ----------
        numbers : numpy.ndarray of integers, shape (n,)
            Addresses as in the events.
        ipv6 : numpy.ndarray of bool or 0 and 1, shape (n,)
            Which of them are IPv6 addresses.
        ts_ns : numpy.ndarray of int64, shape (n,)
            Time of each, ns.

        Returns
        -------
        pandas.Categorical, length n
        """
        code, distinct = pd.factorize(ipv6.astype(np.uint64) << np.uint64(32) | numbers.astype(np.uint64))
        keys = [(bool(key >> 32), key & 0xFFFFFFFF) for key in distinct.tolist()]
        labels = [self.endpoint(number, six) for six, number in keys]
        for known, key in enumerate(keys):
            if key in self._tenures:
                begun_ns, owners = self._tenures[key]
                at = np.flatnonzero(code == known)
                code[at] = len(labels) + np.maximum(np.searchsorted(begun_ns, ts_ns[at], side="right") - 1, 0)
                labels += owners
        return relabelled(code, labels)


def protocol(number: int) -> str:
    """Return the name of an IP protocol, or its number as text if it is not in `PROTOCOLS`."""
    return PROTOCOLS.get(int(number), str(number))
