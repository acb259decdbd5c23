"""What a sample tells of all packets: the interval of a quantile holds it as often as it says."""

import math

import numpy as np
import pytest

from cmonlab.data.analysis.stats import CONFIDENCE, estimated_total, quantile_ranks
from cmonlab.data.analysis.times import bounds_of
from cmonlab.errors import UnknownName
from cmonlab.session.session import Session
from tests.support.events import bulk, manifest

TRIALS = 2000
#: A binomial share of so many trials is below this with a chance of 1%.
LEAST = CONFIDENCE - 2.326 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / TRIALS)

TIMES = {
    "normal": lambda rng, size: rng.normal(10_000, 1_000, size),
    "heavy tail": lambda rng, size: rng.pareto(1.2, size),
    "two peaks, many equal": lambda rng, size: rng.integers(0, 9, size) + 500 * (rng.random(size) < 0.4),
}


def held(every: np.ndarray, sample: np.ndarray, quantile: float, share: float) -> bool:
    """Tell whether the sample's interval holds the quantile of all."""
    ordered = np.concatenate([[-np.inf], np.sort(sample), [np.inf]])
    low, high = quantile_ranks(len(sample), quantile, share)
    return ordered[low + 1] <= np.quantile(every, quantile) <= ordered[high + 1]


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.99])
@pytest.mark.parametrize(("packets", "share"), [(4000, 0.1), (600, 0.5), (150, 0.9), (4000, 0.02)])
@pytest.mark.parametrize("times", TIMES)
def test_the_interval_holds_the_quantile_as_often_as_it_says(times, packets, share, quantile):
    rng = np.random.default_rng(7)
    holds = 0
    for _ in range(TRIALS):
        every = TIMES[times](rng, packets)
        holds += held(every, every[rng.random(packets) < share], quantile, share)
    assert holds / TRIALS >= LEAST


def test_the_interval_is_not_wider_than_it_must_be():
    """Of continuous times and a large sample, it misses about as often as it may, on either side."""
    rng = np.random.default_rng(3)
    holds = sum(
        held(every, every[rng.random(5000) < 0.1], 0.5, 0.1) for every in (rng.random(5000) for _ in range(TRIALS))
    )
    assert holds / TRIALS <= 0.975


def test_ranks_are_those_of_the_binomial_where_hardly_anything_is_sampled():
    """Conover's table: of 100 values, the 40th and the 61st hold the median; p99 needs 368 values for an upper end."""
    assert quantile_ranks(100, 0.5, 1e-9) == (39, 60)
    assert quantile_ranks(367, 0.99, 1e-9)[1] == 367
    assert quantile_ranks(368, 0.99, 1e-9)[1] == 367


def test_more_of_all_in_the_sample_makes_it_narrower():
    width = [np.diff(quantile_ranks(1000, 0.5, share))[0] for share in (0.001, 0.5, 0.9, 0.999)]
    assert width == sorted(width, reverse=True)
    assert width[-1] < width[0] / 5


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_a_sample_that_is_too_small_has_no_ends(n):
    assert quantile_ranks(n, 0.5, 0.01) == (-1, n)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.9])
def test_the_estimated_total_holds_what_there_was(share):
    rng = np.random.default_rng(5)
    sampled = rng.binomial(20_000, share, TRIALS)
    found = [estimated_total(n, share) for n in sampled.tolist()]
    assert np.mean([abs(every - 20_000) <= around for every, around in found]) >= LEAST - 0.005  # its normal tails
    assert estimated_total(77, 1.0) == (77, 0)


# ---- in sessions ------------------------------------------------------------------


def rules(*wanted):
    """Return the manifest's entries of capture rules of these names and shares, on bits from 0 on."""
    rule = manifest()["rules"][0]["rule"]
    return [
        {"slot": slot, "name": name, "rule": {**rule, "name": name, "sample": share}, "epochs": [1, 1]}
        for slot, (name, share) in enumerate(wanted)
    ]


def sampled(packets: int, share: float, *wanted) -> Session:
    """Return a session whose second rule took a share of the packets that the first one took."""
    columns = bulk(packets)
    chosen = np.random.default_rng(2).random(packets) < share
    word = np.where(chosen[packet_of(columns)], 3, 1)
    return Session(columns | {"rules": word.astype(np.uint16)}, {**manifest(), "rules": rules(*wanted)})


def packet_of(columns) -> np.ndarray:
    """Return a number for each event's packet: of journeys where it is in one, 0 elsewhere."""
    session = Session(columns, manifest())
    found = session.correlated
    number = np.zeros(len(columns["ts_ns"]), np.int64)
    number[found.event] = np.repeat(np.arange(len(found)), found.length)
    return number


def test_nothing_sampled_out_leaves_no_width():
    for by in ("segment", "kind"):
        table = Session(bulk(200), manifest()).breakdown(by)
        for name in ("p50_ns", "p99_ns"):
            low, high = bounds_of(name)
            assert (table[low] == table[name]).all() and (table[high] == table[name]).all()


def test_a_sampled_session_states_the_ranks_of_its_own_segments():
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


def test_a_sample_of_no_one_share_states_no_interval():
    """Packets that rules of different shares took stand in one breakdown."""
    columns = bulk(300)
    half = (columns["proto"] == 17).astype(np.uint16) + 1
    entries = {**manifest(), "rules": rules(("tcp", 0.5), ("udp", 0.25))}
    mixed = Session(columns | {"rules": half}, entries)
    assert mixed.breakdown()[["p50_low_ns", "p50_high_ns", "p99_low_ns", "p99_high_ns"]].isna().all(axis=None)
    assert mixed.of_rule("tcp").breakdown()["p50_low_ns"].notna().all()
    assert set(mixed.of_rule("tcp").journeys()["proto"]) == {"tcp"}


def test_packets_of_the_rule_that_takes_all_are_no_sample():
    table = sampled(300, 0.2, ("every", 1.0), ("fifth", 0.2)).breakdown()
    assert (table["p50_low_ns"] == table["p50_high_ns"]).all()


def test_a_rate_limit_leaves_no_share():
    entries = {**manifest(), "tallies": [{"slot": 0, "limited": 3}]}
    assert Session(bulk(100), entries).breakdown()["p50_low_ns"].isna().all()


def test_only_capture_rules_have_a_session_of_their_own():
    with pytest.raises(UnknownName, match="capture rule"):
        Session(bulk(10), manifest()).of_rule("none")
