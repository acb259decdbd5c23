"""The network as a graph: edges of known links, and traffic of known packets."""

import numpy as np
import pandas as pd
import pytest

from cmonlab import schema
from cmonlab.data.store import cells, directory
from cmonlab.session.session import Session
from tests.support import many_containers
from tests.support.aggregates import aggregate
from tests.support.events import A0, A1, BASE, C0, C1, DROP, GRO, HOST, QUEUE, RECEIVE, RX, UDP, XMIT, columns, manifest
from tests.support.timed_packets import BEGIN, packets, taking

H0, H1 = 4026532010, 4026532011
LINK = {
    "kind": "",
    "master": 0,
    "peer": 0,
    "lower": 0,
    "link_netns": 0,
    "vni": 0,
    "mtu": 1500,
    "mac": "",
    "addresses": [],
    "from_ns": 0,
    "to_ns": 0,
}
EDGE = ["a", "b", "a_kind", "b_kind", "kind", "a_interface", "b_interface"]


def link(netns, namespace, ifindex, name, kind="", **more):
    return LINK | {"netns": netns, "namespace": namespace, "ifindex": ifindex, "name": name, "kind": kind} | more


def lo(netns, namespace):
    return link(netns, namespace, 1, "lo", addresses=["127.0.0.1"])


BRIDGE = [
    lo(HOST, "host"),
    link(HOST, "host", 2, "br0", "bridge", addresses=["10.77.0.1"]),
    link(HOST, "host", 3, "veth0", "veth", master=2, peer=2),
    link(HOST, "host", 4, "veth1", "veth", master=2, peer=2),
    link(HOST, "host", 9, "eth0", addresses=["192.0.2.2"]),
    link(HOST, "host", 10, "tunl0", "ipip"),
    lo(C0, "c0"),
    link(C0, "c0", 2, "eth0", "veth", peer=3, addresses=["10.77.0.10"]),
    lo(C1, "c1"),
    link(C1, "c1", 2, "eth0", "veth", peer=4, addresses=["10.77.0.11"]),
]


def made(links, events=None, counted=None, **more):
    return Session(events or directory.empty_columns(), manifest() | {"links": links} | more, counted)


def rows_of(table, names):
    return [tuple(row) for row in table[names].to_numpy().tolist()]


def both(links, events, window_ns=10**9):
    """Return a session of events, and one of the aggregates that the kernel would have made of them."""
    return made(links, events), made(links, counted=cells.columns_of(aggregate(events, window_ns=window_ns)))


def walk(*hops, begin=0, number=0, saddr=A1, daddr=A0, size=100):
    """Return the rows of a packet that passes these (namespace, interface, point, ns since the hop before)."""
    at, rows = BEGIN + begin, []
    for netns, ifindex, point, step in hops:
        at += step
        rows.append(
            {
                "skb": BASE + 4 * number,
                "saddr": saddr,
                "daddr": daddr,
                "sport": 4000,
                "dport": 5000,
                "proto": UDP,
                "seq": number,
                "ident": number,
                "len_bytes": size,
                "shape": 7 << 3,
                "detail": 2 if point == DROP else 1,
                "epoch": 1,
                "rules": 1,
                "netns": netns,
                "ifindex": ifindex,
                "point": point,
                "ts_ns": at,
            }
        )
    return rows


def events_of(*walks):
    rows = [row for one in walks for row in one]
    return columns({name: np.array([row[name] for row in rows], np.int64) for name in rows[0]}, len(rows))


# ---- edges -----------------------------------------------------------------------------------


def test_a_container_at_a_port_of_a_bridge_is_one_edge():
    table = made(BRIDGE).topology()
    assert table.columns.tolist() == schema.columns("topology")
    assert set(rows_of(table, EDGE)) == {
        ("c0", "host:br0", "container", "bridge", "veth", "c0:eth0", "host:veth0"),
        ("c1", "host:br0", "container", "bridge", "veth", "c1:eth0", "host:veth1"),
        ("host", "host:br0", "host", "bridge", "gateway", "host:br0", ""),
        ("host", "host:eth0", "host", "interface", "uplink", "", "host:eth0"),
    }
    assert set(table["a_host"]) == set(table["b_host"]) == {"host"}


