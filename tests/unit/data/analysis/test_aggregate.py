"""Tables from aggregates agree with those from the events that were aggregated."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmonlab import schema
from cmonlab.data.analysis import aggregate as tables
from cmonlab.data.analysis.pairs import balance
from cmonlab.data.analysis.times import QUANTILES
from cmonlab.data.store import cells, directory
from cmonlab.session.report.sections import _aggregated
from cmonlab.session.session import Session
from tests.support import ROOT, aggregates
from tests.support.aggregates import DTYPE, FIELDS, KEY, aggregate
from tests.support.events import A0, A1, C0, C1, GRO, HOST, QUEUE, RECEIVE, XMIT, bulk, manifest
from tests.support.network import Network

WINDOW_NS = 100_000


def session_of(events, **options):
    """Return a session with events, and with the aggregates that the kernel would have made of them."""
    return Session(events, manifest(), cells.columns_of(aggregate(events, **{"window_ns": WINDOW_NS} | options)))


@pytest.fixture(scope="module")
def session():
    return session_of(bulk(600))


def test_kinds_of_cells_equal_those_of_the_kernel():
    header = (ROOT / "bpf" / "records.h").read_text()
    numbers = {name: int(value) for name, value in re.findall(r"#define CELL_(\w+)\s+(\d+)", header)}
    assert numbers == {name: getattr(tables, name) for name in numbers} and len(numbers) == 6
    assert numbers == {
        ("DROP" if n == "DROPPED" else n): getattr(aggregates, n)
        for n in ("HOP", "SEGMENT", "TOTAL", "DROPPED", "RETRANSMIT", "RTT")
    }
    fields = (
        re.search(r"struct cell_key \{(.*?)\};", header, re.S)[1]
        + re.search(r"struct cell \{(.*?)\};", header, re.S)[1]
    )
    named = set(re.findall(r"\bu\d+ (\w+);", fields)) - {"hash", "unused"}
    assert named == set(FIELDS) - {"start_ns", "end_ns"}


def test_pairs_count_each_packet_once(session):
    pairs, journeys = session.pairs(), session.journeys()
    assert pairs["direction"].unique().tolist() == ["c1 → c0"]
    assert len(pairs) > 3
    assert pairs["packets_sent"].sum() == pairs["packets_arrived"].sum() == len(journeys)
    assert pairs["bytes"].sum() == journeys["len_bytes"].sum()
    width_s = (pairs["end_ns"] - pairs["start_ns"]) / 1e9
    assert (pairs["throughput_bps"] * width_s / 8).sum() == pytest.approx(journeys["len_bytes"].sum())


def test_packets_in_flight_between_windows_are_not_lost(session):
    pairs = session.pairs()
    assert (pairs["packets_sent"] != pairs["packets_arrived"]).any()
    assert (pairs["lost"] == 0).all() and (pairs["lost_total"] == 0).all()


def test_one_way_delays_of_aggregates_equal_those_of_events():
    session = session_of(bulk(600), window_ns=10**9)
    hops = session.hops()
    arrival = hops[hops["hop"] == "c0:eth0 receive"]["offset_ns"]
    pairs = session.pairs().iloc[0]
    assert pairs["one_way_delay_p50_ns"] == pytest.approx(arrival.median(), rel=1 / 64)
    assert pairs["one_way_delay_p99_ns"] == pytest.approx(arrival.quantile(0.99), rel=1 / 64)


@pytest.mark.parametrize("windows", [False, True])
def test_segments_of_aggregates_equal_the_breakdown_of_events(session, windows):
    segments, breakdown = session.segments(windows), session.breakdown().set_index("segment")
    inner = [name for name in breakdown.index if "read" not in name]
    assert segments["n"].sum() == breakdown.loc[inner, "n"].sum()
    if windows:
        assert set(segments["start_ns"]) == set(session.pairs()["start_ns"])
        return
    short = {f"{name.split(' → ')[0].split(' ')[-1]} → {name.split(' → ')[1]}": name for name in inner}
    assert segments["segment"].tolist() == list(short)  # in order of the path
    for row in segments.itertuples():
        exact = breakdown.loc[short[row.segment]]
        assert (row.n, row.kind) == (exact["n"], exact["kind"])
        assert row.mean_ns == pytest.approx(exact["mean_ns"])
        for name in QUANTILES:
            assert getattr(row, name) == pytest.approx(exact[name], rel=1 / 64)


def test_flows_have_one_row_per_flow():
    session = session_of(bulk(600), by_flow=True)
    flows, journeys = session.flows(), session.journeys()
    counted = flows.groupby(["proto", "sport", "dport"], observed=True)["packets_arrived"].sum()
    assert counted.to_dict() == journeys.groupby(["proto", "sport", "dport"], observed=True).size().to_dict()
    pd.testing.assert_frame_equal(session.pairs(), session_of(bulk(600)).pairs())


def test_drop_counts_name_place_and_reason():
    network = Network(np.random.default_rng(3), 6, loss=0.3, repeat=0)
    network.run(400)
    session = session_of(network.columns())
    dropped = session.drops().groupby(["place", "reason"], observed=True).size()
    counts = session.drop_counts().groupby(["place", "reason"], observed=True)["packets"].sum()
    assert counts.to_dict() == dropped.to_dict()
    assert session.pairs()["dropped"].sum() == dropped.sum() > 50


@given(st.integers(0, 2**32 - 1), st.integers(1, 80), st.booleans(), st.sampled_from([3_000, 20_000, 10**9]))
@settings(max_examples=25, deadline=None)
def test_loss_equals_the_drops_of_the_network(seed, packets, gro, window_ns):
    """However packets are spread over windows, merged by GRO, repeated and overtaken."""
    network = Network(np.random.default_rng(seed), 6, gro=gro, sockets=True, loss=0.2)
    network.nat = False
    network.run(packets)
    pairs = session_of(network.columns(), window_ns=window_ns).pairs()
    assert pairs["packets_sent"].sum() == len(network.packets)
    assert pairs["lost"].sum() == pairs["lost_total"].iloc[-1] == sum(packet.lost for packet in network.packets)
    assert (pairs["lost"] >= 0).all()


def test_an_address_belongs_to_its_last_owner_in_a_window():
    entries = manifest()
    entries["links"].append(entries["links"][0] | {"netns": 77, "namespace": "c9", "from_ns": 1_500_000_000})
    rows = [cell(aggregates.HOP, C1, 2, QUEUE, 1, window) for window in range(3)]
    assert table_of(*rows, entries=entries).pairs()["dst"].tolist() == ["c0", "c9", "c9"]


def test_ipv6_addresses_have_their_owners():
    entries = manifest()
    entries["addresses6"] = {"4711": "fd77" + "00" * 13 + "10"}
    entries["links"][0]["addresses"] = ["10.77.0.10", "fd77::10"]
    row = cell(aggregates.SEGMENT, C0, 2, RECEIVE, 3, saddr=4712, daddr=4711, shape=1)
    pairs = table_of(row, entries=entries).pairs().iloc[0]
    assert (pairs["src"], pairs["dst"], pairs["packets_arrived"]) == ("ipv6-00001268", "c0", 3)


def cell(kind, netns, ifindex, point, packets=1, window=0, **fields):
    """Return one cell of packets from c1 to c0."""
    base = {"kind": kind, "netns": netns, "ifindex": ifindex, "point": point, "saddr": A1, "daddr": A0}
    row = dict.fromkeys(FIELDS, 0) | base | {"packets": packets, "bytes": 100 * packets} | fields
    return row | {"start_ns": window * 10**9, "end_ns": (window + 1) * 10**9}


def table_of(*rows, entries=None):
    columns = {name: np.array([row[name] for row in rows], dtype) for name, dtype in cells.DTYPES.items()}
    return Session(directory.empty_columns(), entries or manifest(), columns)


@pytest.mark.parametrize(
    ("sent", "arrived", "lost"),
    [
        ([10, 10, 10], [10, 10, 10], [0, 0, 0]),
        ([10, 10, 10], [8, 12, 10], [0, 0, 0]),  # in flight
        ([10, 10, 10], [8, 10, 12], [0, 0, 0]),
        ([10, 10, 10], [8, 10, 10], [2, 0, 0]),  # lost
        ([10, 10, 10], [8, 11, 5], [1, 0, 5]),
        ([10, 10, 10], [12, 10, 10], [0, 0, 0]),  # sent before the first window
    ],
)
def test_lost_counts_packets_that_never_arrive(sent, arrived, lost):
    rows = [cell(aggregates.HOP, C1, 2, QUEUE, n, window) for window, n in enumerate(sent)]
    rows += [cell(aggregates.SEGMENT, C0, 2, RECEIVE, n, window) for window, n in enumerate(arrived)]
    pairs = table_of(*rows).pairs()
    assert pairs["lost"].tolist() == lost
    assert pairs["lost_total"].tolist() == np.cumsum(lost).tolist()
    # Window by window and then concatenated, as a live display does it.
    apart = [table_of(*(row for row in rows if row["start_ns"] == start * 10**9)).pairs() for start in range(3)]
    pd.testing.assert_frame_equal(balance(pd.concat(apart)), pairs, check_categorical=False)


def test_a_bridge_and_its_port_count_a_packet_once():
    """The host's own packets pass queue and xmit at the bridge and at its port."""
    host = {"saddr": 0x01004D0A, "packets": 5}
    rows = [cell(aggregates.HOP, HOST, 2, QUEUE, **host)]
    rows += [
        cell(aggregates.SEGMENT, HOST, at, point, **host, **{"from": before})
        for at, point, before in ((2, XMIT, QUEUE), (3, QUEUE, XMIT), (3, XMIT, QUEUE))
    ]
    rows += [cell(aggregates.SEGMENT, C0, 2, RECEIVE, **host, **{"from": XMIT})]
    back = {"saddr": A0, "daddr": 0x01004D0A, "packets": 4}
    rows += [cell(aggregates.HOP, C0, 2, QUEUE, **back)]
    rows += [cell(aggregates.SEGMENT, HOST, at, RECEIVE, **back, **{"from": before}) for at, before in ((3, 2), (2, 3))]
    pairs = table_of(*rows).pairs().set_index("direction")
    assert pairs.loc["host → c0", ["packets_sent", "packets_arrived", "lost"]].tolist() == [5, 5, 0]
    assert pairs.loc["c0 → host", ["packets_sent", "packets_arrived", "lost"]].tolist() == [4, 4, 0]


