"""Intervals cover known values as often as stated, also if packets are correlated."""

import numpy as np
import pytest

from cmonlab.data.analysis.bootstrap import Drawn, Side, block_length, grid_of, interval, midpoints
from cmonlab.data.analysis.differences import Pair, superiority

QUANTILES = (0.5, 0.9, 0.99)
REPEATS = 200


def skewed(normal):
    """Return log-normal delays, as in networks."""
    return 20_000 * np.exp(0.5 * normal)


def correlated(rng, n, phi):
    """Return a stationary series of standard normal values, each correlated with the one before."""
    noise = rng.normal(size=n) * np.sqrt(1 - phi**2)
    found = np.empty(n)
    found[0] = rng.normal()
    for at in range(1, n):
        found[at] = phi * found[at - 1] + noise[at]
    return found


@pytest.fixture(scope="module")
def truth():
    """Return mean and quantiles of the skewed delays."""
    from statistics import NormalDist

    quantiles = [20_000 * np.exp(0.5 * NormalDist().inv_cdf(q)) for q in QUANTILES]
    return np.array([20_000 * np.exp(0.125), *quantiles])


def covered(make, true, shift=1.0, seed=0):
    """Return how often the intervals of the difference cover the true value, for the mean and each quantile."""
    rng, held = np.random.default_rng(seed), []
    for _ in range(REPEATS):
        side, base = (Side(make(rng, factor), number, 200) for number, factor in enumerate((shift, 1.0)))
        mine, theirs = side.drawn(QUANTILES), base.drawn(QUANTILES)
        low, high = interval(
            side.estimate(QUANTILES) - base.estimate(QUANTILES), [mine, Drawn(-theirs.deviation, theirs.freedom)]
        )
        held.append((low <= true * (shift - 1)) & (true * (shift - 1) <= high))
    return np.mean(held, axis=0)


def test_intervals_of_one_run_cover_if_packets_are_independent(truth):
    def make(rng, factor):
        return [factor * skewed(rng.normal(size=300))]

    assert (covered(make, truth, 1.1) >= 0.9).all()
    # The probability that 200 intervals of 95% miss the true value more than 20 times is below 0.1%.
    assert (1 - covered(make, truth, seed=1) <= 0.1).all()


def test_intervals_of_one_run_cover_if_packets_are_correlated(truth):
    def make(rng, factor):
        return [factor * skewed(correlated(rng, 800, 0.8))]

    assert (covered(make, truth, 1.1) >= 0.9).all()


def test_resampling_single_packets_would_not_cover(truth):
    """Without blocks, the interval of the mean misses the true value most of the time."""

    class Naive(Side):
        block = 1

    rng, held = np.random.default_rng(0), []
    for _ in range(40):
        side = Naive([skewed(correlated(rng, 2000, 0.97))], 0, 300)
        low, high = interval(side.estimate(()), [side.drawn(())])
        held.append(bool(low[0] <= truth[0] <= high[0]))
    assert np.mean(held) < 0.6


@pytest.mark.parametrize(("runs", "scatter"), [(3, 0.05), (5, 0.0), (5, 0.05)])
def test_intervals_of_several_runs_cover_if_runs_differ(truth, runs, scatter):
    def make(rng, factor):
        return [factor * skewed(rng.normal(size=100)) * np.exp(scatter * rng.normal()) for _ in range(runs)]

    mean = np.exp(scatter**2 / 2)
    assert (covered(make, truth * mean, 1.1) >= 0.9).all()
    assert (1 - covered(make, truth, seed=1) <= 0.1).all()


def test_differences_between_runs_widen_the_interval():
    """Thousands of packets do not make up for a small number of runs."""
    rng = np.random.default_rng(3)
    runs = [skewed(rng.normal(size=20_000)) * factor for factor in (0.9, 1.0, 1.1, 0.95, 1.05)]
    many, pooled = Side(runs), Side([rng.permutation(np.concatenate(runs))])
    wide, narrow = (np.ptp(interval(side.estimate(()), [side.drawn(())]), axis=0)[0] for side in (many, pooled))
    assert wide > 10 * narrow