def test_no_links_give_no_edges():
    session = made([])
    assert session.topology().columns.tolist() == schema.columns("topology") and session.topology().empty
    assert session.edges().columns.tolist() == schema.columns("edges") and session.edges().empty


OVERLAY = [
    link(H0, "h0", 2, "up1", "veth", peer=2, addresses=["10.78.0.2"]),
    link(H0, "h0", 3, "br0", "bridge"),
    link(H0, "h0", 4, "vxlan0", "vxlan", master=3, vni=42),
    link(H0, "h0", 5, "veth0", "veth", master=3, peer=2, link_netns=C0),
    link(H1, "h1", 2, "up0", "veth", peer=2, addresses=["10.78.0.3"]),
    link(H1, "h1", 3, "br0", "bridge"),
    link(H1, "h1", 4, "vx", "vxlan", master=3, vni=42),
    link(H1, "h1", 5, "veth1", "veth", master=3, peer=2, link_netns=C1),
    link(C0, "c0", 2, "eth0", "veth", peer=5, link_netns=H0, addresses=["10.77.0.10"]),
    link(C1, "c1", 2, "eth0", "veth", peer=5, link_netns=H1, addresses=["10.77.0.11"]),
]


def test_an_overlay_joins_two_hosts_whose_interfaces_have_equal_numbers():
    table = made(OVERLAY).topology()
    assert set(rows_of(table, EDGE)) == {
        ("c0", "h0:br0", "container", "bridge", "veth", "c0:eth0", "h0:veth0"),
        ("c1", "h1:br0", "container", "bridge", "veth", "c1:eth0", "h1:veth1"),
        ("h0:br0", "h0:vxlan0", "bridge", "vxlan", "port", "", "h0:vxlan0"),
        ("h1:br0", "h1:vx", "bridge", "vxlan", "port", "", "h1:vx"),
        ("h0:vxlan0", "h1:vx", "vxlan", "vxlan", "tunnel", "h0:vxlan0", "h1:vx"),
        ("h0", "h1", "host", "host", "veth", "h0:up1", "h1:up0"),
    }
    hosts = table.set_index("a")["a_host"]
    assert (hosts["c0"], hosts["c1"], hosts["h0:br0"]) == ("h0", "h1", "h0")


def test_an_uncertain_other_end_is_not_guessed():
    """Older sessions do not record its namespace, and here two devices match."""
    older = [{key: value for key, value in row.items() if key not in ("link_netns", "vni")} for row in OVERLAY]
    table = made(older).topology()
    found = set(rows_of(table, ["a", "b"]))
    assert {("c0", "c0:eth0"), ("c1", "c1:eth0"), ("h0:br0", "h0:veth0"), ("h1:br0", "h1:veth1")} <= found
    assert ("h0", "h1") in found  # only one device matches


MACVLAN = [
    lo(HOST, "host"),
    link(HOST, "host", 4, "eth0", addresses=["192.0.2.2"]),
    link(C0, "c0", 6, "eth0", "macvlan", lower=4, link_netns=HOST, addresses=["10.77.0.10"]),
    link(C1, "c1", 5, "eth0", "macvlan", lower=4, link_netns=HOST, addresses=["10.77.0.11"]),
]


def test_macvlans_are_attached_to_their_parent():
    assert set(rows_of(made(MACVLAN).topology(), EDGE)) == {
        ("c0", "host:eth0", "container", "interface", "macvlan", "c0:eth0", "host:eth0"),
        ("c1", "host:eth0", "container", "interface", "macvlan", "c1:eth0", "host:eth0"),
        ("host", "host:eth0", "host", "interface", "uplink", "", "host:eth0"),
    }


LOOPBACK = [
    lo(HOST, "host"),
    link(HOST, "host", 1, "lo", addresses=["10.77.0.10"]) | {"namespace": "c0"},
    link(HOST, "host", 1, "lo", addresses=["10.77.0.11"]) | {"namespace": "c1"},
]
OVER_LO = [(HOST, 1, QUEUE, 0), (HOST, 1, XMIT, 5), (HOST, 1, RX, 7), (HOST, 1, RECEIVE, 11)]


def test_containers_in_the_hosts_namespace_share_its_loopback():
    assert set(rows_of(made(LOOPBACK).topology(), EDGE)) == {
        ("c0", "host", "container", "host", "loopback", "", "host:lo"),
        ("c1", "host", "container", "host", "loopback", "", "host:lo"),
    }