def test_merged_packets_count_as_arrived():
    rows = [
        cell(aggregates.HOP, C1, 2, QUEUE, 9),
        cell(aggregates.SEGMENT, C0, 2, GRO, 9),
        cell(aggregates.SEGMENT, C0, 2, RECEIVE, 3, **{"from": GRO}),
    ]
    pairs = table_of(*rows).pairs().iloc[0]
    assert (pairs["packets_arrived"], pairs["bytes"], pairs["lost"]) == (9, 900, 0)


def test_loss_is_unknown_if_an_end_was_not_seen():
    away = {"daddr": 0x08080808}
    rows = [cell(aggregates.HOP, C1, 2, QUEUE, 9, **away), cell(aggregates.HOP, C1, 2, RECEIVE, 9, **away)]
    pairs = table_of(*rows).pairs().iloc[0]
    assert (pairs["direction"], pairs["packets_sent"], pairs["bytes"]) == ("c1 → 8.8.8.8", 9, 900)
    assert np.isnan(pairs["lost"]) and np.isnan(pairs["one_way_delay_p50_ns"])


def test_loss_is_unknown_if_a_rule_counts_at_one_end_only():
    pairs = table_of(cell(aggregates.HOP, C1, 2, QUEUE, 9)).pairs()
    assert pairs["lost"].isna().all() and pairs["lost_total"].isna().all()


