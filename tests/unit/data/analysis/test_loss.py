"""Loss per direction, retransmissions matched to their originals, round trip times."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmonlab import schema
from cmonlab.data.store import directory
from cmonlab.session.session import Session
from tests.support.events import (
    A0,
    A1,
    BASE,
    C0,
    C1,
    DROP,
    GRO,
    HOST,
    PATH,
    READ,
    RECEIVE,
    RETRANSMIT,
    RTT,
    TCP,
    XMIT,
    bulk,
    columns,
    manifest,
)
from tests.support.network import Network


def network_of(seed, packets=80, **options):
    network = Network(np.random.default_rng(seed), 6, **{"sockets": True, "loss": 0.15, "repeat": 0.15} | options)
    network.run(packets)
    return network


def fate_of(network, packet):
    """Return the outcome of a packet as the network knows it."""
    if network.rows[packet.hops[-1]]["point"] == DROP:
        return "dropped"
    return "delivered" if packet.number in network.delivery else "arrived"


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=25, deadline=None)
def test_retransmissions_know_what_they_repeat(seed, gro):
    network = network_of(seed, gro=gro)
    session = Session(network.columns(), manifest())
    table, journeys = session.retransmissions(), session.journeys()
    assert len(table) == len(network.said)
    for row, (event, number) in zip(table.itertuples(), sorted(network.said.items()), strict=True):
        packet = network.packets[number]
        assert row.ts_ns == session.events["ts_ns"].iloc[event]
        assert (row.seq, row.payload_bytes) == (packet.position % 2**32, packet.payload)
        same = [p for p in network.packets if (p.fields["proto"], p.position) == (TCP, packet.position)]
        first = network.original(packet)
        if len(same) != 2 or first is packet:  # it is not known which of several it was, or it was overtaken
            continue
        assert journeys["seq"][row.journey] == journeys["seq"][row.original] == row.seq
        assert row.delay_ns == row.ts_ns - session.events["ts_ns"].iloc[first.hops[0]]
        assert row.original_outcome == fate_of(network, first)
        assert row.spurious == (row.original_outcome != "dropped")
        assert bool(row.drop_reason) == (row.original_outcome == "dropped")


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_without_the_kernels_point_repeats_show_retransmissions(seed):
    network = network_of(seed)
    entries = manifest()
    entries["points"] = [point for point in entries["points"] if point["stage"] != "retransmit"]
    table = Session(network.columns(), entries).retransmissions()
    again = [p for p in network.packets if p.fields["proto"] == TCP and network.original(p) is not p]
    assert sorted(table["payload_bytes"]) == sorted(p.payload for p in again)
    assert (table["original"] < table["journey"]).all()


def test_loss_accounts_for_every_packet():
    network = network_of(7, 400, gro=True)
    session = Session(network.columns(), manifest())
    table, journeys = session.loss(), session.journeys()
    counts = list(journeys["outcome"].cat.categories)
    assert (table[counts].sum(axis=1) == table["packets"]).all()
    assert table["packets"].sum() == len(journeys) == len(network.packets)
    for name in counts:
        assert table[name].sum() == (journeys["outcome"] == name).sum(), name
    row = table.iloc[0]
    assert row["loss"] == row["dropped"] / (row["packets"] - row["merged"])
    assert row["retransmissions"] == len(network.said) > 20
    assert "host:veth0 NOT_SPECIFIED ×" in row["places"]


BASIC = {"saddr": A1, "daddr": A0, "sport": 40000, "dport": 80, "proto": TCP, "shape": 13 << 3, "detail": 1}


def session_of(*rows):
    """Return a session of rows ((netns, ifindex, point), buffer, seq, payload, more fields)."""
    table = [
        BASIC
        | {
            "netns": hop[0],
            "ifindex": hop[1],
            "point": hop[2],
            "skb": BASE + 4 * buffer,
            "seq": seq,
            "len_bytes": 52 + size,
            "ts_ns": 10_000 * at,
        }
        | (more[0] if more else {})
        for at, (hop, buffer, seq, size, *more) in enumerate(rows)
    ]
    names = {name for row in table for name in row}
    made = {name: np.array([row.get(name, 0) for row in table], np.int64) for name in names}
    return Session(columns(made, len(table)), manifest())


def test_the_fate_of_a_split_packet_is_that_of_its_part():
    """One buffer of 3 segments is cut at the sender's device; the second part is dropped and retransmitted."""
    way = PATH[2:]
    session = session_of(
        (PATH[0], 1, 100, 300, {"detail": 3}),
        *(((C1, 2, XMIT), part + 2, 100 + 100 * part, 100) for part in range(3)),
        *((hop, 2, 100, 100) for hop in way),
        (PATH[2], 3, 200, 100), ((HOST, 4, DROP), 3, 200, 100, {"detail": 2}),
        *((hop, 4, 300, 100) for hop in way),
        ((C1, 0, RETRANSMIT), 90, 200, 0, {"aux": 100}),
        *((hop, 5, 200, 100) for hop in PATH),
    )  # fmt: skip
    journeys, again, loss = session.journeys(), session.retransmissions().iloc[0], session.loss().iloc[0]
    assert journeys["outcome"].tolist() == ["split", "arrived", "dropped", "arrived", "arrived"]
    assert journeys["parent"].tolist() == [-1, 0, 0, 0, -1]
    assert journeys["complete"].tolist() == [False, True, False, True, True]
    assert (again["original"], again["original_outcome"], again["place"]) == (0, "dropped", "host:veth1")
    assert (again["drop_reason"], again["spurious"]) == ("NOT_SPECIFIED", False)
    assert loss[["packets", "split", "dropped", "arrived", "unfinished"]].tolist() == [5, 1, 1, 3, 0]
    assert loss["loss"] == 1 / 4


