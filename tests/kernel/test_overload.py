"""More events than the ring buffers hold: every one is accounted for, and nothing is made up."""

import pytest

from cmonlab.study.calibrate.groups.overload import BLOCKED_S
from cmonlab.study.testbed.traffic import (
    ADDRESS,
    COUNT,
    exchange_udp,
    free_port,
    receive_udp,
    recording,
    send_tcp,
    send_udp,
    udp_socket,
)


@pytest.mark.parametrize("ring_bytes", [8192, 65536])
def test_ledger_balances_under_overload(lab, ring_bytes):
    """Of UDP and TCP together; `cmonlab.study.calibrate.groups.overload` has the exact numbers."""
    port, other = free_port(), free_port()
    receiver, sender = udp_socket(lab, "c0", port), udp_socket(lab, "c1")
    rule = f"udp port {port} or tcp port {other}"
    with receiver, sender, recording(lab, rule, ring_bytes=ring_bytes, poll_s=BLOCKED_S) as done:
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
    assert ledger["recorded"].sum() <= 2 * ring_bytes // 64  # two processors' rings of 64-byte slots, or more of them
    assert session.lost_events == ledger["lost"].sum() > 0
    assert by_point.loc["net_dev_queue", "seen"] >= 2 * COUNT
    assert by_point.loc["net_dev_queue", "unmatched"] >= 200
    assert by_point.loc["netif_receive_skb", ["recorded", "lost"]].sum() >= 2 * COUNT
    assert f"{session.lost_events:,} lost events" in repr(session)
    assert len(session.drops()) == 0 or (session.drops()["reason"] != "").all()  # lost events are no drops


def test_reader_that_keeps_up_loses_nothing(lab):
    port = free_port()
    with recording(lab, f"udp port {port}") as done:
        exchange_udp(lab, port, 40, count=200)
    assert done.session.lost_events == 0
    assert "0 lost events" in repr(done.session)
