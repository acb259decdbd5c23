"""The modes of rules: each counts the same packets, and exactly."""

import numpy as np
import pandas as pd
import pytest

from cmonlab.data.analysis.histogram import quantiles
from cmonlab.rules import Rule
from cmonlab.study.testbed.traffic import COUNT, exchange_udp, free_port, recording, send_tcp

HOPS = {"net_dev_queue": 2, "net_dev_start_xmit": 2, "netif_rx": 2, "netif_receive_skb": 2}


def of_point(session, name, kinds=(0, 1)):
    """Return the cells of a point."""
    cells = pd.DataFrame(session.cells)
    point = next(p["id"] for p in session.manifest["points"] if p["name"] == name)
    return cells[(cells["point"] == point) & cells["kind"].isin(kinds)]


@pytest.mark.parametrize("version", [4, 6])
def test_aggregate_counts_every_packet_at_every_point(lab, version):
    port = free_port()
    with recording(lab, Rule(name="all", match=f"udp port {port}", mode="aggregate")) as done:
        exchange_udp(lab, port, 100, version)
    session, size = done.session, 100 + (28 if version == 4 else 48)
    assert len(session) == 0  # nothing per packet left the kernel
    for name, times in HOPS.items():
        rows = of_point(session, name)
        assert rows["packets"].sum() == times * COUNT
        assert rows["bytes"].sum() == times * COUNT * size
    pairs = session.pairs()
    there = pairs[pairs["direction"] == "c1 → c0"]
    assert there["packets_sent"].sum() == there["packets_arrived"].sum() == COUNT
    assert there["bytes"].sum() == COUNT * size
    assert there["lost_total"].iloc[-1] == 0
    ledger = session.ledger().set_index("point")
    assert ledger.loc["net_dev_queue", "aggregated"] == 2 * COUNT
    assert (ledger["seen"] == ledger.drop(columns="seen").sum(axis=1)).all()


def test_aggregate_has_the_delays_that_a_capture_records(lab):
    """Of the same packets: the histogram's quantiles lie within its bound, the mean is that of the events."""
    port = free_port()
    rules = [
        Rule(name="each", match=f"udp port {port}"),
        Rule(name="sum", match=f"udp port {port}", mode="aggregate", by="flow"),
    ]
    with recording(lab, rules) as done:
        exchange_udp(lab, port, 64)
    session = done.session
    events = session.events.sort_values(["skb", "ts_ns"], kind="stable")
    queue, xmit = (events[events["point"] == name].reset_index() for name in ("net_dev_queue", "net_dev_start_xmit"))
    assert len(queue) == len(xmit) == 2 * COUNT
    took = xmit["ts_ns"] - queue["ts_ns"]
    cells = of_point(session, "net_dev_start_xmit", kinds=[1])
    assert cells["packets"].sum() == 2 * COUNT
    assert cells["sum_ns"].sum() == took.sum()
    found = quantiles(
        np.zeros(len(cells), np.int64), cells["bucket"].to_numpy(), cells["packets"].to_numpy(), 1, (0.5, 0.99)
    )
    for quantile, value in zip((0.5, 0.99), np.ravel(found), strict=True):
        low, high = np.quantile(took, quantile, method="lower"), np.quantile(took, quantile, method="higher")
        assert low * (1 - 1 / 32) <= value <= high * (1 + 1 / 32)
    flows = session.flows()
    assert set(flows["dport"]) == {port}


def test_retransmissions_and_round_trip_times_are_aggregated(lab):
    port = free_port()
    with recording(lab, Rule(name="tcp", match=f"tcp port {port}", mode="aggregate")) as done:
        send_tcp(lab, port, 1 << 20)
    pairs = done.session.pairs()
    assert (pairs.groupby("direction", observed=True)["srtt_p50_ns"].median() > 0).all()
    assert pairs["retransmissions"].sum() == of_point(done.session, "tcp_retransmit_skb", [4])["packets"].sum()


def test_mode_count_only_counts(lab):
    port = free_port()
    with recording(lab, Rule(name="n", match=f"udp port {port}", mode="count")) as done:
        exchange_udp(lab, port, 100)
    session = done.session
    assert len(session) == 0
    tallies = {row["point"]: row for row in session.manifest["tallies"]}
    for name, times in HOPS.items():
        assert tallies[name]["packets"] == times * COUNT
        assert tallies[name]["bytes"] == times * COUNT * 128
    ledger = session.ledger().set_index("point")
    assert ledger.loc["netif_rx", "counted"] == 2 * COUNT


@pytest.mark.parametrize("version", [4, 6])
def test_sample_takes_complete_journeys(lab, version):
    port, share = free_port(), 0.25
    with recording(lab, Rule(name="some", match=f"udp port {port}", sample=share, points="path")) as done:
        exchange_udp(lab, port, 40, version)
    session = done.session
    journeys = session.journeys()
    assert 0 < len(journeys) < COUNT
    # A hash of what the packets hold: the share is that of a fair draw, five standard deviations wide.
    assert abs(len(journeys) - share * COUNT) < 5 * np.sqrt(COUNT * share * (1 - share))
    assert journeys["complete"].all()
    assert (journeys["hops"] == 8).all()
    ledger = session.ledger().set_index("point")
    for name, times in HOPS.items():
        assert ledger.loc[name, "sampled_out"] == times * (COUNT - len(journeys))


def test_sample_of_segments_has_their_reads(lab):
    port = free_port()
    with recording(lab, Rule(name="some", match=f"tcp port {port}", sample="30%")) as done:
        for _ in range(20):
            send_tcp(lab, port, 3000)
    journeys = done.session.journeys()
    data = journeys[journeys["payload_bytes"] > 0]
    assert len(data) > 0 and (journeys["one_way_delay_ns"] >= 0).all()
    assert set(data["outcome"]) == {"delivered"}
    assert done.session.ledger()["sampled_out"].sum() > 0


def test_two_rules_take_the_same_sample(lab):
    port = free_port()
    rules = [
        Rule(name="tenth", match=f"udp port {port}", sample="10%", points="net_dev_queue"),
        Rule(name="half", match=f"udp port {port}", sample="50%", points="netif_receive_skb"),
    ]
    with recording(lab, rules) as done:
        exchange_udp(lab, port, 40)
    events = done.session.events
    tenth = set(events.loc[events["point"] == "net_dev_queue", "seq"])
    half = set(events.loc[events["point"] == "netif_receive_skb", "seq"])
    assert tenth and tenth < half


def test_rate_limit_holds_and_is_counted(lab):
    port, limit = free_port(), 1000
    with recording(lab, Rule(name="few", match=f"udp port {port}", limit=limit, points="net_dev_queue")) as done:
        exchange_udp(lab, port, 40)
    session = done.session
    tally = next(row for row in session.manifest["tallies"] if row["point"] == "net_dev_queue")
    assert tally["packets"] == 2 * COUNT
    assert tally["packets"] == len(session) + tally["limited"]
    windows = session.duration_s / 2**27 * 1e9 + 2
    assert 0 < len(session) <= windows * limit * 2**27 / 1e9
