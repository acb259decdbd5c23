"""Packets that the network drops are counted exactly, with reason, place and code; they do not count as lost events."""

import socket

import pytest

from cmonlab.study.testbed.traffic import ADDRESS, FAMILY, free_port, payload, recording, send_udp, udp_socket


def drain(sock):
    """Read everything that is queued."""
    sock.setblocking(False)
    read = []
    try:
        while True:
            read.append(sock.recv(2048))
    except BlockingIOError:
        return read


def test_drops_at_a_full_socket_buffer_are_counted(lab):
    """What was sent is what was delivered plus what was dropped."""
    port, sent = free_port(), 500
    receiver, sender = udp_socket(lab, "c0", port, buffer_bytes=20_000), udp_socket(lab, "c1")
    with receiver, sender, recording(lab, f"udp port {port}") as done:
        lab.call("c1", send_udp, sender, (ADDRESS[4]["c0"], port), 200, sent)
        read = lab.call("c0", drain, receiver)
        send_udp(sender, (ADDRESS[4]["c0"], port), 200, 3)
        read += [receiver_once(receiver) for _ in range(3)]
    assert 3 < len(read) < sent
    session = done.session
    journeys, drops = session.journeys(), session.drops()
    assert len(journeys) == sent + 3
    assert journeys["outcome"].astype(str).value_counts().to_dict() == {
        "delivered": len(read),
        "dropped": sent + 3 - len(read),
    }
    assert len(drops) == sent + 3 - len(read)
    assert set(drops["reason"]) == {"SOCKET_RCVBUFF"}
    assert set(drops["place"]) == {"c0:eth0"}
    assert set(drops["direction"]) == {"c1 → c0"}
    assert "udp" in drops["code"].iloc[0]
    dropped = journeys[journeys["outcome"] == "dropped"]
    assert (dropped["drop_reason"] == "SOCKET_RCVBUFF").all()
    assert dropped["journey"].tolist() == sorted(drops["journey"])
    assert not dropped["complete"].any()
    # The payload shows which ones arrived.
    from cmonlab.study.testbed.traffic import hash_of

    delivered = journeys[journeys["outcome"] == "delivered"]
    assert delivered["seq"].tolist() == [hash_of(int.from_bytes(data[:4], "big"), 200) for data in read]
    assert session.lost_events == 0
    assert (session.ledger()["lost"] == 0).all()


def receiver_once(sock):
    sock.settimeout(10)
    return sock.recv(2048)


@pytest.mark.parametrize("version", [4, 6])
def test_drops_at_a_closed_port_are_counted(lab, version):
    port, sent = free_port(), 100
    with (
        lab.call("c1", lambda: socket.socket(FAMILY[version], socket.SOCK_DGRAM)) as sender,
        recording(lab, f"udp port {port}") as done,
    ):
        for number in range(sent):
            lab.call("c1", sender.sendto, payload(number, 40), (ADDRESS[version]["c0"], port))
    session = done.session
    journeys, drops = session.journeys(), session.drops()
    assert len(journeys) == len(drops) == sent
    assert (journeys["outcome"] == "dropped").all()
    assert (journeys["drop_reason"] == "NO_SOCKET").all()
    assert set(drops["reason"]) == {"NO_SOCKET"}
    assert set(drops["place"]) == {"c0:eth0"}
    assert "udp" in drops["code"].iloc[0]
    assert drops["journey"].tolist() == list(range(sent))
    assert session.lost_events == 0
