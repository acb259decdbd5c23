"""The segments that make packets slow, found in packets that were made slow."""

import numpy as np
import pytest

from cmonlab import schema
from cmonlab.data.analysis import tail
from cmonlab.data.store import directory
from cmonlab.errors import UnknownName
from cmonlab.session.session import Session
from tests.support.events import bulk, manifest
from tests.support.network import Network
from tests.support.timed_packets import SEGMENTS, packets

DIRECTION = "c1 → c0"


def session_of(steps):
    return Session(packets(np.arange(len(steps)) * 10_000, steps), manifest())


@pytest.fixture(scope="module")
def some():
    """Return seven packets with 10 ns per segment, except 900 ns at veth0 in one and 400 ns in c0 in another."""
    steps = np.full((7, len(SEGMENTS)), 10)
    steps[2, 4], steps[5, 6], steps[5, 0] = 900, 400, 300
    return session_of(steps)


@pytest.mark.parametrize("name", ["slowest", "where_is_the_tail"])
def test_columns_equal_the_schema(name):
    table = Session(bulk(50), manifest()).table(name)
    assert [(column, str(dtype)) for column, dtype in table.dtypes.items()] == [
        (c.name, c.dtype) for c in schema.TABLES[name]
    ]
    empty = Session(directory.empty_columns(), manifest()).table(name)
    assert (empty.columns.tolist(), len(empty)) == (schema.columns(name), 0)


def test_slowest_names_the_segment_of_each_journey(some):
    rows = some.slowest(3)
    assert rows[["rank", "journey", "one_way_delay_ns"]].to_numpy().tolist() == [[1, 2, 960], [2, 5, 750], [3, 0, 70]]
    assert rows["segment"].tolist()[:2] == [SEGMENTS[4], SEGMENTS[6]]
    assert rows["kind"].tolist()[:2] == ["processing", "queueing"]
    assert rows[["segment_ns", "typical_ns", "excess_ns"]].to_numpy().tolist() == [
        [900, 10, 890],
        [400, 10, 390],
        [10, 10, 0],
    ]
    assert set(rows["direction"]) == {DIRECTION}
    assert some.slowest(3, DIRECTION).equals(rows)
    assert len(some.slowest(100)) == 7
    assert some.slowest(1)["start_ns"].tolist() == some.journeys()["start_ns"].tolist()[2:3]


def test_a_rarely_passed_segment_counts_in_full():
    """For example a wake-up: its median over the journeys that pass it would hide it."""
    network = Network(np.random.default_rng(5), 6, sockets=True)
    network.run(60)
    session = Session(network.columns(), manifest())
    hops, journeys = session.hops(), session.journeys()
    complete = journeys[journeys["complete"]]
    times = hops.pivot_table(index="journey", columns="segment", values="segment_ns", aggfunc="sum", observed=True)
    times = times.drop(columns="", errors="ignore").reindex(complete["journey"]).fillna(0)
    for row in session.slowest(10).itertuples():
        own = complete.loc[complete["direction"] == row.direction, "journey"]
        median = times.loc[own].median()
        excess = (times.loc[row.journey] - median)[times.loc[row.journey] > 0]
        assert row.excess_ns == pytest.approx(excess.max())
        assert row.typical_ns == pytest.approx(median[row.segment])
        assert row.segment_ns == times.loc[row.journey, row.segment]


def test_wrong_arguments_are_refused(some):
    with pytest.raises(ValueError, match="at least 1"):
        some.slowest(0)
    for ask in (lambda: some.slowest(direction="c0 → c1"), lambda: some.where_is_the_tail("c0 → c1")):
        with pytest.raises(UnknownName, match=DIRECTION):
            ask()
    for quantile in (0.5, 1, float("nan")):
        with pytest.raises(ValueError, match="it must be above"):
            some.where_is_the_tail(quantile=quantile)


