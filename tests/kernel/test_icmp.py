"""Echo requests and their replies, IPv4 and IPv6."""

import platform
import socket
import struct

import pytest

from cmonlab.study.testbed.traffic import ADDRESS, FAMILY, recording

REQUESTS, IDENTIFIER = 101, 0x4242
# Protocol, and type of a request and of a reply.
ECHO = {4: (socket.IPPROTO_ICMP, 8, 0), 6: (socket.IPPROTO_ICMPV6, 128, 129)}


def ping(version):
    """Send echo requests one after the other; return the sequence numbers of the replies."""
    protocol, request, reply = ECHO[version]
    with open("/proc/sys/net/ipv4/ping_group_range", "w") as file:  # of this thread's namespace
        file.write("0 0")
    replies = []
    with socket.socket(FAMILY[version], socket.SOCK_DGRAM, protocol) as sock:
        sock.settimeout(10)
        sock.bind((ADDRESS[version]["c1"], IDENTIFIER))
        for number in range(REQUESTS):
            sock.sendto(struct.pack(">BBHHH", request, 0, 0, 0, number) + bytes(32), (ADDRESS[version]["c0"], 0))
            kind, _, _, identifier, sequence = struct.unpack_from(">BBHHH", sock.recv(2048))
            assert (kind, identifier) == (reply, IDENTIFIER)
            replies.append(sequence)
    return replies


@pytest.mark.parametrize("version", [4, 6])
def test_echo_requests_and_replies_are_journeys(lab, version):
    """Each request and each reply is one journey."""
    _, request, reply = ECHO[version]
    with recording(lab, "icmp" if version == 4 else "icmp6") as done:
        assert lab.call("c1", ping, version) == list(range(REQUESTS))
    journeys = done.session.journeys()
    echo = journeys[journeys["sport"] == IDENTIFIER]
    assert len(echo) == 2 * REQUESTS
    assert set(echo["proto"]) == {"icmp" if version == 4 else "icmpv6"}
    release = tuple(int(number) for number in platform.release().split(".")[:2])
    # 6.1 frees what its own ICMPv6 has dealt with as if it were dropped (net/ipv6/icmp.c, icmpv6_rcv).
    dealt_with = (echo["drop_reason"] == "NOT_SPECIFIED") & (version == 6 and release < (6, 12))
    assert (echo["complete"] | dealt_with).all()
    answered = "dropped" if dealt_with.any() else "arrived"
    # Reads of such sockets do not identify a packet. Before 6.3 copies do, except for clones (net/ipv4/ping.c).
    unread = not (echo["outcome"] == "delivered").any()
    for kind, direction, outcome in (
        (request, "c1 → c0", answered),
        (reply, "c0 → c1", "arrived" if unread else "delivered"),
    ):
        half = echo[echo["dport"] == kind << 8]
        assert half["seq"].tolist() == list(range(REQUESTS))
        assert (half["direction"] == direction).all()
        assert (half["outcome"] == outcome).all()  # requests end in the kernel, which answers them
        assert (half["hops"] == 8 + (outcome != "arrived")).all()
        assert (half["payload_bytes"] == 32).all()
