"""Breakdowns add up, and their quantiles equal numpy's."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cmonlab import schema
from cmonlab.data.analysis import times
from cmonlab.data.correlation import order
from cmonlab.data.store import directory
from cmonlab.session.session import Session
from tests.support.breakdowns import check_breakdown
from tests.support.events import bulk, manifest
from tests.support.network import Network


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_segments_add_up_to_the_delay(seed, packets):
    network = Network(np.random.default_rng(seed), 6, gro=seed % 2)
    network.run(packets)
    check_breakdown(Session(network.columns(), manifest()))


def test_segments_add_up_in_small_parts(monkeypatch):
    session = Session(bulk(400), manifest())
    monkeypatch.setattr(times, "PART", 40)
    monkeypatch.setattr(order, "PART", 33)
    check_breakdown(session)
    whole = Session(bulk(400), manifest())
    monkeypatch.undo()
    assert whole.breakdown().equals(session.breakdown())


def test_tcp_and_udp_share_the_rows_of_segments():
    """They are delivered at different points that have one label."""
    breakdown = Session(bulk(400), manifest()).breakdown()
    assert len(breakdown) == 8
    assert (breakdown["n"] == 400).all()


def test_segments_are_in_order_of_the_path():
    segments = Session(bulk(400), manifest()).breakdown()["segment"].astype(str)
    assert [s.split(" → ")[0] for s in segments[1:]] == [s.split(" → ")[1] for s in segments[:-1]]


def test_columns_equal_the_schema():
    session = Session(bulk(50), manifest())
    for name in ("breakdown", "hops"):
        table = session.table(name)
        assert [(column, str(dtype)) for column, dtype in table.dtypes.items()] == [
            (c.name, c.dtype) for c in schema.TABLES[name]
        ]
        empty = Session(directory.empty_columns(), manifest()).table(name)
        assert empty.columns.tolist() == schema.columns(name)


def test_hops_are_those_of_the_given_journeys():
    session = Session(bulk(50), manifest())
    hops = session.hops([7, 3])
    assert hops["journey"].unique().tolist() == [3, 7]
    assert len(hops) == 18
    assert (hops["segment"] == "").sum() == 2
