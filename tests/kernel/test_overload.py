"""More events than the ring buffers hold: every one is accounted for, and nothing is made up."""

from functools import partial

import pytest

from cmonlab.calibrate.traffic import (
    ADDRESS,
    COUNT,
    exchange_udp,
    free_port,
    hash_of,
    receive_udp,
    recording,
    send_tcp,
    send_udp,
    udp_socket,
)
from cmonlab.kernel import programs, tracer


@pytest.fixture(params=[8192, 65536])
def blocked(request, monkeypatch):
    """Tracers with small ring buffers that are read only at the end."""
    monkeypatch.setattr(tracer, "POLL_S", 60)
    monkeypatch.setattr(tracer, "Tracer", partial(tracer.Tracer, ring_bytes=request.param))
    return request.param


def test_the_ledger_balances(lab, blocked):
    port, other = free_port(), free_port()
    receiver, sender = udp_socket(lab, "c0", port), udp_socket(lab, "c1")
    with receiver, sender, recording(lab, f"udp port {port} or tcp port {other}") as done:
        lab.call("c1", send_udp, sender, (ADDRESS[4]["c0"], port), 40)
        lab.call("c0", receive_udp, receiver)
        send_tcp(lab, other, 2 << 20)
        exchange_udp(lab, other, 40, count=100)  # does not match
    session = done.session
    ledger = session.ledger()
    assert (ledger["seen"] == ledger["unmatched"] + ledger["sampled_out"] + ledger["recorded"] + ledger["lost"]).all()
    assert (ledger[["seen", "unmatched", "sampled_out", "recorded", "lost"]] >= 0).all(axis=None)
    by_point = ledger.set_index("point")
    assert ledger["recorded"].sum() == len(session)
    assert ledger["recorded"].sum() <= 2 * blocked // 64  # two processors' rings of 64-byte slots, or more of them
    assert session.lost_events == ledger["lost"].sum() > 0
    assert by_point.loc["net_dev_queue", "seen"] >= 2 * COUNT
    assert by_point.loc["net_dev_queue", "unmatched"] >= 200
    assert by_point.loc["netif_receive_skb", ["recorded", "lost"]].sum() >= 2 * COUNT
    assert f"{session.lost_events:,} lost events" in repr(session)
    assert len(session.drops()) == 0 or (session.drops()["reason"] != "").all()  # lost events are no drops


def test_what_is_left_is_true(lab, blocked):
    """Packets seen in part are journeys in part: no read is joined to another's arrival, no two packets mix."""
    port = free_port()
    receiver, sender = udp_socket(lab, "c0", port), udp_socket(lab, "c1")
    with receiver, sender, recording(lab, f"udp port {port}") as done:
        lab.call("c1", send_udp, sender, (ADDRESS[4]["c0"], port), 40, COUNT)
        lab.call("c0", receive_udp, receiver, COUNT)
    session = done.session
    journeys = session.journeys()
    assert len(journeys) <= COUNT
    if any(point.stage == "read" for point in programs.available()):  # else the buffer's address tells who was read
        assert not (journeys["outcome"] == "delivered").any()
    assert journeys["seq"].is_unique
    sent = {hash_of(number, 40): number for number in range(COUNT)}
    order = journeys["seq"].map(sent)
    assert order.notna().all()
    assert order.is_monotonic_increasing
    hops = session.hops(journeys["journey"].tolist())
    assert not hops.duplicated(["journey", "hop"]).any()


def test_a_reader_that_keeps_up_loses_nothing(lab):
    port = free_port()
    with recording(lab, f"udp port {port}") as done:
        exchange_udp(lab, port, 40, count=200)
    assert done.session.lost_events == 0
    assert "0 lost events" in repr(done.session)
