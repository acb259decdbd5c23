"""Packets made by scapy, with chosen IP identifications and order."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence

from .testbed import Testbed
from .traffic import ADDRESS, payload

_SPORT = 4242


def datagrams(bed: Testbed, port: int, count: int, size: int = 40) -> list[bytes]:
    """Return Ethernet frames of numbered UDP datagrams from c1 to c0; the IP identification is the number.

    Parameters
    ----------
    bed : Testbed
        Gives the MAC addresses.
    port : int
        Destination port.
    count : int
        Number of datagrams.
    size : int
        Payload of each, in bytes.
    """
    from scapy.layers.inet import IP, UDP  # takes a moment to load
    from scapy.layers.l2 import Ether

    mac = {link["namespace"]: link["mac"] for link in bed.links() if link["name"] == "eth0"}
    frames = []
    for number in range(count):
        packet = IP(src=ADDRESS[4]["c1"], dst=ADDRESS[4]["c0"], id=number & 0xFFFF) / UDP(sport=_SPORT, dport=port)
        frames.append(bytes(Ether(src=mac["c1"], dst=mac["c0"]) / packet / payload(number, size)))
    return frames


def duplicated_and_reordered(count: int, share: float = 0.2, seed: int = 1) -> list[int]:
    """Return a sending order with duplicates and late packets.

    Parameters
    ----------
    count : int
        Number of packets; they are numbered from 0.
    share : float
        This share of the packets is duplicated, and this share of all packets is late by up to eight places.
    seed : int
        Seed of the random choice.

    Returns
    -------
    list of int
        Numbers of packets in the order in which to send them.
    """
    rng = random.Random(seed)
    twice = set(rng.sample(range(count), round(share * count)))
    order = [number for number in range(count) for _ in range(1 + (number in twice))]
    late = set(rng.sample(range(len(order)), round(share * len(order))))
    place = [at + (rng.uniform(1, 8) if at in late else 0) for at in range(len(order))]
    return [order[at] for at in sorted(range(len(order)), key=place.__getitem__)]


def wire(bed: Testbed, name: str) -> socket.socket:
    """Return a socket that sends complete Ethernet frames from a namespace's eth0.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    name : str
        Name of the namespace.
    """

    def make() -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        sock.bind(("eth0", 0))
        return sock

    return bed.call(name, make)


def in_order(frames: Sequence[bytes], order: Sequence[int]) -> list[bytes]:
    """Return frames in an order; duplicates are identical in every bit.

    Parameters
    ----------
    frames : sequence of bytes
        Frames by number.
    order : sequence of int
        Numbers of frames, from `duplicated_and_reordered`.
    """
    return [frames[number] for number in order]
