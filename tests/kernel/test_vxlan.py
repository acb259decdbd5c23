"""A tunnel between namespaces: one journey, known by the inner packet at every hop."""

import pytest

from cmonlab.study.testbed.testbed import testbed
from cmonlab.study.testbed.traffic import COUNT, free_port, receive_udp, recording, send_udp

PATH = "c1:vxlan0 → c1:eth0 → host:veth1 → br0 → host:veth0 → c0:eth0 → c0:vxlan0"


@pytest.fixture
def tunnel():
    """A lab of its own, whose containers' vxlan0 are 10.99.0.10 and 10.99.0.11, and IPv6 fd99::10 and fd99::11."""
    with testbed() as lab:
        for number, name in enumerate(("c0", "c1")):
            lab.run(
                name,
                "ip",
                "link",
                "add",
                "vxlan0",
                "type",
                "vxlan",
                "id",
                "42",
                "dstport",
                "4789",
                "dev",
                "eth0",
                "remote",
                f"10.77.0.{11 - number}",
                "local",
                f"10.77.0.{10 + number}",
            )
            lab.run(name, "ip", "addr", "add", f"10.99.0.{10 + number}/24", "dev", "vxlan0")
            lab.run(name, "ip", "addr", "add", f"fd99::{10 + number}/64", "dev", "vxlan0", "nodad")
            lab.run(name, "ip", "link", "set", "vxlan0", "up")
        yield lab


@pytest.mark.parametrize("version", [4, 6])
def test_packet_in_a_tunnel_is_one_journey(tunnel, version):
    """The rule names the inner port, and matches on the outer hops too."""
    import socket

    port = free_port()
    family, address = ((socket.AF_INET, "10.99.0.10"), (socket.AF_INET6, "fd99::10"))[version == 6]

    def receiver():
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
        sock.settimeout(20)
        sock.bind((address, port))
        return sock

    with (
        tunnel.call("c0", receiver) as server,
        tunnel.call("c1", lambda: socket.socket(family, socket.SOCK_DGRAM)) as client,
    ):
        tunnel.call("c1", client.sendto, b"first", (address, port))  # neighbours are found
        server.recv(100)
        with recording(tunnel, f"udp port {port}") as done:
            reading = tunnel.start("c0", receive_udp, server)
            tunnel.call("c1", send_udp, client, (address, port), 40)
            reading.result(timeout=30)
    journeys = done.session.journeys()
    assert len(journeys) == COUNT
    assert journeys["complete"].all()
    assert (journeys["outcome"] == "delivered").all()
    assert set(journeys["direction"]) == {"c1 → c0"}
    assert set(journeys["path"]) == {PATH}
    assert set(journeys["len_bytes"]) == {40 + 8 + (20 if version == 4 else 40)}  # the inner packet's
    hops = done.session.hops(0)["hop"].tolist()
    assert hops[:4] == ["c1:vxlan0 queue", "c1:vxlan0 xmit", "c1:eth0 queue", "c1:eth0 xmit"]
    assert hops[-1] in ("c0 read", "c0 deliver")
    outer = done.session.events.query("place == 'host:veth1' and point == 'netif_receive_skb'")
    assert len(outer) == COUNT
    assert (outer["shape"] & 2 != 0).all()