# ---- traffic --------------------------------------------------------------------------------

TRAFFIC = ["src", "dst", "packets", "bytes", "delay_p50_ns", "dropped"]


def traffic(table):
    return {tuple(None if one != one else one for one in row) for row in rows_of(table, TRAFFIC)}


def bridged(**options):
    events = packets(np.arange(5) * 10_000, taking([100, 120, 140, 160, 180]), **options)
    return both(BRIDGE, events)


@pytest.mark.parametrize("which", [0, 1])
def test_packets_over_a_bridge_cross_its_edges(which):
    """From c1 they take 1 ns to the backlog of veth1 and 94 to 174 in it; to c0 1 ns each."""
    table = bridged()[which].edges()
    assert [(name, str(dtype)) for name, dtype in table.dtypes.items()] == [
        (c.name, c.dtype) for c in schema.TABLES["edges"]
    ]
    by = table.set_index(["src", "dst"])
    assert by.index.tolist() in ([("c1", "host:br0"), ("host:br0", "c0")], [("host:br0", "c0"), ("c1", "host:br0")])
    assert (by["packets"] == 5).all() and (by["bytes"] == 500).all() and (by["loss"] == 0).all()
    assert by.loc[("c1", "host:br0"), "delay_p50_ns"] == pytest.approx(135, rel=1 / 64)
    assert by.loc[("c1", "host:br0"), "delay_p99_ns"] == pytest.approx(1 + 134 + 0.98 * 40, rel=1 / 32)
    assert by.loc[("host:br0", "c0"), ["delay_p50_ns", "delay_p99_ns"]].tolist() == [2, 2]
    width_s = (table["end_ns"] - table["start_ns"]) / 1e9
    assert (table["throughput_bps"] * width_s).tolist() == pytest.approx([4000, 4000])


@pytest.mark.parametrize("which", [0, 1])
def test_a_dropped_packet_counts_on_the_edge_out_of_its_last_place(which):
    """The host drops two packets at veth0, before they leave it for c0."""
    by = bridged(dropped={1, 3})[which].edges().set_index(["src", "dst"])
    assert by.loc[("c1", "host:br0"), ["packets", "dropped"]].tolist() == [5, 0]
    assert by.loc[("host:br0", "c0"), ["packets", "dropped", "loss"]].tolist() == [3, 2, 0.4]


@pytest.mark.parametrize("which", [0, 1])
def test_edges_have_rows_per_window(which):
    events = packets([0, 10, 2 * 10**9], taking([100] * 3))
    table = both(BRIDGE, events)[which].edges(windows=True)
    assert sorted(rows_of(table, ["start_ns", "src", "packets"])) == [
        (BEGIN, "c1", 2),
        (BEGIN, "host:br0", 2),
        (BEGIN + 2 * 10**9, "c1", 1),
        (BEGIN + 2 * 10**9, "host:br0", 1),
    ]
    assert len(both(BRIDGE, events)[which].edges()) == 2


TUNNELLED = [
    (C0, 2, QUEUE, 0), (C0, 2, XMIT, 1), (H0, 5, RX, 2), (H0, 5, RECEIVE, 3), (H0, 4, QUEUE, 4), (H0, 4, XMIT, 5),
    (H0, 2, QUEUE, 6), (H0, 2, XMIT, 7), (H1, 2, RX, 8), (H1, 2, RECEIVE, 9), (H1, 4, GRO, 10), (H1, 4, RECEIVE, 11),
    (H1, 5, QUEUE, 12), (H1, 5, XMIT, 13), (C1, 2, RX, 14), (C1, 2, RECEIVE, 15),
]  # fmt: skip


@pytest.mark.parametrize("which", [0, 1])
def test_packets_through_a_tunnel_cross_its_edge(which):
    """Each segment takes 1 ns more than the one before, so that a sum identifies its segments."""
    events = events_of(*(walk(*TUNNELLED, begin=1000 * n, number=n, saddr=A0, daddr=A1) for n in range(3)))
    assert traffic(both(OVERLAY, events)[which].edges()) == {
        ("c0", "h0:br0", 3, 300, 2 + 3, 0),
        ("h0:br0", "h0:vxlan0", 3, 300, None, 0),
        ("h0:vxlan0", "h1:vx", 3, 300, 6 + 7 + 8 + 9 + 10 + 11, 0),
        ("h0", "h1", 3, 300, 8 + 9, 0),
        ("h1:vx", "h1:br0", 3, 300, None, 0),
        ("h1:br0", "c1", 3, 300, 14 + 15, 0),
    }


