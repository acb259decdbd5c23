"""Comparison of two sides: differences, ratios, effect sizes and the shift function, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmonlab import schema

from .bootstrap import Drawn, Side, grid_of, interval, midpoints

#: Quantiles of the shift function.
SHIFTS = (*(n / 100 for n in range(1, 100)), *(0.99 + n / 1000 for n in range(1, 10)))
#: Verdict on a difference → what it means.
VERDICTS = {
    "greater": "the interval lies above 0",
    "less": "the interval lies below 0",
    "no difference detected": "the interval holds 0",
    "below clock error": "the clock may have made the difference",
    "below tracing overhead": "the tracer may have made the difference",
    "no interval": "a side has one value only, so nothing is known of its scatter",
}
_PARTS = 64  # values that represent a distribution when all pairs are considered


@dataclass(frozen=True)
class Pair:
    """One metric of a side and of the baseline.

    Attributes
    ----------
    metric, direction, name, baseline, unit : str
        As in ``schema.describe("compared")``.
    side, base : Side
        Values of the side and of the baseline.
    """

    metric: str
    direction: str
    name: str
    baseline: str
    unit: str
    side: Side
    base: Side

    @property
    def _who(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in ("metric", "direction", "name", "baseline", "unit")}

    @property
    def bounded(self) -> bool:
        """Whether both sides have more than one value, so that there are intervals."""
        return self.side.bounded and self.base.bounded

    @property
    def scalar(self) -> bool:
        """Whether quantiles are meaningless: each run has one value, or values are 0 or 1."""
        return self.unit == "" or max(map(len, (*self.side.runs, *self.base.runs))) == 1

    def compared(self, quantiles: Sequence[float]) -> pd.DataFrame:
        """Compare the mean and quantiles of both sides.

        Parameters
        ----------
        quantiles : sequence of float
            From 0 to 1; not used if the metric is `scalar`.

        Returns
        -------
        pandas.DataFrame
            One row per statistic: columns of ``schema.describe("compared")`` up to ``ratio_high``.

        Notes
        -----
        The interval of the ratio is computed on logarithms.
        """
        quantiles = () if self.scalar else tuple(quantiles)
        value, base = self.side.estimate(quantiles), self.base.estimate(quantiles)
        low, high = ratio_low, ratio_high = np.full((2, len(value)), np.nan)
        ratio = np.divide(value, base, out=np.full(len(value), np.nan), where=(value > 0) & (base > 0))
        if self.bounded:
            mine, theirs = self.side.drawn(quantiles), self.base.drawn(quantiles)
            low, high = interval(value - base, [mine, Drawn(-theirs.deviation, theirs.freedom)])
            logs = [_log(value, mine, 1), _log(base, theirs, -1)]
            with np.errstate(invalid="ignore", divide="ignore"):
                ratio_low, ratio_high = np.exp(interval(np.log(ratio), logs))
        return pd.DataFrame(
            {
                **self._who,
                "statistic": ["mean", *map(percentile, quantiles)],
                "runs": len(self.side.runs),
                "baseline_runs": len(self.base.runs),
                "n": self.side.n,
                "baseline_n": self.base.n,
                "value": value,
                "baseline_value": base,
                "difference": value - base,
                "low": low,
                "high": high,
                "ratio": ratio,
                "ratio_low": ratio_low,
                "ratio_high": ratio_high,
            }
        )

    def shifts(self, quantiles: Sequence[float] = SHIFTS) -> pd.DataFrame:
        """Return the shift function: the difference of each quantile.

        Parameters
        ----------
        quantiles : sequence of float
            From 0 to 1.

        Returns
        -------
        pandas.DataFrame
            Columns of ``schema.describe("shifts")``, one row per quantile; no row if the metric is `scalar`.

        Notes
        -----
        Doksum (1974), Empirical probability plots and statistical inference for nonlinear models in the two-sample
        case, Annals of Statistics 2(2); Wilcox, Introduction to Robust Estimation and Hypothesis Testing. The
        intervals hold for each quantile separately, not for all quantiles jointly.
        """
        if self.scalar:
            return pd.DataFrame(columns=schema.columns("shifts"))
        value, base = self.side.estimate(quantiles)[1:], self.base.estimate(quantiles)[1:]
        low, high = np.full((2, len(value)), np.nan)
        if self.bounded:
            mine, theirs = self.side.drawn(quantiles), self.base.drawn(quantiles)
            parts = [Drawn(mine.deviation[:, 1:], mine.freedom), Drawn(-theirs.deviation[:, 1:], theirs.freedom)]
            low, high = interval(value - base, parts)
        table = pd.DataFrame(
            {
                **self._who,
                "quantile": quantiles,
                "value": value,
                "baseline_value": base,
                "difference": value - base,
                "low": low,
                "high": high,
            }
        )
        return table[schema.columns("shifts")]

    def effects(self) -> pd.DataFrame:
        """Return effect sizes; columns of ``schema.describe("effects")``, one row.

        Notes
        -----
        Vargha and Delaney (2000), A critique and improvement of the CL common language effect size statistics,
        Journal of Educational and Behavioral Statistics 25(2); Cliff (1993), Dominance statistics, Psychological
        Bulletin 114(3); Hodges and Lehmann (1963), Estimates of location based on rank tests, Annals of Mathematical
        Statistics 34(2). For the shift, each side is represented by the midpoints of 64 equal parts.
        """
        grid = grid_of([*self.side.ordered, *self.base.ordered])
        drawn, mine = self.side.masses(grid) if self.bounded else (np.empty((0, len(grid))), _only(self.side, grid))
        base_drawn, theirs = self.base.masses(grid) if self.bounded else (drawn, _only(self.base, grid))
        above = superiority(mine[None], theirs[None])
        shift = _shift(mine[None], theirs, grid)
        above_ends = shift_ends = np.full((2, 1), np.nan)
        if self.bounded:
            parts = [
                _part(self.side, superiority(drawn, theirs[None]) - above),
                _part(self.base, superiority(mine[None], base_drawn) - above),
            ]
            above_ends = np.array(interval(above, parts, 0, 1))
            parts = [
                _part(self.side, _shift(drawn, theirs, grid) - shift),
                _part(self.base, -_shift(base_drawn, mine, grid) - shift),
            ]
            shift_ends = np.array(interval(shift, parts))
        row = {**self._who, "superiority": above, "cliffs_delta": 2 * above - 1, "shift": shift}
        row |= dict(zip(("superiority_low", "superiority_high"), above_ends, strict=True))
        row |= dict(zip(("delta_low", "delta_high"), 2 * above_ends - 1, strict=True))
        row |= dict(zip(("shift_low", "shift_high"), shift_ends, strict=True))
        return pd.DataFrame(row)[schema.columns("effects")]


def percentile(quantile: float) -> str:
    """Return the name of a quantile, such as ``p50`` or ``p99.9``."""
    return f"p{100 * quantile:.6g}"


def superiority(mine: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return the probability that a value of the first side is greater than one of the second; ties count half.

    Parameters
    ----------
    mine, theirs : numpy.ndarray of float64, shape (distributions or 1, grid)
        Distributions: the share of the values at each value of a common grid.

    Returns
    -------
    numpy.ndarray of float64, shape (distributions,)
    """
    return (mine * (np.cumsum(theirs, axis=1) - theirs / 2)).sum(axis=1)