def test_intervals_of_effect_sizes_cover():
    from statistics import NormalDist

    rng, held = np.random.default_rng(4), []
    true = {"superiority": NormalDist().cdf(0.3 / np.sqrt(2)), "shift": 300.0}
    for _ in range(60):
        side, base = (Side([1000 * rng.normal(at, 1, size=200)], seed, 100) for seed, at in enumerate((0.3, 0)))
        row = Pair("m", "", "a", "b", "ns", side, base).effects().iloc[0]
        held.append([row[f"{name}_low"] <= of <= row[f"{name}_high"] for name, of in true.items()])
    assert (np.mean(held, axis=0) >= 0.88).all()


def test_effect_sizes_equal_those_of_all_pairs():
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 50, 400), rng.integers(5, 60, 300)
    row = Pair("m", "", "a", "b", "ns", Side([a], 0), Side([b], 1)).effects().iloc[0]
    above = (a[:, None] > b).mean() + (a[:, None] == b).mean() / 2
    assert row["superiority"] == pytest.approx(above, abs=1e-12)
    assert row["cliffs_delta"] == pytest.approx(np.sign(a[:, None] - b).mean(), abs=1e-12)
    assert row["shift"] == pytest.approx(np.median(a[:, None] - b), abs=1)


def test_runs_have_equal_weight_whatever_their_length():
    short, long = np.full(10, 1.0), np.full(1000, 3.0)
    side = Side([short, long])
    assert side.estimate((0.5,)).tolist() == [2.0, 2.0]
    mass, whole = side.masses(np.array([1.0, 3.0]))
    assert whole.tolist() == [0.5, 0.5] and mass.shape == (2000, 2)
    assert superiority(whole[None], np.array([[0.0, 1.0]])) == pytest.approx(0.25)


def test_a_grid_contains_exact_values_and_the_tail():
    values = np.sort(np.random.default_rng(6).gamma(2, 10_000, size=200_000))
    grid = grid_of([values])
    assert np.isin(grid, values).all() and grid[0] == values[0] and grid[-1] == values[-1] and len(grid) < 2100
    _, whole = Side([values], draws=2).masses(grid)
    assert whole.sum() == pytest.approx(1) and whole.max() < 0.002
    middles = midpoints(whole[None], grid, 4)[0]
    assert middles == pytest.approx(np.quantile(values, [1 / 8, 3 / 8, 5 / 8, 7 / 8]), rel=0.01)


def test_blocks_grow_with_dependence():
    rng = np.random.default_rng(7)
    lengths = [block_length(correlated(rng, 1000, phi)) for phi in (0.0, 0.7, 0.97)]
    assert lengths[0] <= 5 < lengths[1] < lengths[2] <= 95
    assert block_length(np.ones(100)) == 1 and block_length(np.arange(5.0)) == 1


def test_stretches_are_drawn_equally_often():
    side = Side([correlated(np.random.default_rng(8), 3000, 0.9)], draws=4000)
    assert side.block > 3
    often = side.weights.mean(axis=0)
    assert side.weights.sum(axis=1).min() >= side.weights.shape[1] == 400 and np.ptp(often) < 0.25 * often.mean()


def test_intervals_of_few_runs_are_widened_by_students_t():
    rng = np.random.default_rng(9)
    for runs, student in ((3, 4.303), (6, 2.571)):
        values = rng.normal(100, 5, size=runs)
        side = Side([[value] for value in values], draws=20_000)
        low, high = interval(side.estimate(()), [side.drawn(())])
        expected = student * values.std(ddof=1) / np.sqrt(runs)
        assert (high[0] - low[0]) / 2 == pytest.approx(expected, rel=0.15)


def test_one_value_has_no_scatter():
    assert not Side([[3.0]]).bounded and Side([[3.0], [4.0]]).bounded and Side([[3.0, 4.0]]).bounded
    row = Pair("ops_per_s", "", "a", "b", "1/s", Side([[3.0]]), Side([[4.0]])).compared((0.5,))
    assert row["statistic"].tolist() == ["mean"] and row["difference"].tolist() == [-1.0]
    assert row[["low", "high", "ratio_low", "ratio_high"]].isna().all(axis=None)


def test_millions_of_packets_take_seconds():
    import time

    rng = np.random.default_rng(10)
    sides = [Side([rng.gamma(2, 10_000, size=200_000).astype(np.int64) for _ in range(10)], n) for n in range(2)]
    began = time.process_time()
    pair = Pair("one_way_delay", "c1 → c0", "a", "b", "ns", *sides)
    rows = pair.compared(QUANTILES), pair.effects(), pair.shifts()
    assert all(np.isfinite(table["low" if "low" in table else "shift_low"]).all() for table in rows)
    assert time.process_time() - began < 15