def spread(packets_, seed=3):
    """Return steps of which some vary; in one of thirty packets, one step is far longer."""
    rng = np.random.default_rng(seed)
    steps = 100 + rng.integers(0, 20, (packets_, len(SEGMENTS)))
    slow = rng.random(packets_) < 1 / 30
    steps[slow, 3] += rng.integers(4000, 6000, slow.sum())
    return steps


@pytest.fixture(scope="module")
def many():
    return session_of(spread(3000))


@pytest.mark.parametrize("quantile", [0.9, 0.99, 0.999])
def test_parts_of_the_tail_add_up_exactly(many, quantile):
    rows = many.where_is_the_tail(quantile=quantile)
    delays = many.journeys()["one_way_delay_ns"]
    median, tail_ns = np.quantile(delays, [0.5, quantile])
    assert rows["typical_ns"].sum() == pytest.approx(median, abs=1e-6)
    assert rows["tail_ns"].sum() == pytest.approx(tail_ns, abs=1e-6)
    assert rows["difference_ns"].sum() == pytest.approx(tail_ns - median, abs=1e-6)
    assert rows["share"].sum() == pytest.approx(1)
    assert rows["segment"].tolist()[-1] == tail.RESIDUAL and set(rows["segment"][:-1]) == set(SEGMENTS)
    assert rows["difference_ns"].iloc[:-1].is_monotonic_decreasing


def test_the_segment_that_makes_the_tail_is_found(many):
    rows = many.where_is_the_tail()
    first = rows.iloc[0]
    assert (first["segment"], first["kind"], first["n"]) == (SEGMENTS[3], "processing", 3000)
    assert first["share"] > 0.95
    assert first["low_ns"] < first["difference_ns"] < first["high_ns"]
    assert abs(rows["share"].iloc[-1]) < 0.02  # the residual
    assert first["low_ns"] > 4000 and first["high_ns"] < 6200
    # Means over the journeys between these ranks, which include the quantile with 95%.
    delays, parts = many.journeys()["one_way_delay_ns"].to_numpy(), spread(3000)
    half = 1.96 * np.sqrt(3000 * 0.99 * 0.01)
    ranks = np.arange(int(np.ceil(2999 * 0.99 - half)), int(2999 * 0.99 + half) + 1)
    assert first["n_tail"] == len(ranks)
    around = np.argsort(delays, kind="stable")[ranks]
    assert first["tail_ns"] == pytest.approx(parts[around, 3].mean())


def test_a_tail_of_fewer_than_five_journeys_has_no_interval():
    rows = session_of(spread(300)).where_is_the_tail()
    assert rows[["low_ns", "high_ns"]].isna().all(axis=None)
    assert rows["difference_ns"].notna().all()


def test_intervals_equal_those_of_a_plain_bootstrap():
    """Drawing and sorting complete resamples takes longer and gives the same result."""
    rng = np.random.default_rng(8)
    n, quantile = 1200, 0.95
    parts = np.column_stack([rng.integers(50, 90, n), rng.exponential(300, n), rng.exponential(80, n)]).round()
    delay = parts.sum(axis=1)
    order = np.argsort(delay, kind="stable")
    windows = [tail._window(n, one) for one in (0.5, quantile)]
    rank = np.unique(np.concatenate([np.arange(n)[window.reach] for window in windows]))
    assert len(rank) < n
    values = np.column_stack([parts, delay])[order]
    found = tail._interval(n, rank, values[rank], windows)

    def once():
        drawn = values[np.sort(rng.integers(0, n, n))]
        means = [drawn[w.low : w.high + 1, :-1].mean(axis=0) for w in windows]
        whole = np.quantile(drawn[:, -1], (0.5, quantile))
        parts = [np.append(mean, q - mean.sum()) for mean, q in zip(means, whole, strict=True)]
        return parts[1] - parts[0]

    plain = np.quantile([once() for _ in range(2000)], (0.025, 0.975), axis=0)
    width = plain[1] - plain[0]
    assert np.abs(found - plain).max(axis=0) == pytest.approx(0, abs=0.2 * width.max())
    assert (found[1] - found[0])[1] == pytest.approx(width[1], rel=0.25)
