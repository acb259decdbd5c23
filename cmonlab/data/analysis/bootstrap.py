"""Bootstrap intervals for comparisons: resampling of runs, or of blocks of time if there is only one run.

Packets of a run depend on each other, mainly through queues, so single packets are never resampled.

Sources
-------
Efron, B. (1979). Bootstrap methods: another look at the jackknife. Annals of Statistics 7(1).
Künsch, H. R. (1989). The jackknife and the bootstrap for general stationary observations. Annals of Statistics 17(3).
Politis, D. N. and Romano, J. P. (1992). A circular block-resampling procedure for stationary data.
Politis, D. N. and White, H. (2004). Automatic block-length selection for the dependent bootstrap, Econometric Reviews
23(1), with Patton's correction (2009), ibid. 28(4).
Davison, A. C. and Hinkley, D. V. (1997). Bootstrap Methods and their Application, 3.8: resampling of whole groups.
Hesterberg, T. C. (2015). What teachers should know about the bootstrap. The American Statistician 69(4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

#: Number of resamples.
DRAWS = 2000
#: A single run is cut into at most this many stretches of packets; blocks consist of stretches.
_CELLS = 400
#: A resampled distribution is kept at this many evenly spaced ranks, and at as many towards the tail.
_POINTS = 1024
_NORMAL = 1.959964
# Two-sided 95% points of Student's t by degrees of freedom; interpolated linearly in 1 / degrees of freedom.
_FREEDOM = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 60, 120)
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.306, 2.228, 2.131, 2.086, 2.042, 2.000, 1.980)


@dataclass(frozen=True)
class Drawn:
    """Resampled statistics of one side.

    Attributes
    ----------
    deviation : numpy.ndarray of float64, shape (draws, statistics)
        Resampled statistic less its estimate, scaled by `Side.scale`.
    freedom : float
        Degrees of freedom.
    """

    deviation: np.ndarray
    freedom: float


class Side:
    """The runs of one side of a comparison.

    Parameters
    ----------
    runs : sequence of numpy.ndarray, shape (values,)
        One array per run with at least one value, in order of time.
    seed : int
        Seed of the resamples; two sides need different ones.
    draws : int
        Number of resamples.

    Notes
    -----
    With several runs, whole runs are resampled. Resampling within runs as well would count the scatter within a run
    twice. Each run has the same weight. Deviations are multiplied by √(runs / (runs − 1)), because resampled means
    scatter too little by this factor.

    With one run, blocks of consecutive values are resampled. The length of the blocks follows from how long values,
    their ranks and the slowest 1% of them are correlated (`block_length`).
    """

    def __init__(self, runs: Sequence[np.ndarray], seed: int = 0, draws: int = DRAWS):
        self.runs = [np.asarray(run) for run in runs]
        self._seed, self._draws = seed, draws

    @property
    def n(self) -> int:
        """Number of values of all runs."""
        return sum(len(run) for run in self.runs)

    @property
    def bounded(self) -> bool:
        """Whether there is more than one value, so that the scatter can be estimated."""
        return len(self.runs) > 1 or len(self.runs[0]) > 1

    @cached_property
    def ordered(self) -> list[np.ndarray]:
        """The values of each run, ascending."""
        return [np.sort(run) for run in self.runs]

    @cached_property
    def _cell(self) -> np.ndarray:
        """Number of the stretch of each value of the only run."""
        n = len(self.runs[0])
        return np.arange(n) * min(n, _CELLS) // n

    @cached_property
    def block(self) -> int:
        """Length of a block of the only run, in stretches."""
        n, cells = len(self.runs[0]), int(self._cell[-1]) + 1
        count, values = np.bincount(self._cell), self.runs[0].astype(float)
        rank = np.searchsorted(self.ordered[0], values) / n
        slow = (values > np.quantile(self.ordered[0], 0.99)).astype(float)
        series = (np.bincount(self._cell, one) / count for one in (values, rank, slow))
        least = math.ceil(cells / n ** (2 / 3))
        return min(max(least, *map(block_length, series)), max(1, cells // 4))

    @cached_property
    def weights(self) -> np.ndarray:
        """How often each run, or each stretch of the only run, is drawn; shape (draws, runs or stretches)."""
        rng, runs = np.random.default_rng([self._seed, 90210]), len(self.runs)
        if runs > 1:
            return rng.multinomial(runs, np.full(runs, 1 / runs), self._draws) / runs
        cells = int(self._cell[-1]) + 1
        starts = rng.integers(0, cells, (self._draws, math.ceil(cells / self.block)))
        begun = np.zeros((self._draws, cells))
        np.add.at(begun, (np.arange(self._draws)[:, None], starts), 1)
        # A block that reaches the end continues at the beginning, so that every stretch is drawn equally often.
        around = np.cumsum(np.concatenate([begun[:, cells - self.block :], begun], axis=1), axis=1)
        return around[:, self.block :] - around[:, :cells]

    @cached_property
    def freedom(self) -> float:
        """Degrees of freedom: number of independent parts less one."""
        if len(self.runs) > 1:
            return len(self.runs) - 1
        return max(1.0, (int(self._cell[-1]) + 1) / self.block - 1)

    @property
    def scale(self) -> float:
        """Factor by which deviations of a statistic are multiplied."""
        return math.sqrt((self.freedom + 1) / self.freedom)

    def estimate(self, quantiles: Sequence[float]) -> np.ndarray:
        """Return the mean and quantiles; of several runs, the average over the runs.

        Parameters
        ----------
        quantiles : sequence of float
            From 0 to 1.

        Returns
        -------
        numpy.ndarray of float64, shape (1 + quantiles,)
        """
        return np.mean([[run.mean(dtype=float), *np.quantile(run, quantiles)] for run in self.ordered], axis=0)

    def drawn(self, quantiles: Sequence[float]) -> Drawn:
        """Return resamples of what `estimate` returns for these quantiles."""
        if len(self.runs) > 1:
            each = np.array([[run.mean(dtype=float), *np.quantile(run, quantiles)] for run in self.ordered])
            return Drawn((self.weights @ each - each.mean(axis=0)) * self.scale, self.freedom)
        count = np.bincount(self._cell).astype(float)
        total = np.bincount(self._cell, self.runs[0])
        mean = (self.weights @ total) / (self.weights @ count) - total.sum() / count.sum()
        grid = grid_of([self.ordered[0]])
        mass, whole = self.masses(grid)
        middle = _inverse(whole[None], grid, quantiles)
        found = np.column_stack([mean, _inverse(mass, grid, quantiles) - middle])
        return Drawn(found * self.scale, self.freedom)

    def masses(self, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return distributions on a grid: the share of the values at each value of the grid.

        Parameters
        ----------
        grid : numpy.ndarray, shape (grid,)
            Ascending, up to the greatest value. A value counts at the next grid value that is not below it.

        Returns
        -------
        drawn : numpy.ndarray of float64, shape (draws, grid)
            Shares in each resample.
        whole : numpy.ndarray of float64, shape (grid,)
            Estimated shares.
        """
        size = len(grid)
        if len(self.runs) > 1:
            edges = [np.searchsorted(run, grid, side="right") / len(run) for run in self.ordered]
            each = np.diff(np.array(edges), axis=1, prepend=0)
            return self.weights @ each, each.mean(axis=0)
        cells = int(self._cell[-1]) + 1
        at = np.minimum(np.searchsorted(grid, self.runs[0]), size - 1)
        each = np.bincount(self._cell * size + at, minlength=cells * size).reshape(cells, size).astype(float)
        drawn, whole = self.weights @ each, each.sum(axis=0)
        return drawn / drawn.sum(axis=1, keepdims=True), whole / whole.sum()


