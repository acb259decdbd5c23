"""Free subnets, for networks whose addresses cmonlab assigns."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection, Iterator
from ipaddress import IPv4Address, IPv4Network

from cmonlab.errors import DockerError

from ..netns import in_own_thread

# Private (RFC 1918), and the block for benchmarks (RFC 2544).
PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "198.18.0.0/15")))
# All of 127.0.0.0/8 is on loopback; other programs use the beginning of it.
LOOPBACK = (IPv4Network("127.64.0.0/10"),)
_TRIES = 1000


def free_subnets(pools: Collection[IPv4Network], length: int, taken: Collection[IPv4Network]) -> Iterator[IPv4Network]:
    """Yield subnets that overlap neither with networks in use nor with each other.

    They are chosen at random, because another process may be choosing at the same time.

    Parameters
    ----------
    pools : collection of IPv4Network
        Ranges to choose from, in order of preference.
    length : int
        Prefix length of the subnets, in bits.
    taken : collection of IPv4Network
        Networks in use.

    Yields
    ------
    IPv4Network

    Raises
    ------
    DockerError
        No free subnet was found.
    """
    used = list(taken)
    for pool in pools:
        for _ in range(_TRIES):
            first = int(pool.network_address) + (random.getrandbits(length - pool.prefixlen) << (32 - length))
            subnet = IPv4Network((first, length))
            if not any(subnet.overlaps(other) for other in used):
                used.append(subnet)
                yield subnet
    raise DockerError(
        "no subnet is free for a network",
        why="the host's routes and other labs cover the private address ranges",
        fix="end other labs (cmonlab clean), or check `ip route`",
    )


def routed() -> list[IPv4Network]:
    """Return the networks that the host has routes to, without the default route and loopback."""
    found = in_own_thread(_destinations)
    networks = (IPv4Network(f"{address}/{length}", strict=False) for address, length in found if address and length)
    return [network for network in networks if not network.is_loopback]


def _destinations() -> list[tuple[str | None, int]]:
    from pyroute2 import IPRoute

    with IPRoute() as netlink:
        return [(route.get_attr("RTA_DST"), route["dst_len"]) for route in netlink.get_routes(family=socket.AF_INET)]


def hosts_of(subnet: IPv4Network) -> Iterator[IPv4Address]:
    """Yield the addresses of a subnet from the second one on: the first is often a gateway's."""
    addresses = subnet.hosts()
    next(addresses)
    return addresses
