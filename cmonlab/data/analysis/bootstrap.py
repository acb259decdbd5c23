"""Intervals of what is compared: runs drawn anew where there are several, stretches of time where there is one.

Packets of a run depend on each other, by queues above all, so single packets are never drawn.

Sources
-------
Efron, B. (1979). Bootstrap methods: another look at the jackknife. Annals of Statistics 7(1).
Künsch, H. R. (1989). The jackknife and the bootstrap for general stationary observations. Annals of Statistics 17(3).
Politis, D. N. and Romano, J. P. (1992). A circular block-resampling procedure for stationary data.
Politis, D. N. and White, H. (2004). Automatic block-length selection for the dependent bootstrap, Econometric Reviews
23(1), with Patton's correction (2009), ibid. 28(4).
Davison, A. C. and Hinkley, D. V. (1997). Bootstrap Methods and their Application, 3.8: of data in groups, whole groups.
Hesterberg, T. C. (2015). What teachers should know about the bootstrap. The American Statistician 69(4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

DRAWS = 2000
#: A single run is cut into so many stretches of packets at most; blocks are made of these.
_CELLS = 400
#: Values of which a drawn distribution is made: so many at even shares, and as many towards the tail.
_POINTS = 1024
_NORMAL = 1.959964
# Two-sided 95% points of Student's t, by 1 / degrees of freedom; straight lines between them.
_FREEDOM = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 60, 120)
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.306, 2.228, 2.131, 2.086, 2.042, 2.000, 1.980)


@dataclass(frozen=True)
class Drawn:
    """One side's statistics, drawn anew.

    Attributes
    ----------
    deviation : numpy.ndarray of float64, shape (draws, statistics)
        Drawn less estimated; scaled where few runs would make it too small.
    freedom : float
        Degrees of freedom behind it.
    """

    deviation: np.ndarray
    freedom: float


class Side:
    """The runs of one side.

    Parameters
    ----------
    runs : sequence of numpy.ndarray, shape (values,)
        One array a run, at least one value each, in order of time.
    seed : int
        Of the draws; two sides need different ones.
    draws : int
        How often it is drawn.

    Notes
    -----
    Where there are several runs, whole runs are drawn: what is drawn within them again would count the
    scatter within a run twice. Each run counts the same. Deviations are multiplied by
    √(runs / (runs − 1)), by which a drawn mean scatters too little.

    Where there is one run, blocks of consecutive values are drawn, of a length that follows from how
    far the values, their ranks and the slowest hundredth of them depend on their forerunners.
    """

    def __init__(self, runs: Sequence[np.ndarray], seed: int = 0, draws: int = DRAWS):
        self.runs = [np.asarray(run) for run in runs]
        self._seed, self._draws = seed, draws

    @property
    def n(self) -> int:
        """Values of all runs."""
        return sum(len(run) for run in self.runs)

    @property
    def bounded(self) -> bool:
        """Whether it has more than one value, so that something can be said of its scatter."""
        return len(self.runs) > 1 or len(self.runs[0]) > 1

    @cached_property
    def ordered(self) -> list[np.ndarray]:
        """Each run's values, ascending."""
        return [np.sort(run) for run in self.runs]

    @cached_property
    def _cell(self) -> np.ndarray:
        """The stretch that each value of the only run is in."""
        n = len(self.runs[0])
        return np.arange(n) * min(n, _CELLS) // n

    @cached_property
    def block(self) -> int:
        """Stretches in a block of the only run."""
        n, cells = len(self.runs[0]), int(self._cell[-1]) + 1
        count, values = np.bincount(self._cell), self.runs[0].astype(float)
        rank = np.searchsorted(self.ordered[0], values) / n
        slow = (values > np.quantile(self.ordered[0], 0.99)).astype(float)
        series = (np.bincount(self._cell, one) / count for one in (values, rank, slow))
        least = math.ceil(cells / n ** (2 / 3))
        return min(max(least, *map(block_length, series)), max(1, cells // 4))

    @cached_property
    def weights(self) -> np.ndarray:
        """How often each run, or each stretch of the only run, is drawn; shape (draws, units)."""
        rng, runs = np.random.default_rng([self._seed, 90210]), len(self.runs)
        if runs > 1:
            return rng.multinomial(runs, np.full(runs, 1 / runs), self._draws) / runs
        cells = int(self._cell[-1]) + 1
        starts = rng.integers(0, cells, (self._draws, math.ceil(cells / self.block)))
        begun = np.zeros((self._draws, cells))
        np.add.at(begun, (np.arange(self._draws)[:, None], starts), 1)
        # A block goes on behind the end with the beginning, so that every stretch is drawn as often.
        around = np.cumsum(np.concatenate([begun[:, cells - self.block :], begun], axis=1), axis=1)
        return around[:, self.block :] - around[:, :cells]

    @cached_property
    def freedom(self) -> float:
        """Degrees of freedom: independent parts less one."""
        if len(self.runs) > 1:
            return len(self.runs) - 1
        return max(1.0, (int(self._cell[-1]) + 1) / self.block - 1)

    @property
    def scale(self) -> float:
        """What deviations of a statistic are multiplied by."""
        return math.sqrt((self.freedom + 1) / self.freedom)

    def estimate(self, quantiles: Sequence[float]) -> np.ndarray:
        """Return the mean, then quantiles; of several runs the mean of each run's."""
        return np.mean([[run.mean(dtype=float), *np.quantile(run, quantiles)] for run in self.ordered], axis=0)

    def drawn(self, quantiles: Sequence[float]) -> Drawn:
        """Return what `estimate` returns, drawn."""
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
        """Return the share of the values at each of the grid's, shape (draws, grid), and estimated, shape (grid,).

        Parameters
        ----------
        grid : numpy.ndarray
            Ascending, up to the greatest value; a value counts at the next one that is not below it.
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
    """Return exact values of ascending samples, denser towards the tail; all of them where they are few.

    Between two of them lies 1 value in 1,024 of a sample at most.
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
    """Return the value in the middle of each of so many equal shares of distributions, shape (distributions, parts)."""
    reached = np.cumsum(mass, axis=1)
    middle = (np.arange(parts) + 0.5) / parts
    at = np.array([np.searchsorted(row, middle) for row in reached])
    return grid[np.minimum(at, len(grid) - 1)].astype(float)


def block_length(series: np.ndarray) -> int:
    """Return how long blocks must be for a series (Politis and White 2004, Patton 2009; circular blocks).

    Parameters
    ----------
    series : numpy.ndarray of float64, shape (n,)
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
    taper = np.clip(2 * (1 - lags / max(lags[-1], 1)), 0, 1)  # flat top, then straight down
    spread = variance + 2 * float(taper @ covariance[lags])
    slope = 2 * float(taper @ (lags * covariance[lags]))
    if spread <= 0:
        return 1
    length = (2 * slope**2 / (4 / 3 * spread**2)) ** (1 / 3) * n ** (1 / 3)
    return int(min(max(1, math.ceil(length)), math.ceil(min(3 * math.sqrt(n), n / 3))))


def interval(
    estimate: np.ndarray, parts: Sequence[Drawn], low: float = -math.inf, high: float = math.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Return 95% intervals of statistics to which several sides, drawn apart, contribute.

    Parameters
    ----------
    estimate : numpy.ndarray, shape (statistics,)
    parts : sequence of Drawn
        What each side's draws do to the statistics, the other side as it was estimated.
    low, high : float
        What the statistics cannot pass.

    Returns
    -------
    (numpy.ndarray, numpy.ndarray)
        Lower and upper ends.

    Notes
    -----
    Percentile intervals, widened as Student's t is wider than the normal distribution (Hesterberg 2015): a handful of
    runs knows their scatter badly. The sides' degrees of freedom are put together by Satterthwaite's approximation.
    """
    variance = np.array([part.deviation.var(axis=0) for part in parts])
    own = np.array([part.freedom for part in parts])[:, None]
    whole = variance.sum(axis=0)
    freedom = np.divide(whole**2, (variance**2 / own).sum(axis=0), out=np.full(len(whole), np.inf), where=whole > 0)
    table = np.concatenate([[_NORMAL], _STUDENT[::-1]]), np.concatenate([[0], 1 / np.array(_FREEDOM[::-1])])
    widened = np.interp(1 / freedom, table[1], table[0]) / _NORMAL
    ends = np.quantile(sum(part.deviation for part in parts), [0.025, 0.975], axis=0) * widened
    return np.clip(estimate + ends[0], low, high), np.clip(estimate + ends[1], low, high)