def grid_of(ordered: Sequence[np.ndarray]) -> np.ndarray:
    """Return a common grid for several samples: values of the samples, denser towards the tail.

    Parameters
    ----------
    ordered : sequence of numpy.ndarray
        Samples, each ascending.

    Returns
    -------
    numpy.ndarray, ascending
        All values of small samples. Of larger ones, at most 1 value in 1,024 lies between two values of the grid.
    """
    picked = []
    for values in ordered:
        n = len(values)
        tail = n - np.geomspace(1, n, _POINTS)
        ranks = np.concatenate([np.linspace(0, n - 1, _POINTS), tail]).round().astype(np.int64)
        picked.append(values if n <= 2 * _POINTS else values[np.clip(ranks, 0, n - 1)])
    return np.unique(np.concatenate(picked))


def _inverse(mass: np.ndarray, grid: np.ndarray, quantiles: Sequence[float]) -> np.ndarray:
    """Return quantiles of distributions on a grid, shape (distributions, quantiles)."""
    reached = np.cumsum(mass, axis=1)
    found = np.empty((len(mass), len(quantiles)))
    rows = np.arange(len(mass))
    for number, quantile in enumerate(quantiles):
        at = np.minimum((reached < quantile - 1e-12).sum(axis=1), len(grid) - 1)
        low = np.maximum(at - 1, 0)
        before = np.where(at > 0, reached[rows, low], 0)
        step = reached[rows, at] - before
        part = np.divide(quantile - before, step, out=np.ones(len(mass)), where=step > 0)
        found[:, number] = grid[low] + (grid[at] - grid[low]) * np.clip(part, 0, 1)
    return found