def test_rules_have_rows_of_their_own():
    entries = manifest()
    entries["rules"].append(entries["rules"][0] | {"slot": 5, "name": "web"})
    rows = [cell(aggregates.HOP, C1, 2, QUEUE, n, rule=slot) for slot, n in ((0, 9), (5, 4), (7, 1))]
    pairs = table_of(*rows, entries=entries).pairs().set_index("rule")
    assert pairs["packets_sent"].to_dict() == {"all": 9, "web": 4, "rule 7": 1}


def test_pairs_have_retransmissions_and_round_trip_times():
    rows = [cell(aggregates.RETRANSMIT, C1, 0, 13, 3)]
    times = ((40_000, 2), (10, 1))
    rows += [cell(aggregates.RTT, C1, 0, 14, n, bucket=aggregates.bucket_of(time_ns)) for time_ns, n in times]
    pairs = table_of(*rows).pairs().iloc[0]
    assert (pairs["retransmissions"], pairs["packets_sent"]) == (3, 0)
    assert pairs["srtt_p50_ns"] == pytest.approx(40_000, rel=1 / 64)


def test_columns_equal_the_schema(session):
    for made in (session, Session(directory.empty_columns(), manifest())):
        for name in ("pairs", "flows", "segments", "drop_counts"):
            assert made.table(name).columns.tolist() == schema.columns(name)
    for name in ("pairs", "flows", "segments"):
        assert [(column, str(dtype)) for column, dtype in session.table(name).dtypes.items()] == [
            (c.name, c.dtype) for c in schema.TABLES[name]
        ]


def test_a_session_of_aggregates_only_has_its_tables():
    events = bulk(300)
    counted = cells.columns_of(aggregate(events, window_ns=WINDOW_NS))
    session = Session(directory.empty_columns(), manifest(), counted)
    windows = len(np.unique(counted["start_ns"]))
    assert f"{windows} windows of aggregates, {len(counted['kind']):,} cells" in repr(session)
    assert session.duration_s == pytest.approx(windows * WINDOW_NS / 1e9)
    assert session.pairs()["packets_sent"].sum() == 300
    assert ("aggregate all", "300 sent, 300 arrived, 0 dropped") in _aggregated(session)


def test_saved_columns_load_unchanged(tmp_path):
    columns = cells.columns_of(aggregate(bulk(300), window_ns=WINDOW_NS))
    cells.save_cells(tmp_path / cells.CELLS, columns)
    again = cells.load_cells(tmp_path / cells.CELLS)
    assert list(again) == FIELDS
    for name, values in columns.items():
        assert again[name].dtype == values.dtype and (again[name] == values).all(), name


def test_a_file_without_a_column_is_damaged(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"start_ns": [1]}), tmp_path / "cells.parquet")
    with pytest.raises(ValueError, match="end_ns"):
        cells.load_cells(tmp_path / "cells.parquet")


def test_no_windows_give_empty_columns():
    assert {name: str(values.dtype) for name, values in cells.columns_of([]).items()} == {
        name: np.dtype(dtype).name for name, dtype in cells.DTYPES.items()
    }
    empty = cells.columns_of([(0, 10**9, np.empty(0, DTYPE))])
    assert len(empty["kind"]) == 0 and set(KEY) < set(empty)
