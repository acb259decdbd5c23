"""The checks of samples: they pass fair samples and fail biased ones."""

import math

import numpy as np
import pandas as pd
import pytest

from cmonlab.data.analysis.stats import CONFIDENCE
from cmonlab.session.session import Session
from cmonlab.study.calibrate.coverage import Segments, Tally, hash_of, segments_of
from cmonlab.study.calibrate.groups.sampling import _covered, _most_missed
from cmonlab.tracing.kernel.addresses import mix
from tests.support.events import bulk, manifest

PACKETS, SHARE = 60_000, 0.1


def made(rng, keep):
    """Return the segments of many journeys, and those of a sample; `keep` chooses it by the durations."""
    times = rng.lognormal(7, 0.6, PACKETS)
    number = np.arange(PACKETS)
    every = Segments(
        number * 1000, number, {"queue → xmit": (number, times), "always": (number, np.full(PACKETS, 5.0))}
    )
    return every, every.of(keep(times))


@pytest.mark.parametrize(("quantile", "window"), [(0.5, 500), (0.99, 5000)])
def test_coverage_of_a_fair_sample_passes(quantile, window):
    rng = np.random.default_rng(1)
    tally = Tally(quantile)
    tally.add(*made(rng, lambda times: rng.random(PACKETS) < SHARE), window, SHARE)
    assert tally.samples == tally.trials == PACKETS // window  # constant segments are not counted
    assert tally.stated == 1
    assert _covered("fair", tally, 0, "").passed


@pytest.mark.parametrize("quantile", [0.5, 0.99])
def test_coverage_of_a_biased_sample_fails(quantile):
    rng = np.random.default_rng(2)
    tally = Tally(quantile)
    biased = made(rng, lambda times: rng.random(PACKETS) < 2 * SHARE * (times > np.median(times)))
    tally.add(*biased, 500 if quantile == 0.5 else 5000, SHARE)
    assert not _covered("biased", tally, 0, "").passed


def test_coverage_of_too_narrow_intervals_fails():
    """The stated share of the sample is larger than the true one."""
    rng = np.random.default_rng(3)
    tally = Tally(0.5)
    tally.add(*made(rng, lambda times: rng.random(PACKETS) < SHARE), 500, 0.9)
    check = _covered("narrow", tally, 0, "")
    assert not check.passed and check.measured > 0.2


def test_coverage_without_intervals_fails():
    assert not _covered("nothing", Tally(0.5), 0, "").passed


def test_hash_of_equals_the_hash_of_the_programs():
    rng = np.random.default_rng(4)
    events = pd.DataFrame(
        {
            "seq": rng.integers(0, 2**32, 50).astype(np.uint32),
            "proto": np.full(50, 17, np.uint8),
            "ident": rng.integers(0, 2**16, 50).astype(np.uint16),
        }
    )
    expected = [mix(row.seq ^ 17 << 24, row.ident) / 2**32 for row in events.itertuples()]
    assert hash_of(events).tolist() == expected


def test_segments_of_a_session_add_up_to_its_delays():
    session = Session(bulk(300), manifest())
    found = segments_of(session)
    complete = session.journeys().query("complete")
    assert found.start_ns.tolist() == complete["start_ns"].tolist()
    assert found.seq.tolist() == complete["seq"].tolist()
    total = sum(times.sum() for _, times in found.times.values())
    assert total == complete["one_way_delay_ns"].sum()
    per_journey = np.zeros(len(complete))
    for at, times in found.times.values():
        np.add.at(per_journey, at, times)
    assert per_journey.tolist() == complete["one_way_delay_ns"].tolist()


@pytest.mark.parametrize("trials", [1, 18, 40, 300])
def test_most_missed_is_the_quantile_of_the_binomial(trials):
    chance = [math.comb(trials, k) * (1 - CONFIDENCE) ** k * CONFIDENCE ** (trials - k) for k in range(trials + 1)]
    most = _most_missed(trials)
    assert sum(chance[: most + 1]) >= 0.99 > sum(chance[:most])
