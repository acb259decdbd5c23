"""1,009 datagrams are 1,009 journeys, whatever else happens."""

import socket
import struct

import pytest

from cmonlab.study.testbed.traffic import (
    ADDRESS,
    COUNT,
    exchange_udp,
    free_port,
    hash_of,
    new_bytes,
    receive_udp,
    recording,
    send_tcp,
    udp_socket,
)
from cmonlab.tracing.kernel.btf import vmlinux

PATH = "c1:eth0 → host:veth1 → br0 → host:veth0 → c0:eth0"


def check(journeys, payload_bytes):
    """Check that these are the journeys of all datagrams, each whole, in order."""
    assert len(journeys) == COUNT
    assert journeys["complete"].all()
    assert (journeys["outcome"] == "delivered").all()
    assert (journeys["direction"] == "c1 → c0").all()
    assert (journeys["path"] == PATH).all()
    assert (journeys["hops"] == 9).all()
    assert (journeys["payload_bytes"] == payload_bytes).all()
    assert journeys["start_ns"].is_monotonic_increasing
    assert (
        journeys["start_ns"] + journeys["one_way_delay_ns"]
    ).is_monotonic_increasing  # the socket's queue keeps order
    assert (journeys["one_way_delay_ns"] > 0).all()


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [40, 1400])
def test_datagrams_sent_are_exactly_the_journeys(lab, version, size):
    port = free_port()
    with recording(lab, f"udp port {port}") as done:
        read = exchange_udp(lab, port, size, version)
    assert len(read) == COUNT
    journeys = done.session.journeys()
    check(journeys, size)
    assert journeys["seq"].tolist() == [hash_of(number, size) for number in range(COUNT)]
    assert done.session.lost_events == 0
    assert len(done.session.drops()) == 0


@pytest.mark.parametrize(("version", "alone"), [(4, True), (4, False), (6, False)])
def test_datagrams_next_to_other_traffic_are_exactly_the_journeys(lab, version, alone):
    """With a rule for these datagrams alone, and with one that matches everything."""
    port, others = free_port(), (free_port(), free_port())
    with recording(lab, f"udp port {port}" if alone else "") as done:
        bulk = lab.start("host", send_tcp, lab, others[0], 4 << 20, version)
        chatter = lab.start("host", exchange_udp, lab, others[1], 40, version)
        exchange_udp(lab, port, 40, version)
        bulk.result(timeout=30)
        chatter.result(timeout=30)
    session = done.session
    assert session.lost_events == 0
    journeys = session.journeys()
    mine = journeys[(journeys["dport"] == port) | (journeys["sport"] == port)]
    check(mine, 40)
    assert mine["seq"].tolist() == [hash_of(number, 40) for number in range(COUNT)]
    assert len(mine) == len(journeys) or not alone
    if not alone:
        check(journeys[(journeys["proto"] == "udp") & (journeys["dport"] == others[1])], 40)
        segments = journeys[(journeys["proto"] == "tcp") & (journeys["payload_bytes"] > 0)]
        assert new_bytes(segments) == (4 << 20, True)


def test_identical_datagrams_are_distinguished(lab):
    """The same payload and an IP identification of 0 each time: only the hops distinguish them."""
    port = free_port()
    receiver = udp_socket(lab, "c0", port)
    links = {(link["namespace"], link["name"]): link for link in lab.links()}
    mac = bytes.fromhex(links["c0", "eth0"]["mac"].replace(":", ""))
    udp = struct.pack(">HHHH", 4242, port, 8 + 40, 0) + bytes(40)
    addresses = [socket.inet_aton(ADDRESS[4][name]) for name in ("c1", "c0")]
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0x4000, 64, 17, 0, *addresses)
    total = sum(struct.unpack(">10H", head))
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    packet = head[:10] + struct.pack(">H", checksum) + head[12:] + udp

    def send():
        with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as wire:
            for _ in range(COUNT):
                wire.sendto(packet, ("eth0", 0x0800, 0, 0, mac))

    with receiver, recording(lab, f"udp port {port}") as done:
        reading = lab.start("c0", receive_udp, receiver)
        lab.call("c1", send)
        reading.result(timeout=30)
    journeys = done.session.journeys()
    check(journeys, 40)
    assert journeys["seq"].nunique() == 1
    assert (done.session.events.query("point != 'sock_recv_length'")["ident"] == 0).all()


@pytest.mark.parametrize("version", [4, 6])
def test_answers_with_the_same_payload_are_journeys_of_their_own(lab, version):
    """An answer often gets the buffer of what it answers; that is no journey there and back."""
    port, count = free_port(), 200
    server, client = udp_socket(lab, "c0", port, version), udp_socket(lab, "c1", 0, version)

    def echo():
        for _ in range(count):
            data, peer = server.recvfrom(2048)
            server.sendto(data, peer)

    def ask():
        for _ in range(count):
            client.sendto(bytes(16), (ADDRESS[version]["c0"], port))
            client.recv(2048)

    with server, client, recording(lab, f"udp port {port}") as done:
        echoing = lab.start("c0", echo)
        lab.call("c1", ask)
        echoing.result(timeout=30)
    journeys = done.session.journeys()
    assert journeys["direction"].value_counts().to_dict() == {"c1 → c0": count, "c0 → c1": count}
    assert journeys["complete"].all()
    assert (journeys["outcome"] == "delivered").all()
    assert (journeys["hops"] == 9).all()


def test_fragments_are_journeys_up_to_their_arrival(lab):
    """Fragments are journeys of their own, up to their arrival: what was read is none of them.

    Ports are in the first one only, so that a rule on ports alone leaves the others out.
    """
    port, count, size = free_port(), 20, 4000
    with recording(lab, f"udp port {port} or (ip[6:2] & 0x1fff != 0)") as done:
        read = exchange_udp(lab, port, size, 4, count)
    assert {len(data) for data in read} == {size}
    journeys = done.session.journeys()
    first, later = journeys[journeys["dport"] == port], journeys[journeys["dport"] == 0]
    assert len(first) == count
    assert len(later) == 2 * count
    if "SKB_CONSUMED" not in vmlinux().enum("skb_drop_reason").values():
        # Before Linux 6.2 the kernel pretends that it drops the parts of what was read (kernel 511a3eda2f8d).
        later = later[later["drop_reason"] != "NOT_SPECIFIED"]
    for whole in (first, later):
        assert whole["complete"].all()
        assert (whole["outcome"] == "arrived").all()
        assert (whole["hops"] == 8).all()
    assert journeys["len_bytes"].sum() == count * (size + 8 + 3 * 20)