@pytest.mark.parametrize("which", [0, 1])
def test_packets_between_macvlans_cross_their_parent(which):
    """The device below receives what a macvlan sends; no point follows."""
    way = [(C1, 5, QUEUE, 0), (C1, 5, XMIT, 3), (HOST, 4, RX, 5), (HOST, 4, RECEIVE, 7)]
    events = events_of(*(walk(*way, begin=1000 * n, number=n) for n in range(4)))
    assert traffic(both(MACVLAN, events)[which].edges()) == {
        ("c1", "host:eth0", 4, 400, 12, 0),
        ("host:eth0", "c0", 4, 400, None, 0),
    }


@pytest.mark.parametrize("which", [0, 1])
def test_packets_over_loopback_cross_its_edge(which):
    events = events_of(*(walk(*OVER_LO, begin=1000 * n, number=n) for n in range(2)))
    session = both(LOOPBACK, events)[which]
    assert traffic(session.edges()) == {("c1", "host", 2, 200, 18, 0), ("host", "c0", 2, 200, None, 0)}
    alone = both([lo(HOST, "host")], events)[which]
    assert traffic(alone.edges()) == {("host", "host", 2, 200, 18, 0)}
    assert rows_of(alone.topology(), ["a", "b", "kind"]) == [("host", "host", "loopback")]


@pytest.mark.parametrize("which", [0, 1])
def test_packets_over_an_uplink_count_in_both_directions(which):
    """The other end is not traced."""
    out = walk((HOST, 9, QUEUE, 0), (HOST, 9, XMIT, 3))
    come = walk((HOST, 9, GRO, 0), (HOST, 9, RECEIVE, 3), begin=500, number=1, saddr=A0, daddr=A1)
    assert traffic(both(BRIDGE, events_of(out, come))[which].edges()) == {
        ("host", "host:eth0", 1, 100, None, 0),
        ("host:eth0", "host", 1, 100, None, 0),
    }


def test_of_several_rules_the_one_with_most_packets_counts():
    start, end, window = many_containers.window([(0, 1)], 100)
    window = np.concatenate([window, window])
    window["rule"][len(window) // 2 :], window["packets"][len(window) // 2 :] = 1, 40
    session = Session(
        directory.empty_columns(), many_containers.manifest_of(2), cells.columns_of([(start, end, window)])
    )
    assert session.edges()["packets"].tolist() == [100, 100]


def test_many_containers_in_one_window_have_exact_edges():
    pairs = [(one, (one * 7 + 1) % 200) for one in range(200)]
    session = Session(directory.empty_columns(), many_containers.manifest_of(200), many_containers.columns(pairs, 50))
    table, names = session.edges(), session.topology()
    assert len(table) == 400 and (table["packets"] == 50).all()
    sent = table[table["dst"] == "host:br0"]
    took = {f"c{one}": 30 + 50 + one % 10 for one in range(200)}
    assert dict(zip(sent["src"], sent["delay_p50_ns"], strict=True)) == took
    assert set(table["src"]) | set(table["dst"]) <= set(names["a"]) | set(names["b"])
    assert pd.Series(names["kind"]).value_counts().to_dict() == {"veth": 200, "gateway": 1}


def test_overlays_of_one_vni_without_a_connection_are_separate():
    apart = [row | ({"kind": "", "peer": 0} if row["name"].startswith("up") else {}) for row in OVERLAY]
    kinds = made(apart).topology()["kind"].tolist()
    assert "tunnel" not in kinds and kinds.count("uplink") == 2


@pytest.mark.parametrize("which", [0, 1])
def test_a_drop_at_the_loopback_counts_on_the_edge_to_the_container(which):
    events = events_of(walk(*OVER_LO), walk(*OVER_LO[:3], (HOST, 1, DROP, 9), begin=1000, number=1))
    by = both(LOOPBACK, events)[which].edges().set_index(["src", "dst"])["dropped"]
    assert by.to_dict() == {("c1", "host"): 0, ("host", "c0"): 1}