def midpoints(mass: np.ndarray, grid: np.ndarray, parts: int) -> np.ndarray:
    """Return the value in the middle of each of several equal parts of distributions.

    Parameters
    ----------
    mass : numpy.ndarray of float64, shape (distributions, grid)
        Share at each value of the grid.
    grid : numpy.ndarray, shape (grid,)
        Ascending values.
    parts : int
        Number of parts.

    Returns
    -------
    numpy.ndarray of float64, shape (distributions, parts)
    """
    reached = np.cumsum(mass, axis=1)
    middle = (np.arange(parts) + 0.5) / parts
    at = np.array([np.searchsorted(row, middle) for row in reached])
    return grid[np.minimum(at, len(grid) - 1)].astype(float)


def block_length(series: np.ndarray) -> int:
    """Return the length of blocks for a series, by Politis and White (2004) and Patton (2009) for circular blocks.

    Parameters
    ----------
    series : numpy.ndarray of float64, shape (n,)
        Values in order of time.

    Returns
    -------
    int
        Number of values in a block, at least 1.
    """
    n = len(series)
    centred = series - series.mean()
    variance = float(centred @ centred) / n
    if n < 9 or variance <= 1e-18 * float(series @ series) / n:
        return 1
    longest = min(n // 2, math.ceil(math.sqrt(n)) + max(5, math.ceil(math.log10(n))))
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.abs(np.fft.rfft(centred, size)) ** 2
    covariance = np.fft.irfft(spectrum, size)[: longest + 1] / n
    small = np.abs(covariance[1:] / variance) < 2 * math.sqrt(math.log10(n) / n)
    run = max(5, math.ceil(math.sqrt(math.log10(n))))
    quiet = np.convolve(small, np.ones(run), "valid") == run if len(small) >= run else np.zeros(0, bool)
    first = int(np.argmax(quiet)) if quiet.any() else len(small) - run
    lags = np.arange(1, min(max(2 * first, 1), longest) + 1)
    taper = np.clip(2 * (1 - lags / max(lags[-1], 1)), 0, 1)  # trapezoidal: 1 up to the middle, then linear to 0
    spread = variance + 2 * float(taper @ covariance[lags])
    slope = 2 * float(taper @ (lags * covariance[lags]))
    if spread <= 0:
        return 1
    length = (2 * slope**2 / (4 / 3 * spread**2)) ** (1 / 3) * n ** (1 / 3)
    return int(min(max(1, math.ceil(length)), math.ceil(min(3 * math.sqrt(n), n / 3))))


def interval(
    estimate: np.ndarray, parts: Sequence[Drawn], low: float = -math.inf, high: float = math.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Return 95% intervals of statistics that depend on several independently resampled sides.

    Parameters
    ----------
    estimate : numpy.ndarray, shape (statistics,)
        Estimated statistics.
    parts : sequence of Drawn
        Deviations of the statistics when one side is resampled and the others are as estimated.
    low, high : float
        Bounds of the statistics.

    Returns
    -------
    (numpy.ndarray, numpy.ndarray)
        Lower and upper ends, each of shape (statistics,).

    Notes
    -----
    Percentile intervals, widened by the ratio of Student's t to the normal distribution (Hesterberg 2015), because a
    few runs estimate their scatter badly. Degrees of freedom are combined by Satterthwaite's approximation.
    """
    variance = np.array([part.deviation.var(axis=0) for part in parts])
    own = np.array([part.freedom for part in parts])[:, None]
    whole = variance.sum(axis=0)
    freedom = np.divide(whole**2, (variance**2 / own).sum(axis=0), out=np.full(len(whole), np.inf), where=whole > 0)
    table = np.concatenate([[_NORMAL], _STUDENT[::-1]]), np.concatenate([[0], 1 / np.array(_FREEDOM[::-1])])
    widened = np.interp(1 / freedom, table[1], table[0]) / _NORMAL
    ends = np.quantile(sum(part.deviation for part in parts), [0.025, 0.975], axis=0) * widened
    return np.clip(estimate + ends[0], low, high), np.clip(estimate + ends[1], low, high)