def _shift(drawn: np.ndarray, other: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return the median difference of all pairs of a value of each distribution and one of the other distribution."""
    away = midpoints(other[None], grid, _PARTS)[0]
    return np.array([np.median(np.subtract.outer(values, away)) for values in midpoints(drawn, grid, _PARTS)])


def _part(side: Side, deviation: np.ndarray) -> Drawn:
    return Drawn(deviation[:, None] * side.scale, side.freedom)


def _only(side: Side, grid: np.ndarray) -> np.ndarray:
    """Return the distribution of a side on a grid, without resamples."""
    edges = [np.searchsorted(run, grid, side="right") / len(run) for run in side.ordered]
    return np.diff(np.array(edges), axis=1, prepend=0).mean(axis=0)


def _log(value: np.ndarray, drawn: Drawn, sign: int) -> Drawn:
    """Return resamples on a logarithmic scale; 0 where there is no logarithm (the ratio is NaN there)."""
    safe = np.where(value > 0, value, 1)
    factor = np.where(value > 0, 1 + drawn.deviation / safe, 1)
    return Drawn(sign * np.log(np.maximum(factor, 1e-9)), drawn.freedom)


def judged(rows: pd.DataFrame) -> list[str]:
    """Return the verdict on each row of ``schema.describe("compared")``: a key of `VERDICTS`."""
    return [_verdict(row) for row in rows.itertuples()]


def _verdict(row) -> str:
    if not math.isfinite(row.low):
        return "no interval"
    if row.low <= 0 <= row.high:
        return "no difference detected"
    if abs(row.difference) < row.clock_error:
        return "below clock error"
    if abs(row.difference) < row.overhead:
        return "below tracing overhead"
    return "greater" if row.difference > 0 else "less"
