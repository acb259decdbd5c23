"""Other packet paths on a testbed than plain bridging: routing, NAT, tunnels, offloads. All are removed afterwards."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from .testbed import Testbed, command, ip

GRO, TSO = 0x2C, 0x1F  # ETHTOOL_SGRO, ETHTOOL_STSO (uapi/linux/ethtool.h)
_SIOCETHTOOL = 0x8946
GATEWAY, OUTSIDE = "10.77.0.1", {"host": "10.78.0.1", "c1": "10.78.0.11"}
TUNNEL = {4: {"c0": "10.99.0.10", "c1": "10.99.0.11"}, 6: {"c0": "fd99::10", "c1": "fd99::11"}}


def _in(bed: Testbed, name: str, *words: str) -> str:
    return command("ip", "netns", "exec", bed.namespaces[name], *words)


@contextmanager
def routed(bed: Testbed) -> Iterator[None]:
    """Give c1 a second interface, 10.78.0.11 on eth1, whose route to c0 leads through `host` as router.

    Raises
    ------
    NotTraceable
        The network cannot be set up.
    """
    host, c0, c1 = (bed.namespaces[name] for name in ("host", "c0", "c1"))
    with ExitStack() as stack:
        ip("-n", host, "link", "add", "veth2", "type", "veth", "peer", "name", "eth1", "netns", c1)
        stack.callback(ip, "-n", host, "link", "del", "veth2")
        ip("-n", host, "addr", "add", f"{OUTSIDE['host']}/24", "dev", "veth2")
        ip("-n", c1, "addr", "add", f"{OUTSIDE['c1']}/24", "dev", "eth1")
        ip("-n", host, "link", "set", "veth2", "up")
        ip("-n", c1, "link", "set", "eth1", "up")
        ip("-n", host, "addr", "add", f"{GATEWAY}/24", "dev", "br0")
        stack.callback(ip, "-n", host, "addr", "del", f"{GATEWAY}/24", "dev", "br0")
        ip("-n", c1, "route", "add", "10.77.0.10/32", "via", OUTSIDE["host"], "src", OUTSIDE["c1"])
        stack.callback(ip, "-n", c1, "route", "flush", "10.77.0.10/32")
        ip("-n", c0, "route", "add", "10.78.0.0/24", "via", GATEWAY)
        stack.callback(ip, "-n", c0, "route", "flush", "10.78.0.0/24")
        before = bed.call("host", _forwarding, "1")
        stack.callback(bed.call, "host", _forwarding, before)
        yield


def _forwarding(value: str) -> str:
    """Set ``ip_forward`` of the calling thread's namespace and return the former value."""
    with open("/proc/sys/net/ipv4/ip_forward", "r+") as file:
        before = file.read()
        file.seek(0)
        file.write(value)
    return before


@contextmanager
def netfilter(bed: Testbed, name: str, *words: str) -> Iterator[None]:
    """Add an iptables rule in a namespace.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    name : str
        Name of the namespace.
    *words : str
        Table, chain and rule, for instance ``"nat", "POSTROUTING", "-j", "MASQUERADE"``.

    Raises
    ------
    NotTraceable
        iptables is not installed, or it refused the rule.
    """
    table, chain, *rule = words
    _in(bed, name, "iptables", "-t", table, "-A", chain, *rule)
    try:
        yield
    finally:
        _in(bed, name, "iptables", "-t", table, "-D", chain, *rule)


@contextmanager
def tunnelled(bed: Testbed) -> Iterator[None]:
    """Connect c0 and c1 by VXLAN: devices vxlan0 with the addresses `TUNNEL`.

    Raises
    ------
    NotTraceable
        The tunnel cannot be set up.
    """
    with ExitStack() as stack:
        for number, name in enumerate(("c0", "c1")):
            namespace = bed.namespaces[name]
            ends = ("remote", f"10.77.0.{11 - number}", "local", f"10.77.0.{10 + number}")
            vxlan = ("type", "vxlan", "id", "42", "dstport", "4789", "dev", "eth0")
            ip("-n", namespace, "link", "add", "vxlan0", *vxlan, *ends)
            stack.callback(ip, "-n", namespace, "link", "del", "vxlan0")
            ip("-n", namespace, "addr", "add", f"{TUNNEL[4][name]}/24", "dev", "vxlan0")
            ip("-n", namespace, "addr", "add", f"{TUNNEL[6][name]}/64", "dev", "vxlan0", "nodad")
            ip("-n", namespace, "link", "set", "vxlan0", "up")
        yield


@contextmanager
def largest_segments(bed: Testbed, segments: int) -> Iterator[None]:
    """Limit how many segments the devices of c0 and c1 accept in one GSO packet.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    segments : int
        The limit, ``gso_max_segs``.
    """
    try:
        for name in ("c0", "c1"):
            ip("-n", bed.namespaces[name], "link", "set", "eth0", "gso_max_segs", str(segments))
        yield
    finally:
        for name in ("c0", "c1"):
            ip("-n", bed.namespaces[name], "link", "set", "eth0", "gso_max_segs", "65535")


@contextmanager
def offload(bed: Testbed, name: str, interface: str, feature: int, on: bool) -> Iterator[None]:
    """Switch an offload of an interface on or off, as ethtool does; restore it at the end.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    name : str
        Name of the namespace.
    interface : str
        Name of the interface.
    feature : int
        ``ETHTOOL_S…`` number, for instance `GRO` or `TSO`.
    on : bool
        The new state; the opposite is restored.

    Raises
    ------
    OSError
        The device refuses the change.
    """
    bed.call(name, _switch, interface, feature, on)
    try:
        yield
    finally:
        bed.call(name, _switch, interface, feature, not on)


def _switch(interface: str, feature: int, on: bool) -> None:
    command = array.array("I", [feature, on])  # struct ethtool_value
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sP", interface.encode(), command.buffer_info()[0]) + bytes(16)
        fcntl.ioctl(sock, _SIOCETHTOOL, request)
