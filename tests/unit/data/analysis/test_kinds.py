"""Kinds of segments: the cases, and softirq delay as distinct from queueing."""

import numpy as np
import pytest

from cmonlab import schema
from cmonlab.data.analysis.kinds import CASES, KINDS, Kinds, table
from cmonlab.points.catalogue import CATALOGUE
from cmonlab.session.session import Session
from tests.support.breakdowns import check_breakdown
from tests.support.events import BASE, C0, PATH, TCP, bulk, columns, manifest

ALL = {p.id: (p.name, p.stage) for p in CATALOGUE}
PLAIN = {number: one for number, one in ALL.items() if not one[0].startswith("qdisc")}
IDS = {name: number for number, (name, _) in ALL.items()}


@pytest.mark.parametrize(
    ("before", "after", "one_device", "kind"),
    [
        ("net_dev_queue", "net_dev_start_xmit", True, "processing"),
        ("net_dev_queue", "qdisc_enqueue", True, "processing"),
        ("qdisc_enqueue", "qdisc_dequeue", True, "queueing"),
        ("qdisc_enqueue", "net_dev_start_xmit", True, "queueing"),
        ("qdisc_dequeue", "net_dev_start_xmit", True, "processing"),
        ("net_dev_start_xmit", "netif_rx", False, "processing"),
        ("net_dev_start_xmit", "napi_gro_receive_entry", False, "queueing"),
        ("netif_rx", "netif_receive_skb", True, "queueing"),
        ("napi_gro_receive_entry", "netif_receive_skb", True, "processing"),
        ("netif_receive_skb", "net_dev_queue", False, "processing"),
        ("netif_receive_skb", "ip_rcv", True, "processing"),
        ("netif_receive_skb", "sock_recv_length", False, "queueing"),
        ("tcp_v4_rcv", "sock_recv_length", False, "queueing"),
        ("netif_receive_skb", "sched_waking", False, "processing"),
        ("sched_waking", "sched_switch", False, "scheduling"),
        ("netif_receive_skb", "sched_switch", False, "scheduling"),
        ("sched_switch", "sock_recv_length", False, "processing"),
        ("tcp_sendmsg_locked", "net_dev_queue", False, "queueing"),
    ],
)
def test_segments_have_the_kind_of_the_first_case_that_fits(before, after, one_device, kind):
    kinds = Kinds(ALL)
    assert kinds.of(kinds.word(IDS[before]), kinds.word(IDS[after]), one_device) == kind


def test_without_points_of_queueing_disciplines_a_wait_in_them_is_possible():
    kinds = Kinds(PLAIN)
    assert kinds.of("queue", "xmit", True) == "queueing"
    assert kinds.of("queue", "xmit", False) == "processing"


def test_the_table_documents_each_case():
    documented = table()
    assert len(documented) == len(CASES)
    assert set(documented["kind"]) == set(KINDS)
    assert (documented["reason"].str.len() > 10).all()
    assert documented["before"].iloc[-1] == documented["after"].iloc[-1] == "any"


def with_softirqs(packets: int):
    """Return events whose receptions report for how long the softirq ran, except every seventh."""
    events = bulk(packets)
    received = np.flatnonzero(events["point"] == 3)
    events["aux"][received] = np.random.default_rng(5).integers(1, 1200, len(received))
    events["aux"][received[::7]] = 0
    return events


def test_segments_with_softirqs_add_up():
    session = Session(with_softirqs(500), manifest())
    check_breakdown(session)
    by_kind = session.breakdown(by="kind")
    assert by_kind["share"].sum() == pytest.approx(1)
    assert set(by_kind["kind"]) == {"processing", "queueing", "softirq"}
    inner = session.breakdown()
    shares = inner.groupby("kind", observed=True)["share"].sum()
    assert by_kind.set_index("kind")["share"].to_dict() == pytest.approx(shares.to_dict())


def test_times_by_kind_add_up_within_journeys():
    session = Session(with_softirqs(200), manifest())
    hops = session.hops()
    sums = hops[hops["segment"] != ""].groupby(["journey", "kind"], observed=True)["segment_ns"].sum()
    for row in session.breakdown(by="kind").itertuples():
        times = sums.xs(row.kind, level="kind")
        assert (row.n, row.mean_ns) == (len(times), pytest.approx(times.mean()))
        assert row.p50_ns == pytest.approx(times.median())
        assert row.p99_ns == pytest.approx(times.quantile(0.99))


def hops_of(*rows):
    """Return the hops table of one packet, from (place, ts, aux)."""
    base = {
        "skb": BASE,
        "saddr": 0x0B004D0A,
        "daddr": 0x0A004D0A,
        "sport": 4,
        "dport": 5,
        "proto": TCP,
        "len_bytes": 60,
    }
    table = [
        base | {"netns": hop[0], "ifindex": hop[1], "point": hop[2], "ts_ns": ts, "aux": aux} for hop, ts, aux in rows
    ]
    made = {name: np.array([row[name] for row in table], np.int64) for name in table[0]}
    return Session(columns(made, len(table)), manifest()).hops(0)


@pytest.mark.parametrize(("aux", "began"), [(40, 960), (99, 901), (5000, 900), (1, 999)])
def test_a_packet_waits_for_the_softirq_and_then_in_it(aux, began):
    hops = hops_of((PATH[0], 100, 0), (PATH[6], 900, 0), (PATH[7], 1000, aux))
    assert hops["hop"].tolist() == ["c1:eth0 queue", "c0:eth0 rx", "c0:eth0 softirq", "c0:eth0 receive"]
    assert hops["ts_ns"].tolist() == [100, 900, began, 1000]
    assert hops["kind"].tolist()[2:] == ["softirq", "queueing"]
    assert hops["segment"].tolist()[2:] == ["c0:eth0 rx → c0:eth0 softirq", "c0:eth0 softirq → c0:eth0 receive"]
    assert hops["segment_ns"].sum() == 900


def test_the_ring_of_a_polled_device_is_read_in_the_softirq():
    hops = hops_of((PATH[0], 100, 0), (PATH[5], 500, 0), ((C0, 2, 4), 900, 0), (PATH[7], 1000, 300))
    assert hops["hop"].tolist()[2:] == ["c0:eth0 softirq", "c0:eth0 gro", "c0:eth0 receive"]
    assert hops["ts_ns"].tolist()[2:] == [700, 900, 1000]
    assert hops["kind"].tolist()[2:] == ["softirq", "queueing", "processing"]


def test_an_unknown_softirq_adds_no_hop():
    hops = hops_of((PATH[0], 100, 0), (PATH[6], 900, 0), (PATH[7], 1000, 0))
    assert hops["hop"].tolist() == ["c1:eth0 queue", "c0:eth0 rx", "c0:eth0 receive"]
    assert hops["kind"].tolist() == ["", "processing", "queueing"]


def test_columns_equal_the_schema():
    session = Session(with_softirqs(50), manifest())
    table = session.breakdown(by="kind")
    assert [(name, str(dtype)) for name, dtype in table.dtypes.items()] == [
        (c.name, c.dtype) for c in schema.TABLES["breakdown_by_kind"]
    ]
