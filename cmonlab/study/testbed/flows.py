"""Datagrams of known number over every kind of way: what is sent, and what must come of it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from .packets import duplicated_and_reordered, in_order, wire
from .paths import GATEWAY, OUTSIDE, TUNNEL, largest_segments, netfilter, routed, tunnelled
from .senders import Batch
from .testbed import Testbed
from .traffic import ADDRESS, FAMILY, free_port, hash_of, payload, udp_socket

#: Of the payload of most datagrams.
SIZE_BYTES = 40
_UDP_SEGMENT = 103  # uapi/linux/udp.h
_SEGMENTS, _SEGMENT_BYTES = 10, 1000
_FRAGMENTED_BYTES, _FRAGMENTS = 4000, 3
_BUFFER_BYTES = 256 << 20


@dataclass(frozen=True)
class Flow:
    """What is sent, and what must come of it.

    Attributes
    ----------
    rule : str
        Matches its packets.
    sender, receiver : socket.socket
    receiver_name : str
        Whose the receiver is.
    batch : Batch
        Each message leaves the sender as one packet.
    journeys : int
        Packets that come of them: fragments and parts count each.
    complete : int
        How many of these are seen from end to end.
    numbers : list of int
        What the application must read, in this order.
    looks : list of int, optional
        The events' ``seq`` of the packets in order of first_tx, where each message is one packet.
    look_of : callable
        Tells the events' ``seq`` by a message's number.
    parts : int
        In how many packets each goes on that leaves the sender, 0 where it goes on as it is.
    at, width : int
        Where in what is read its number is, in bytes.
    """

    rule: str
    sender: socket.socket
    receiver: socket.socket
    batch: Batch
    journeys: int
    complete: int
    numbers: list[int]
    looks: list[int] | None
    look_of: Callable[[int], int]
    receiver_name: str = "c0"
    parts: int = 0
    at: int = 0
    width: int = 4


def _look_of(size: int) -> Callable[[int], int]:
    return lambda number: hash_of(number, size)


def _bound(bed: Testbed, name: str, family: int, address: str, port: int = 0) -> socket.socket:
    def make():
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, 33, _BUFFER_BYTES)  # SO_RCVBUFFORCE
        sock.bind((address, port))
        return sock

    return bed.call(name, make)


@contextmanager
def _udp(
    bed: Testbed,
    count: int,
    *,
    family=socket.AF_INET,
    bind=ADDRESS[4]["c0"],
    target="",
    source="",
    size=SIZE_BYTES,
    rule="udp port {port}",
    times: int = 1,
) -> Iterator[Flow]:
    """Yield numbered datagrams; `times` packets come of each."""
    port = free_port()
    target = target or bind
    with (
        _bound(bed, "c0", family, bind, port) as receiver,
        _bound(bed, "c1", family, source) as sender,
    ):
        bed.call("c1", sender.connect, (target, port))
        _find_neighbours(bed, sender, receiver)
        numbers, look = list(range(count)), _look_of(size)
        batch = Batch([payload(number, size) for number in numbers])
        looks = [look(number) for number in numbers] if times == 1 else None
        packets = times * count
        yield Flow(rule.format(port=port), sender, receiver, batch, packets, packets, numbers, looks, look)


def _find_neighbours(bed: Testbed, sender: socket.socket, receiver: socket.socket) -> None:
    """Send one datagram ahead: those that wait for a neighbour's address are sent by another processor."""
    bed.call("c1", sender.send, b"ahead")
    receiver.settimeout(10)
    receiver.recv(100)


def plain(bed: Testbed, count: int):
    """Over the bridge."""
    return _udp(bed, count)


def ipv6(bed: Testbed, count: int):
    """Over the bridge, IPv6."""
    return _udp(bed, count, family=socket.AF_INET6, bind=ADDRESS[6]["c0"])


def fragments(bed: Testbed, count: int):
    """Each in three fragments."""
    rule = "udp port {port} or ip[6:2] & 0x1fff != 0"
    return _udp(bed, count, size=_FRAGMENTED_BYTES, times=_FRAGMENTS, rule=rule)


def fragments6(bed: Testbed, count: int):
    """Each in three fragments, IPv6."""
    return _udp(
        bed,
        count,
        family=socket.AF_INET6,
        bind=ADDRESS[6]["c0"],
        size=_FRAGMENTED_BYTES,
        times=_FRAGMENTS,
        rule="ip6[6] = 44",
    )


@contextmanager
def masquerade(bed: Testbed, count: int):
    """Routed, the source address is that of the router."""
    with (
        routed(bed),
        netfilter(bed, "host", "nat", "POSTROUTING", "-s", "10.78.0.0/24", "-j", "MASQUERADE"),
        _udp(bed, count, source=OUTSIDE["c1"]) as flow,
    ):
        yield flow


