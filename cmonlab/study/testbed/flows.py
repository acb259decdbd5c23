"""Flows of numbered datagrams over every kind of packet path."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from .flow import BUFFER_BYTES, SIZE_BYTES, Flow, seq_function, udp_flow
from .packets import duplicated_and_reordered, in_order, wire
from .paths import GATEWAY, OUTSIDE, TUNNEL, largest_segments, netfilter, routed, tunnelled
from .senders import Batch
from .testbed import Testbed
from .traffic import ADDRESS, FAMILY, payload, udp_socket

_UDP_SEGMENT = 103  # uapi/linux/udp.h
_SEGMENTS, _SEGMENT_BYTES = 10, 1000
_FRAGMENTED_BYTES, _FRAGMENTS = 4000, 3


def plain(bed: Testbed, count: int) -> AbstractContextManager[Flow]:
    """Send over the bridge.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    count : int
        How many datagrams.
    """
    return udp_flow(bed, count)


def ipv6(bed: Testbed, count: int) -> AbstractContextManager[Flow]:
    """Send over the bridge, IPv6.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    count : int
        How many datagrams.
    """
    return udp_flow(bed, count, family=socket.AF_INET6, bind=ADDRESS[6]["c0"])


def fragments(bed: Testbed, count: int) -> AbstractContextManager[Flow]:
    """Send each datagram in three fragments.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    count : int
        How many datagrams.
    """
    rule = "udp port {port} or ip[6:2] & 0x1fff != 0"
    return udp_flow(bed, count, size=_FRAGMENTED_BYTES, times=_FRAGMENTS, rule=rule)


def fragments6(bed: Testbed, count: int) -> AbstractContextManager[Flow]:
    """Send each datagram in three fragments, IPv6.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    count : int
        How many datagrams.
    """
    return udp_flow(
        bed,
        count,
        family=socket.AF_INET6,
        bind=ADDRESS[6]["c0"],
        size=_FRAGMENTED_BYTES,
        times=_FRAGMENTS,
        rule="ip6[6] = 44",
    )


@contextmanager
def masquerade(bed: Testbed, count: int) -> Iterator[Flow]:
    """Send through a router that replaces the source address by its own.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    count : int
        How many datagrams.
    """
    with (
        routed(bed),
        netfilter(bed, "host", "nat", "POSTROUTING", "-s", "10.78.0.0/24", "-j", "MASQUERADE"),
        udp_flow(bed, count, source=OUTSIDE["c1"]) as flow,
    ):
        yield flow


@contextmanager
def source_nat(bed: Testbed, count: int) -> Iterator[Flow]:
    """Send through a router that replaces source address and port.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    count : int
        How many datagrams.
    """
    rule = ("-s", "10.78.0.0/24", "-p", "udp", "-j", "SNAT", "--to-source", f"{GATEWAY}:30000-30999")
    with (
        routed(bed),
        netfilter(bed, "host", "nat", "POSTROUTING", *rule),
        udp_flow(bed, count, source=OUTSIDE["c1"]) as flow,
    ):
        yield flow


@contextmanager
def destination_nat(bed: Testbed, count: int) -> Iterator[Flow]:
    """Send to an address of the router, which replaces it by that of c0.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    count : int
        How many datagrams.
    """
    rule = ("-d", OUTSIDE["host"], "-p", "udp", "-j", "DNAT", "--to-destination", ADDRESS[4]["c0"])
    with (
        routed(bed),
        netfilter(bed, "host", "nat", "PREROUTING", *rule),
        udp_flow(bed, count, source=OUTSIDE["c1"], target=OUTSIDE["host"]) as flow,
    ):
        yield flow


@contextmanager
def vxlan(bed: Testbed, count: int) -> Iterator[Flow]:
    """Send through a VXLAN tunnel.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    count : int
        How many datagrams.
    """
    with tunnelled(bed), udp_flow(bed, count, bind=TUNNEL[4]["c0"]) as flow:
        yield flow


@contextmanager
def vxlan6(bed: Testbed, count: int) -> Iterator[Flow]:
    """Send through a VXLAN tunnel, IPv6 in IPv4.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    count : int
        How many datagrams.
    """
    with tunnelled(bed), udp_flow(bed, count, family=socket.AF_INET6, bind=TUNNEL[6]["c0"]) as flow:
        yield flow


@contextmanager
def _segmented(bed: Testbed, count: int, split: bool) -> Iterator[Flow]:
    count = -(-count // _SEGMENTS)
    with udp_flow(bed, count) as flow, ExitStack() as stack:
        if split:
            stack.enter_context(largest_segments(bed, 1))
        flow.sender.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, _SEGMENT_BYTES)
        parts = [payload(number, _SEGMENT_BYTES) for number in range(count * _SEGMENTS)]
        batch = Batch([b"".join(parts[at : at + _SEGMENTS]) for at in range(0, len(parts), _SEGMENTS)])
        # The journey of a packet that is split ends where its parts begin.
        complete = len(parts) if split else count
        yield Flow(
            flow.rule,
            flow.sender,
            flow.receiver,
            batch,
            complete + split * count,
            complete,
            list(range(len(parts))),
            None,
            seq_function(_SEGMENT_BYTES),
            parts=_SEGMENTS * split,
        )


def udp_gso(bed: Testbed, count: int) -> AbstractContextManager[Flow]:
    """Send packets of ten segments, which stay together up to the receiver's socket.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    count : int
        How many segments; ten make a packet.
    """
    return _segmented(bed, count, split=False)


def udp_gso_split(bed: Testbed, count: int) -> AbstractContextManager[Flow]:
    """Send packets of ten segments, which the kernel splits at the sender's device.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    count : int
        How many segments; ten make a packet.
    """
    return _segmented(bed, count, split=True)


@contextmanager
def made(bed: Testbed, frames: list[bytes], port: int, repeated: bool) -> Iterator[Flow]:
    """Send frames made by scapy.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    frames : list of bytes
        From `packets.datagrams`.
    port : int
        Destination port.
    repeated : bool
        Send 20% of the frames twice, and 20% late.
    """
    order = duplicated_and_reordered(len(frames)) if repeated else list(range(len(frames)))
    seq_of = seq_function(SIZE_BYTES)
    with udp_socket(bed, "c0", port, buffer_bytes=BUFFER_BYTES) as receiver, wire(bed, "c1") as sender:
        batch = Batch(in_order(frames, order))
        expected = [seq_of(number) for number in order]
        yield Flow(f"udp port {port}", sender, receiver, batch, len(order), len(order), order, expected, seq_of)


_ECHO = {
    4: (socket.IPPROTO_ICMP, 8, "icmp"),
    6: (socket.IPPROTO_ICMPV6, 128, "icmp6[icmp6type] >= 128 and ip6[40] <= 129"),
}
_IDENTIFIER = 0x4242


@contextmanager
def _echo(bed: Testbed, count: int, version: int) -> Iterator[Flow]:
    count = min(count, 1 << 16)  # sequence numbers
    protocol, request, rule = _ECHO[version]

    def make() -> socket.socket:
        with open("/proc/sys/net/ipv4/ping_group_range", "w") as file:  # of this thread's namespace
            file.write("0 0")
        sock = socket.socket(FAMILY[version], socket.SOCK_DGRAM, protocol)
        sock.setsockopt(socket.SOL_SOCKET, 33, BUFFER_BYTES)
        sock.bind((ADDRESS[version]["c1"], _IDENTIFIER))
        sock.connect((ADDRESS[version]["c0"], 0))
        return sock

    with bed.call("c1", make) as sock:
        numbers = list(range(count))
        batch = Batch([struct.pack(">BBHHH", request, 0, 0, 0, number) + bytes(32) for number in numbers])
        yield Flow(rule, sock, sock, batch, 2 * count, 2 * count, numbers, None, int, "c1", at=6, width=2)


def icmp(bed: Testbed, count: int) -> AbstractContextManager[Flow]:
    """Send echo requests and receive the replies.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    count : int
        How many requests, at most 65,536.
    """
    return _echo(bed, count, 4)


def icmp6(bed: Testbed, count: int) -> AbstractContextManager[Flow]:
    """Send echo requests and receive the replies, IPv6.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    count : int
        How many requests, at most 65,536.
    """
    return _echo(bed, count, 6)


#: Name → function that sends a number of datagrams over a testbed.
KINDS: dict[str, Callable[[Testbed, int], AbstractContextManager[Flow]]] = {
    "UDP": plain,
    "IPv6": ipv6,
    "IP fragments": fragments,
    "IPv6 fragments": fragments6,
    "masquerading": masquerade,
    "source NAT": source_nat,
    "destination NAT": destination_nat,
    "VXLAN": vxlan,
    "IPv6 in VXLAN": vxlan6,
    "UDP GSO": udp_gso,
    "UDP GSO split at the device": udp_gso_split,
    "ICMP": icmp,
    "ICMPv6": icmp6,
}
