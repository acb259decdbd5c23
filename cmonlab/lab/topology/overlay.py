"""VXLAN networks (RFC 7348) between emulated hosts, which are network namespaces; made through netlink.

Every host has a veth pair to every other host and, for each network, a bridge and a VXLAN device. The forwarding
entries are static, because it is known which container is on which host. A container has a veth pair to the bridge on
its host. All interfaces are in the namespaces of containers, and end with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from itertools import combinations
from typing import Any

from cmonlab.errors import DockerError

from ..docker.running import Running
from ..netns import inside, namespace
from .addresses import UNDERLAY, Plan
from .model import Topology

PORT, FIRST_VNI = 4789, 42
MTU_BYTES, UNDERLAY_MTU_BYTES = 1450, 1500  # the outer headers take 50 bytes
_EVERYONE = "00:00:00:00:00:00"
_WORKERS = 8


def wire(topology: Topology, plan: Plan, machines: Mapping[str, Running]) -> None:
    """Make the interfaces of a topology's VXLAN networks.

    Parameters
    ----------
    topology : Topology
    plan : Plan
        Its addresses.
    machines : mapping of str to Running
        Name → container or emulated host; they have no interface except loopback.

    Raises
    ------
    DockerError
        The kernel refused.
    NotTraceable
        This user may not enter the namespaces.
    """
    for one, other in combinations(range(len(topology.hosts)), 2):
        _join(one, other, machines[topology.hosts[one]], machines[topology.hosts[other]])
    with ThreadPoolExecutor(_WORKERS, "cmonlab-wire") as pool:
        list(pool.map(lambda host: _set_up_host(topology, plan, machines, host), topology.hosts))
        wired = [container.name for container in topology.containers if container.host]
        list(pool.map(lambda name: _set_up_container(topology, plan, machines[name]), wired))


def describe(topology: Topology, plan: Plan, network: str) -> dict[str, Any]:
    """Return the entry of a VXLAN network in a manifest.

    Parameters
    ----------
    topology : Topology
    plan : Plan
        Its addresses.
    network : str
        Name of the network.

    Returns
    -------
    dict
        name, driver, subnets, underlay, vni, port, bridge.
    """
    number = _overlays(topology).index(network)
    return {
        "name": network,
        "driver": "vxlan",
        "subnets": [str(plan.subnets[network])],
        "underlay": str(plan.subnets[UNDERLAY]),
        "vni": FIRST_VNI + number,
        "port": PORT,
        "bridge": f"br{number}",
    }


def _overlays(topology: Topology) -> list[str]:
    return [network.name for network in topology.networks if network.driver == "vxlan"]


def _attachments(topology: Topology) -> list[tuple[str, str, str]]:
    """Return (host, container, network) of every interface of a container."""
    return [(one.host, one.name, network) for one in topology.containers for network in one.networks if one.host]


def mac_of(address: str) -> str:
    """Return the MAC address that Docker makes from an IPv4 address."""
    return "02:42:" + ":".join(f"{byte:02x}" for byte in IPv4Address(address).packed)


def _in(machine: Running, work: Callable[[Any], None]) -> None:
    """Call a function with a netlink socket in the namespace of a container or emulated host."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    def visit() -> None:
        with IPRoute() as netlink:
            work(netlink)

    try:
        with namespace(machine.pid) as handle:
            inside(handle, visit)
    except (NetlinkError, FileNotFoundError, ProcessLookupError) as error:
        raise DockerError(f"the interfaces of {machine.name} cannot be made", why=str(error)) from error


def _index(netlink: Any, name: str) -> int:
    return netlink.link_lookup(ifname=name)[0]


def _join(first: int, second: int, one: Running, other: Running) -> None:
    """Make the veth pair between two hosts; each end has the number of the host that it leads to."""
    with namespace(other.pid) as handle:
        peer = {"ifname": f"up{first}", "net_ns_fd": handle, "mtu": UNDERLAY_MTU_BYTES}
        _in(
            one,
            lambda netlink: netlink.link("add", ifname=f"up{second}", kind="veth", mtu=UNDERLAY_MTU_BYTES, peer=peer),
        )


def _set_up_host(topology: Topology, plan: Plan, machines: Mapping[str, Running], host: str) -> None:
    own = plan.addresses[host, UNDERLAY]
    others = {other: plan.addresses[other, UNDERLAY] for other in topology.hosts if other != host}

    def work(netlink: Any) -> None:
        for other, address in others.items():
            up = _index(netlink, f"up{topology.hosts.index(other)}")
            netlink.addr("add", index=up, local=own, address=address, prefixlen=32)
            netlink.link("set", index=up, state="up")
        bridges = {}
        for number, network in enumerate(_overlays(topology)):
            if any(container.host == host for container in topology.on(network)):
                bridges[network] = _tunnel(netlink, number, own)
        for number, (where, name, network) in enumerate(_attachments(topology)):
            if where == host:
                _plug(netlink, number, bridges[network], machines[name], plan, network)
            elif network in bridges:
                tunnel = _index(netlink, f"vxlan{_overlays(topology).index(network)}")
                mac = mac_of(plan.addresses[name, network])
                netlink.fdb("append", ifindex=tunnel, lladdr=mac, dst=others[where])
        for number, network in enumerate(_overlays(topology)):
            there = {container.host for container in topology.on(network)}
            for other in others.keys() & there if network in bridges else ():
                tunnel = _index(netlink, f"vxlan{number}")
                netlink.fdb("append", ifindex=tunnel, lladdr=_EVERYONE, dst=others[other])

    _in(machines[host], work)


def _tunnel(netlink: Any, number: int, own: str) -> int:
    """Make a network's bridge and VXLAN device on a host; return the bridge's ifindex."""
    netlink.link("add", ifname=f"br{number}", kind="bridge", br_mcast_snooping=0)
    bridge = _index(netlink, f"br{number}")
    netlink.link(
        "add",
        ifname=f"vxlan{number}",
        kind="vxlan",
        vxlan_id=FIRST_VNI + number,
        vxlan_port=PORT,
        vxlan_local=own,
        vxlan_learning=False,
    )
    tunnel = _index(netlink, f"vxlan{number}")
    netlink.link("set", index=tunnel, mtu=MTU_BYTES, master=bridge, state="up")
    netlink.link("set", index=bridge, mtu=MTU_BYTES, state="up")
    return bridge


def _plug(netlink: Any, number: int, bridge: int, machine: Running, plan: Plan, network: str) -> None:
    """Make the veth pair between a container and the bridge on its host."""
    position = [name for member, name in plan.addresses if member == machine.name].index(network)
    with namespace(machine.pid) as handle:
        peer: dict[str, str | int] = {
            "ifname": f"eth{position}",
            "net_ns_fd": handle,
            "address": mac_of(plan.addresses[machine.name, network]),
            "mtu": MTU_BYTES,
        }
        netlink.link("add", ifname=f"veth{number}", kind="veth", mtu=MTU_BYTES, peer=peer)
    netlink.link("set", index=_index(netlink, f"veth{number}"), master=bridge, state="up")


def _set_up_container(topology: Topology, plan: Plan, machine: Running) -> None:
    given = [(network, address) for (member, network), address in plan.addresses.items() if member == machine.name]

    def work(netlink: Any) -> None:
        for position, (network, address) in enumerate(given):
            index = _index(netlink, f"eth{position}")
            netlink.addr("add", index=index, address=address, prefixlen=plan.subnets[network].prefixlen)
            netlink.link("set", index=index, state="up")

    _in(machine, work)