@contextmanager
def source_nat(bed: Testbed, count: int):
    """Routed, the source address and port are others."""
    rule = ("-s", "10.78.0.0/24", "-p", "udp", "-j", "SNAT", "--to-source", f"{GATEWAY}:30000-30999")
    with (
        routed(bed),
        netfilter(bed, "host", "nat", "POSTROUTING", *rule),
        _udp(bed, count, source=OUTSIDE["c1"]) as flow,
    ):
        yield flow


@contextmanager
def destination_nat(bed: Testbed, count: int):
    """Routed, sent to an address of the router."""
    rule = ("-d", OUTSIDE["host"], "-p", "udp", "-j", "DNAT", "--to-destination", ADDRESS[4]["c0"])
    with (
        routed(bed),
        netfilter(bed, "host", "nat", "PREROUTING", *rule),
        _udp(bed, count, source=OUTSIDE["c1"], target=OUTSIDE["host"]) as flow,
    ):
        yield flow


@contextmanager
def vxlan(bed: Testbed, count: int):
    """Through a tunnel."""
    with tunnelled(bed), _udp(bed, count, bind=TUNNEL[4]["c0"]) as flow:
        yield flow


@contextmanager
def vxlan6(bed: Testbed, count: int):
    """Through a tunnel, IPv6 in IPv4."""
    with tunnelled(bed), _udp(bed, count, family=socket.AF_INET6, bind=TUNNEL[6]["c0"]) as flow:
        yield flow


@contextmanager
def _segmented(bed: Testbed, count: int, split: bool) -> Iterator[Flow]:
    count = -(-count // _SEGMENTS)
    with _udp(bed, count) as flow, ExitStack() as stack:
        if split:
            stack.enter_context(largest_segments(bed, 1))
        flow.sender.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, _SEGMENT_BYTES)
        parts = [payload(number, _SEGMENT_BYTES) for number in range(count * _SEGMENTS)]
        batch = Batch([b"".join(parts[at : at + _SEGMENTS]) for at in range(0, len(parts), _SEGMENTS)])
        # What is split ends where its parts begin.
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
            _look_of(_SEGMENT_BYTES),
            parts=_SEGMENTS * split,
        )


def udp_gso(bed: Testbed, count: int):
    """Ten segments to a packet, from the sender's socket to the receiver's."""
    return _segmented(bed, count, split=False)


def udp_gso_split(bed: Testbed, count: int):
    """Ten segments to a packet, which the kernel splits at the sender's device."""
    return _segmented(bed, count, split=True)


@contextmanager
def made(bed: Testbed, frames: list[bytes], port: int, repeated: bool) -> Iterator[Flow]:
    """Frames made by scapy; where `repeated`, 20% of them twice, and 20% late."""
    order = duplicated_and_reordered(len(frames)) if repeated else list(range(len(frames)))
    look = _look_of(SIZE_BYTES)
    with udp_socket(bed, "c0", port, buffer_bytes=_BUFFER_BYTES) as receiver, wire(bed, "c1") as sender:
        batch = Batch(in_order(frames, order))
        looks = [look(number) for number in order]
        yield Flow(f"udp port {port}", sender, receiver, batch, len(order), len(order), order, looks, look)


_ECHO = {
    4: (socket.IPPROTO_ICMP, 8, "icmp"),
    6: (socket.IPPROTO_ICMPV6, 128, "icmp6[icmp6type] >= 128 and ip6[40] <= 129"),
}
_IDENTIFIER = 0x4242


@contextmanager
def _echo(bed: Testbed, count: int, version: int) -> Iterator[Flow]:
    count = min(count, 1 << 16)  # sequence numbers
    protocol, request, rule = _ECHO[version]

    def make():
        with open("/proc/sys/net/ipv4/ping_group_range", "w") as file:  # of this thread's namespace
            file.write("0 0")
        sock = socket.socket(FAMILY[version], socket.SOCK_DGRAM, protocol)
        sock.setsockopt(socket.SOL_SOCKET, 33, _BUFFER_BYTES)
        sock.bind((ADDRESS[version]["c1"], _IDENTIFIER))
        sock.connect((ADDRESS[version]["c0"], 0))
        return sock

    with bed.call("c1", make) as sock:
        numbers = list(range(count))
        batch = Batch([struct.pack(">BBHHH", request, 0, 0, 0, number) + bytes(32) for number in numbers])
        yield Flow(rule, sock, sock, batch, 2 * count, 2 * count, numbers, None, int, "c1", at=6, width=2)


def icmp(bed: Testbed, count: int):
    """Echo requests and their replies."""
    return _echo(bed, count, 4)


def icmp6(bed: Testbed, count: int):
    """Echo requests and their replies, IPv6."""
    return _echo(bed, count, 6)


#: What is sent over the testbed by name.
KINDS: dict[str, Callable] = {
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
