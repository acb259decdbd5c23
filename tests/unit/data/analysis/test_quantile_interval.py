"""Quantiles of sampled packets: their interval covers the quantile of all packets as often as stated."""

import math

import numpy as np
import pytest

from cmonlab.data.analysis.stats import CONFIDENCE, estimated_total, quantile_ranks
from cmonlab.data.analysis.times import bounds_of
from cmonlab.errors import UnknownName
from cmonlab.session.session import Session
from tests.support.events import bulk, manifest

TRIALS = 2000
#: A binomial share of this many trials is below this with a probability of 1%.
LEAST = CONFIDENCE - 2.326 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / TRIALS)

TIMES = {
    "normal": lambda rng, size: rng.normal(10_000, 1_000, size),
    "heavy tail": lambda rng, size: rng.pareto(1.2, size),
    "two peaks, many equal": lambda rng, size: rng.integers(0, 9, size) + 500 * (rng.random(size) < 0.4),
}


def held(every: np.ndarray, sample: np.ndarray, quantile: float, share: float) -> bool:
    """Return whether the interval of the sample covers the quantile of all values."""
    ordered = np.concatenate([[-np.inf], np.sort(sample), [np.inf]])
    low, high = quantile_ranks(len(sample), quantile, share)
    return ordered[low + 1] <= np.quantile(every, quantile) <= ordered[high + 1]


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
@pytest.mark.parametrize(("packets", "share"), [(4000, 0.1), (600, 0.5), (150, 0.9), (4000, 0.02)])
@pytest.mark.parametrize("times", TIMES)
def test_the_interval_covers_the_quantile_as_often_as_stated(times, packets, share, quantile):
    rng = np.random.default_rng(7)
    holds = 0
    for _ in range(TRIALS):
        every = TIMES[times](rng, packets)
        holds += held(every, every[rng.random(packets) < share], quantile, share)
    assert holds / TRIALS >= LEAST


def test_the_interval_is_not_wider_than_necessary():
    """For continuous times and a large sample, it misses about as often as allowed, on each side."""
    rng = np.random.default_rng(3)
    holds = sum(
        held(every, every[rng.random(5000) < 0.1], 0.5, 0.1) for every in (rng.random(5000) for _ in range(TRIALS))
    )
    assert holds / TRIALS <= 0.975


def test_ranks_of_small_shares_equal_those_of_the_binomial():
    """Conover's table: of 100 values, the 40th and the 61st enclose the median; p99 needs 368 for an upper end."""
    assert quantile_ranks(100, 0.5, 1e-9) == (39, 60)
    assert quantile_ranks(367, 0.99, 1e-9)[1] == 367
    assert quantile_ranks(368, 0.99, 1e-9)[1] == 367


def test_a_greater_share_gives_a_narrower_interval():
    width = [np.diff(quantile_ranks(1000, 0.5, share))[0] for share in (0.001, 0.5, 0.9, 0.999)]
    assert width == sorted(width, reverse=True)
    assert width[-1] < width[0] / 5


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_a_sample_that_is_too_small_has_no_interval(n):
    assert quantile_ranks(n, 0.5, 0.01) == (-1, n)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.9])
def test_the_interval_of_the_estimated_total_covers(share):
    rng = np.random.default_rng(5)
    sampled = rng.binomial(20_000, share, TRIALS)
    found = [estimated_total(n, share) for n in sampled.tolist()]
    assert np.mean([abs(every - 20_000) <= around for every, around in found]) >= LEAST - 0.005  # its normal tails
    assert estimated_total(77, 1.0) == (77, 0)


# ---- in sessions ------------------------------------------------------------------


def rules(*wanted):
    """Return manifest entries of capture rules with these names and shares, in slots from 0."""
    rule = manifest()["rules"][0]["rule"]
    return [
        {"slot": slot, "name": name, "rule": {**rule, "name": name, "sample": share}, "epochs": [1, 1]}
        for slot, (name, share) in enumerate(wanted)
    ]


def sampled(packets: int, share: float, *wanted) -> Session:
    """Return a session whose second rule recorded a share of the packets that the first one recorded."""
    columns = bulk(packets)
    chosen = np.random.default_rng(2).random(packets) < share
    word = np.where(chosen[packet_of(columns)], 3, 1)
    return Session(columns | {"rules": word.astype(np.uint16)}, {**manifest(), "rules": rules(*wanted)})


def packet_of(columns) -> np.ndarray:
    """Return the journey of each event, 0 if it is in none."""
    session = Session(columns, manifest())
    found = session.correlated
    number = np.zeros(len(columns["ts_ns"]), np.int64)
    number[found.event] = np.repeat(np.arange(len(found)), found.length)
    return number


def test_an_interval_without_sampling_has_no_width():
    for by in ("segment", "kind"):
        table = Session(bulk(200), manifest()).breakdown(by)
        for name in ("p50_ns", "p99_ns"):
            low, high = bounds_of(name)
            assert (table[low] == table[name]).all() and (table[high] == table[name]).all()


def test_a_sampled_session_has_intervals_of_its_segments():
    session = sampled(3000, 0.2, ("every", 1.0), ("fifth", 0.2)).of_rule("fifth")
    journeys, hops = session.journeys(), session.hops()
    direction = hops["journey"].map(journeys.set_index("journey")["direction"])
    table = session.breakdown()
    assert table["n"].between(250, 700).all()
    for row in table.itertuples():
        times = hops["segment_ns"][(hops["segment"] == row.segment) & (direction == row.direction)]
        ordered = [0, *sorted(times), math.inf]
        for quantile, low, high in ((0.5, row.p50_low_ns, row.p50_high_ns), (0.99, row.p99_low_ns, row.p99_high_ns)):
            first, last = quantile_ranks(row.n, quantile, 0.2)
            assert (low, high) == (ordered[first + 1], ordered[last + 1])
        assert row.p50_low_ns < row.p50_ns < row.p50_high_ns
    assert "fifth" not in repr(session) and " in all" in repr(session)


def test_a_sample_without_a_single_share_has_no_interval():
    """One breakdown has packets that rules of different shares recorded."""
    columns = bulk(300)
    half = (columns["proto"] == 17).astype(np.uint16) + 1
    entries = {**manifest(), "rules": rules(("tcp", 0.5), ("udp", 0.25))}
    mixed = Session(columns | {"rules": half}, entries)
    assert mixed.breakdown()[["p50_low_ns", "p50_high_ns", "p99_low_ns", "p99_high_ns"]].isna().all(axis=None)
    assert mixed.of_rule("tcp").breakdown()["p50_low_ns"].notna().all()
    assert set(mixed.of_rule("tcp").journeys()["proto"]) == {"tcp"}


def test_packets_of_a_rule_without_sampling_are_complete():
    table = sampled(300, 0.2, ("every", 1.0), ("fifth", 0.2)).breakdown()
    assert (table["p50_low_ns"] == table["p50_high_ns"]).all()


def test_a_rate_limit_gives_no_share():
    entries = {**manifest(), "tallies": [{"slot": 0, "limited": 3}]}
    assert Session(bulk(100), entries).breakdown()["p50_low_ns"].isna().all()


def test_only_capture_rules_have_a_session():
    with pytest.raises(UnknownName, match="capture rule"):
        Session(bulk(10), manifest()).of_rule("none")