def merged_pair(*more):
    """Return the rows of two segments that c0 merges."""
    return (
        *(((hop, buffer, seq, 100)) for buffer, seq in ((1, 100), (2, 200)) for hop in (*PATH[:6], (C0, 2, GRO))),
        ((C0, 2, RECEIVE), 1, 100, 200),
        *more,
    )


def test_merged_packets_are_not_lost_and_their_bytes_arrive():
    session = session_of(*merged_pair())
    assert session.journeys()["outcome"].tolist() == ["arrived", "merged"]
    assert session.journeys()["complete"].tolist() == [True, False]
    throughput = session.throughput(1)
    assert (throughput["packets"].sum(), session.loss()["loss"].tolist()) == (2, [0])
    width_s = session.duration_s
    assert throughput["goodput_bps"].sum() * width_s / 8 == pytest.approx(200)


def test_merged_packets_that_were_read_are_delivered():
    read = ((C0, 0, READ), 99, 100, 0, {"aux": 200, "len_bytes": 0})
    session = session_of(*merged_pair(read))
    assert session.journeys()["outcome"].tolist() == ["delivered", "delivered"]
    assert session.journeys()["complete"].all()


def test_a_repetition_of_a_merged_packet_is_spurious():
    session = session_of(*merged_pair(((C1, 0, RETRANSMIT), 90, 200, 0, {"aux": 100})), (PATH[0], 4, 200, 100))
    again = session.retransmissions().iloc[0]
    assert (again["original_outcome"], again["spurious"], again["place"]) == ("arrived", True, "c0:eth0")


def test_round_trip_times_are_in_ns():
    session = session_of((PATH[0], 1, 100, 10), ((C1, 0, RTT), 90, 0, 0, {"aux": 38}))
    assert session.rtt().to_dict("records") == [
        {"ts_ns": 10_000, "direction": "c1 → c0", "sport": 40000, "dport": 80, "srtt_ns": 38_000}
    ]


def test_packets_that_began_elsewhere_are_not_counted():
    session = session_of(*((hop, 1, 100, 10) for hop in PATH[2:]))
    assert len(session.loss()) == 0


def test_drops_by_a_filter_at_the_source_count_as_lost():
    """A filter at the egress of the device is before the first transmit point."""
    session = session_of(
        *((hop, 1, 100, 10) for hop in PATH),
        ((C1, 2, DROP), 2, 110, 10, {"detail": 2}),
        ((HOST, 4, DROP), 3, 120, 10, {"detail": 2}),  # where it came from was not seen
    )
    loss = session.loss()
    assert loss[["direction", "packets", "arrived", "dropped"]].values.tolist() == [["c1 → c0", 2, 1, 1]]
    assert loss["places"].tolist() == ["c1:eth0 NOT_SPECIFIED ×1"]


def test_columns_equal_the_schema():
    network = network_of(3, 200)
    for session in (
        Session(network.columns(), manifest()),
        Session(directory.empty_columns(), manifest()),
        Session(bulk(50), manifest()),
    ):
        for name in ("loss", "retransmissions", "rtt"):
            assert session.table(name).columns.tolist() == schema.columns(name)
    session = Session(network.columns(), manifest())
    for name in ("retransmissions", "loss"):
        assert [(column, str(dtype)) for column, dtype in session.table(name).dtypes.items()] == [
            (c.name, c.dtype if c.dtype != "object" else "str") for c in schema.TABLES[name]
        ]


def test_segments_of_a_journey_sum_to_its_delay_from_the_send():
    session = Session(network_of(11, 200).columns(), manifest())
    journeys, breakdown = session.journeys(), session.breakdown()
    sent = journeys[journeys["complete"] & (journeys["proto"] == "tcp")]
    assert breakdown["segment"].astype(str).str.contains("c1 send → c1:eth0 queue").any()
    assert (breakdown["mean_ns"] * breakdown["n"]).sum() == pytest.approx(
        journeys.loc[journeys["complete"], "one_way_delay_ns"].sum()
    )
    assert {"scheduling", "queueing", "processing"} <= set(session.breakdown(by="kind")["kind"])
    assert len(sent) > 50
    assert breakdown["segment"].iloc[0].startswith("c1 send")
