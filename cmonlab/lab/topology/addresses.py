"""The addresses on networks for which the engine assigns none: host and VXLAN networks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from itertools import islice

from .model import Topology
from .subnets import LOOPBACK, PRIVATE, free_subnets, hosts_of, routed

_LOOPBACK_LENGTH, _OVERLAY_LENGTH = 24, 22
#: The name of the network between emulated hosts; it is not a valid name for a network of a topology.
UNDERLAY = "(underlay)"


@dataclass(frozen=True)
class Plan:
    """Addresses of a topology's host and VXLAN networks.

    Attributes
    ----------
    subnets : dict of str to IPv4Network
        Name of the network, or `UNDERLAY` → subnet.
    addresses : dict of (str, str) to str
        (Container, network) → address; for emulated hosts (host, `UNDERLAY`) → address.
    """

    subnets: dict[str, IPv4Network] = field(default_factory=dict)
    addresses: dict[tuple[str, str], str] = field(default_factory=dict)

    def of(self, name: str) -> tuple[str, ...]:
        """Return the addresses of a container or emulated host, in the order of its networks."""
        return tuple(address for (member, _), address in self.addresses.items() if member == name)

    def known_to(self, topology: Topology, name: str) -> dict[str, str]:
        """Return the addresses that a container can reach on these networks. The engine's resolver does not know them.

        Parameters
        ----------
        topology : Topology
        name : str
            Name of the container.

        Returns
        -------
        dict of str to str
            Name → address of each container that shares a network with it, itself included.
        """
        networks = {network for member, network in self.addresses if member == name}
        return {
            member: address
            for (member, network), address in reversed(self.addresses.items())  # the address on the first network wins
            if network in networks and member in topology.names
        }


def plan(topology: Topology, taken: Collection[str]) -> Plan:
    """Choose subnets and addresses.

    Parameters
    ----------
    topology : Topology
    taken : collection of str
        Addresses that other labs use.

    Returns
    -------
    Plan

    Raises
    ------
    DockerError
        No subnet is free.
    """
    made = Plan()
    others = [IPv4Network(address) for address in taken]
    loopback = free_subnets(LOOPBACK, _LOOPBACK_LENGTH, others)
    drivers = {network.name: network.driver for network in topology.networks if network.driver in ("host", "vxlan")}
    overlays = free_subnets(PRIVATE, _OVERLAY_LENGTH, [*others, *routed()]) if "vxlan" in drivers.values() else iter(())
    for name, driver in drivers.items():
        made.subnets[name] = next(loopback if driver == "host" else overlays)
    if topology.hosts:
        made.subnets[UNDERLAY] = next(overlays)
    free = {name: hosts_of(subnet) for name, subnet in made.subnets.items()}
    for container in topology.containers:
        for name in container.networks:
            if name in free:
                made.addresses[container.name, name] = str(next(free[name]))
    for host, address in zip(topology.hosts, islice(free.get(UNDERLAY, iter(())), len(topology.hosts)), strict=True):
        made.addresses[host, UNDERLAY] = str(address)
    return made
