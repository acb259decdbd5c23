"""Throughput over time, and drops."""

import numpy as np
import pytest

from cmonlab import schema
from cmonlab.data.store import directory
from cmonlab.session.session import Session
from tests.support.events import BASE, C0, DROP, PATH, bulk, columns, manifest
from tests.support.network import Network


@pytest.fixture(scope="module")
def session():
    return Session(bulk(4000), manifest())


@pytest.mark.parametrize("window_s", [0.0001, 0.00037, 0.1, 10])
def test_throughput_counts_each_byte_once(session, window_s):
    table, journeys = session.throughput(window_s), session.journeys()
    assert table["packets"].sum() == len(journeys)
    width = np.diff(table["time_s"], append=session.duration_s)
    if len(table) > 1:
        assert width[:-1] == pytest.approx(window_s)
    assert (table["throughput_bps"] * width).sum() / 8 == pytest.approx(journeys["len_bytes"].sum(), rel=1e-6)
    assert (table["goodput_bps"] * width).sum() / 8 == pytest.approx(journeys["payload_bytes"].sum(), rel=1e-6)
    assert table["time_s"].is_monotonic_increasing


@pytest.mark.parametrize("window_s", [0, -1, float("nan")])
def test_a_window_without_a_width_is_refused(session, window_s):
    with pytest.raises(ValueError, match="window_s"):
        session.throughput(window_s)


def test_columns_equal_the_schema(session):
    for made in (session, Session(directory.empty_columns(), manifest())):
        for name in ("throughput", "drops"):
            assert made.table(name).columns.tolist() == schema.columns(name)


def test_each_drop_is_counted_once():
    network = Network(np.random.default_rng(3), 6, loss=0.4)
    network.run(300)
    session = Session(network.columns(), manifest())
    dropped = [p for p in network.packets if network.rows[p.hops[-1]]["point"] == DROP]
    drops, journeys = session.drops(), session.journeys()
    assert len(drops) == len(dropped) > 50
    assert (journeys["outcome"] == "dropped").sum() == len(dropped)
    assert drops["journey"].tolist() == sorted(drops["journey"], key=lambda j: session.hops(j)["ts_ns"].iloc[-1])
    assert journeys["outcome"].loc[drops["journey"]].eq("dropped").all()
    assert (journeys["drop_reason"].loc[drops["journey"]].astype(str).to_numpy() == drops["reason"].astype(str)).all()


def test_drops_with_and_without_a_journey():
    """A drop knows its journey, also among others that have none."""
    rows = [
        {"skb": BASE + 256 * n, "netns": hop[0], "ifindex": hop[1], "point": hop[2], "detail": 2, "seq": n}
        for n, hops in enumerate([[], PATH[:3], []])
        for hop in (*hops, (C0, 2, DROP))
    ]
    made = {name: np.array([row[name] for row in rows], np.uint64) for name in rows[0]}
    session = Session(columns(made | {"ts_ns": np.arange(len(rows))}, len(rows)), manifest())
    assert session.drops()["journey"].tolist() == [-1, 0, -1]
