"""One-way delays and their variation, of packets with known delays."""

import numpy as np
import pytest

from cmonlab import schema
from cmonlab.data.store import directory
from cmonlab.errors import UnknownName
from cmonlab.session.session import Session
from tests.support.events import bulk, manifest
from tests.support.timed_packets import packets, taking


def session_of(delays, *, every_ns=10_000, entries=None, **options):
    """Return a session of packets that take these delays, sent one after the other."""
    return Session(packets(np.arange(len(delays)) * every_ns, taking(delays), **options), entries or manifest())


def dtypes(table):
    return [(name, str(dtype)) for name, dtype in table.dtypes.items()]


@pytest.mark.parametrize("name", ["one_way_delay", "delay_variation"])
def test_columns_equal_the_schema(name):
    table = Session(bulk(50), manifest()).table(name)
    assert dtypes(table) == [(c.name, c.dtype) for c in schema.TABLES[name]]
    assert Session(directory.empty_columns(), manifest()).table(name).columns.tolist() == schema.columns(name)


def test_one_way_delay_quantiles_are_exact():
    row = session_of([100, 200, 300, 400, 1000]).one_way_delay().iloc[0]
    assert (row["direction"], row["n"], row["min_ns"], row["max_ns"]) == ("c1 → c0", 5, 100, 1000)
    assert (row["mean_ns"], row["p50_ns"]) == (400, 300)
    assert row["std_ns"] == pytest.approx(np.sqrt((300**2 + 200**2 + 100**2 + 0 + 600**2) / 4))
    assert row["p90_ns"] == pytest.approx(400 + 0.6 * 600)
    assert row["p99_ns"] == pytest.approx(400 + 0.96 * 600)
    assert row["p50_low_ns"] == row["p50_high_ns"] == 300  # nothing was sampled out
    assert row["clock_error_ns"] == 0


def test_quantiles_of_a_sample_have_intervals():
    entries = manifest()
    entries["rules"][0]["rule"]["sample"] = 0.1
    row = session_of(list(range(100, 1100)), entries=entries).one_way_delay().iloc[0]
    assert row["p50_low_ns"] < row["p50_ns"] == 599.5 < row["p50_high_ns"]
    few = session_of([100, 200, 300], entries=entries).one_way_delay().iloc[0]
    assert few["p99_low_ns"] <= few["p99_ns"] and few["p99_high_ns"] == np.inf


def test_only_complete_journeys_have_a_delay():
    rows = session_of([100, 200, 300], dropped={1}).one_way_delay()
    assert rows[["n", "min_ns", "max_ns"]].to_numpy().tolist() == [[2, 100, 300]]


def variation(session, **options):
    table = session.delay_variation(**options)
    return {row.measure: row for row in table.itertuples()} if "sport" not in table else table


def test_variation_is_between_consecutive_packets_and_above_the_minimum():
    found = variation(session_of([100, 200, 150, 150]))
    ipdv, pdv = found["IPDV"], found["PDV"]
    assert (ipdv.n, ipdv.min_ns, ipdv.p50_ns, ipdv.max_ns) == (3, -50, 0, 100)
    assert ipdv.mean_ns == pytest.approx(50 / 3) and ipdv.mean_abs_ns == 50
    assert (pdv.n, pdv.min_ns, pdv.p50_ns, pdv.max_ns, pdv.mean_ns) == (4, 0, 50, 100, 50)
    assert pdv.std_ns == pytest.approx(np.std([0, 100, 50, 50], ddof=1))


def test_pairs_with_a_lost_packet_are_left_out():
    """RFC 3393: the variation is undefined if one of the two packets did not arrive."""
    found = variation(session_of([100, 200, 150, 170], dropped={1}))
    assert (found["IPDV"].n, found["IPDV"].min_ns, found["PDV"].n) == (1, 20, 3)


def test_consecutive_packets_are_of_one_flow():
    session = session_of([100, 500, 110, 540], sport=[1, 2, 1, 2])
    both = variation(session)["IPDV"]
    assert (both.n, both.min_ns, both.max_ns) == (2, 10, 40)
    assert variation(session)["PDV"].max_ns == 440  # above the minimum of the direction
    flows = session.delay_variation(by="flow")
    assert dtypes(flows) == [(c.name, c.dtype) for c in schema.TABLES["delay_variation_by_flow"]]
    assert flows[["sport", "measure", "n", "max_ns"]].to_numpy().tolist() == [
        [1, "IPDV", 1, 10], [1, "PDV", 2, 10], [2, "IPDV", 1, 40], [2, "PDV", 2, 40],
    ]  # fmt: skip
    with pytest.raises(UnknownName, match="direction, flow"):
        session.delay_variation(by="flaw")


def test_variation_follows_the_order_of_sending():
    """The first packet is overtaken by the second."""
    found = variation(session_of([50_000, 100], every_ns=1_000))
    assert (found["IPDV"].n, found["IPDV"].min_ns) == (1, 100 - 50_000)
