"""Comparisons with a baseline: the difference at every quantile, and the differences of chosen statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cmonlab.schema.format import digits, duration

from .frame import LEGEND_WIDTH, empty, frame, need, rows_px, tick_labels
from .style import NEUTRAL, clear, color, stroke
from .text import fold, plain

SHIFT_COLUMNS = ("metric", "direction", "name", "baseline", "unit", "quantile", "difference", "low", "high")
COLUMNS = (*SHIFT_COLUMNS[:5], "statistic", "difference", "low", "high", "ratio", "ratio_low", "ratio_high", "verdict")
_TICKS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
_DECADES = 30  # if the largest difference is so many times the median one, a linear axis would show the tails only
_APART = 0.6  # part of a row over which all sides are spread
_BEYOND = 10  # an axis ends at so many times the greatest ratio
_NORMAL = NormalDist()
_WORDS = {"one_way_delay": "One-way delay", "throughput": "Throughput", "loss": "Packet loss", "rtt": "srtt"}
_BELIEVED = ("greater", "less")


def shift(table: pd.DataFrame, *, caption: str = "") -> go.Figure:
    """Draw the difference of each quantile, with its interval as a band (a shift function).

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.describe("shifts")``.
    caption : str
        Text below the plot.

    Returns
    -------
    Figure
        One curve per side. x: percentile, on a normal probability scale, which shows both tails. y: difference to the
        baseline; times in µs, rates in Mbit/s, shares in percent.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, SHIFT_COLUMNS)
    if table.empty:
        return empty("Difference by quantile", "No distributions were compared.", caption)
    title = f"{_metric(table)}: difference by quantile"
    per, unit = _scale(table)
    axis = _Axis.of(table, per)
    figure, legend = go.Figure(), []
    series = list(table.groupby(["name", "direction"], observed=True, sort=False))
    for index, ((name, direction), rows) in enumerate(series):
        legend.append(_curve(figure, _label(name, direction, table), rows, index, axis, unit))
    figure.add_hline(y=0, line={"width": 1, "dash": "dot", "color": NEUTRAL})
    figure.update_xaxes(
        title_text="Percentile",
        tickvals=[_NORMAL.inv_cdf(q) for q in _TICKS],
        ticktext=[f"p{digits(100 * q)}" for q in _TICKS],
        range=[
            _NORMAL.inv_cdf(float(table["quantile"].min())) - 0.06,
            _NORMAL.inv_cdf(float(table["quantile"].max())) + 0.06,
        ],
    )
    baseline = plain(table["baseline"].iloc[0])
    figure.update_yaxes(title_text=f"Difference to {baseline} ({unit}{axis.note})", **axis.ticks())
    subtitle = "Above 0: more than the baseline at this percentile. " + (
        "Bands: 95% bootstrap intervals of each percentile."
        if np.isfinite(table["low"]).any()
        else "One value per side: no intervals."
    )
    return frame(figure, title=title, subtitle=subtitle, caption=caption, legend=[legend], plot_px=400, least_px=280)


@dataclass(frozen=True)
class _Axis:
    """The axis of differences: linear, or logarithmic on both sides of 0 if the differences span decades.

    Attributes
    ----------
    per : float
        Differences are divided by this.
    linear : float
        The scale is about linear up to this size (after the division); 0: everywhere.
    most : float
        The greatest size (after the division).
    """

    per: float
    linear: float
    most: float

    @classmethod
    def of(cls, table: pd.DataFrame, per: float) -> _Axis:
        """Choose the scale by comparing the largest interval with the median difference."""
        sizes = np.abs(table[["difference", "low", "high"]].to_numpy(float)) / per
        sizes = sizes[np.isfinite(sizes)]
        most, middle = float(sizes.max(initial=0)), float(np.median(np.abs(table["difference"]))) / per
        if most <= _DECADES * middle or middle == 0:
            return cls(per, 0.0, most)
        return cls(per, 10.0 ** math.floor(math.log10(middle)), most)

    def place(self, values: np.ndarray) -> np.ndarray:
        """Return the positions on the axis of values of the table."""
        return np.arcsinh(values / self.per / self.linear) if self.linear else values / self.per

    @property
    def note(self) -> str:
        """What the title of the axis must say about the scale."""
        return f", logarithmic beyond ±{digits(self.linear)}" if self.linear else ""

    def ticks(self) -> dict[str, object]:
        """Return the properties of the axis that set its ticks."""
        if not self.linear:
            return {"tickformat": "+,~r"}
        sizes = [self.linear * 10**n for n in range(math.floor(math.log10(self.most / self.linear)) + 1)]
        values = [*(-size for size in reversed(sizes)), 0, *sizes]
        text = [f"{'−' if value < 0 else '+' if value else ''}{digits(abs(value))}" for value in values]
        return {"tickvals": np.arcsinh(np.array(values) / self.linear), "ticktext": text}


def _curve(figure: go.Figure, label: str, rows: pd.DataFrame, index: int, axis: _Axis, unit: str) -> str:
    """Add the curve and band of one side; return its entry in the legend."""
    x = [_NORMAL.inv_cdf(quantile) for quantile in rows["quantile"]]
    scaled = rows[["difference", "low", "high"]].to_numpy(float) / axis.per
    middle, low, high = (axis.place(rows[name].to_numpy(float)) for name in ("difference", "low", "high"))
    entry = fold(label, LEGEND_WIDTH)
    if np.isfinite(low).all():
        figure.add_scatter(
            x=[*x, *x[::-1]],
            y=[*high, *low[::-1]],
            mode="lines",
            line={"width": 0},
            fill="toself",
            fillcolor=clear(color(index), 0.18),
            legendgroup=entry,
            showlegend=False,
            hoverinfo="skip",
        )
    figure.add_scatter(
        x=x,
        y=middle,
        mode="lines",
        name=entry,
        legendgroup=entry,
        line=stroke(index),
        meta=plain(label),
        customdata=np.column_stack([100 * rows["quantile"], scaled]),
        hovertemplate=f"<b>%{{meta}}</b><br>p%{{customdata[0]:.5~g}}: %{{customdata[1]:+,.4~r}} {unit}"
        " (%{customdata[2]:+,.4~r} to %{customdata[3]:+,.4~r})<extra></extra>",
    )
    return entry


def _metric(table: pd.DataFrame) -> str:
    word = str(table["metric"].iloc[0])
    return plain(_WORDS.get(word, word))


def _label(name: str, direction: str, table: pd.DataFrame) -> str:
    return f"{name}, {direction}" if table["direction"].nunique() > 1 else str(name)


def _scale(table: pd.DataFrame) -> tuple[float, str]:
    """Return (divisor of the differences, their unit after the division)."""
    unit = str(table["unit"].iloc[0])
    if unit == "ns":
        return 1e3, "µs"
    if unit == "bit/s":
        return 1e6, "Mbit/s"
    return (1.0, unit) if unit else (0.01, "%")


def differences(table: pd.DataFrame, *, caption: str = "") -> go.Figure:
    """Draw the differences of chosen statistics as dots with intervals.

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.describe("compared")``.
    caption : str
        Text below the plot.

    Returns
    -------
    Figure
        One row per statistic. x: change against the baseline in percent; a ratio if something at least doubles; the
        difference if a ratio is missing. Hollow dots are differences that the data do not support; the hover text says
        why.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, COLUMNS)
    if table.empty:
        return empty("Differences", "Nothing was compared.", caption)
    scale = _scale_of_dots(table)
    rows = list(table.groupby(["direction", "statistic"], observed=True, sort=False).groups)
    names = table["name"].unique().tolist()
    figure, legend = go.Figure(), []
    for index, name in enumerate(names):
        mine = table[table["name"] == name]
        apart = _APART * ((index + 0.5) / len(names) - 0.5)
        y = [rows.index((row.direction, row.statistic)) + apart for row in mine.itertuples()]
        legend.append(_dots(figure, mine, index, y, scale))
    several = table["direction"].nunique() > 1
    notes = [_signed(row.difference, row.unit) for row in table.itertuples()] if len(names) == 1 else []
    labels = tick_labels([f"{of}, {direction}" if several else of for direction, of in rows], notes)
    baseline = plain(table["baseline"].iloc[0])
    figure.add_vline(x=1 if scale == "ratio" else 0, line={"width": 1, "dash": "dot", "color": NEUTRAL})
    figure.update_xaxes(**_dots_axis(table, scale, baseline))
    figure.update_yaxes(tickvals=[*range(len(rows))], ticktext=labels, range=[len(rows) - 0.5, -0.5])
    height = rows_px(labels, max(44, 18 * len(names)))
    return frame(
        figure,
        title=f"{_metric(table)}: {_against(names, baseline)}",
        subtitle="Bars: 95% bootstrap intervals. Hollow: no difference detected, or below clock error or tracing "
        "overhead.",
        caption=caption,
        labels=labels,
        legend=[legend] if len(names) > 1 else [],
        plot_px=height,
        least_px=height,
    )


def _against(names: list[str], baseline: str) -> str:
    return f"{plain(names[0])} against {baseline}" if len(names) == 1 else f"against {baseline}"


def _scale_of_dots(table: pd.DataFrame) -> str:
    """Return what is drawn: ``"percent"``, ``"ratio"`` or ``"difference"``."""
    if not np.isfinite(table["ratio"]).all():
        return "difference"
    return "percent" if np.nanmax(table[["ratio", "ratio_high"]].to_numpy()) < 2 else "ratio"


def _dots_axis(table: pd.DataFrame, scale: str, baseline: str) -> dict[str, object]:
    if scale == "difference":
        return {"title_text": f"Difference to {baseline} ({_scale(table)[1]})", "tickformat": "+,~r"}
    if scale == "percent":
        return {"title_text": f"Change against {baseline} (%)", "tickformat": "+,~r"}
    ratios = table[["ratio", "ratio_low", "ratio_high"]].to_numpy(float)
    shown = table["ratio"].to_numpy(float)
    # The intervals of a few runs may span many decades; the axis need not.
    low = max(np.nanmin(ratios), shown.min() / _BEYOND, 1e-9)
    high = min(np.nanmax(ratios), shown.max() * _BEYOND)
    span = [math.log10(min(low, 1)) - 0.04, math.log10(max(high, 1)) + 0.04]
    return {
        "title_text": f"Ratio to {baseline} (logarithmic)",
        "type": "log",
        "range": span,
        "tickprefix": "×",
        "dtick": "D2" if span[1] - span[0] < 2.5 else 1,
        "exponentformat": "none",
    }


def _dots(figure: go.Figure, rows: pd.DataFrame, index: int, y: list[float], scale: str) -> str:
    """Add the dots of one side; return its entry in the legend."""
    names = ("difference", "low", "high") if scale == "difference" else ("ratio", "ratio_low", "ratio_high")
    values = rows[list(names)].to_numpy(float)
    drawn = {
        "percent": lambda: 100 * (values - 1),
        "ratio": lambda: values,
        "difference": lambda: values / _scale(rows)[0],
    }
    middle, low, high = drawn[scale]().T
    entry = fold(rows["name"].iloc[0], LEGEND_WIDTH)
    hollow = [verdict not in _BELIEVED for verdict in rows["verdict"]]
    hover = [
        f"<b>{plain(row.name)}: {plain(row.statistic)}</b> {plain(row.direction)}<br>"
        f"{_signed(row.difference, row.unit)} ({_signed(row.low, row.unit)} to {_signed(row.high, row.unit)})<br>"
        f"{plain(row.verdict)}"
        for row in rows.itertuples(index=False)
    ]
    figure.add_scatter(
        x=middle,
        y=y,
        mode="markers",
        name=entry,
        marker={
            "size": 9,
            "color": color(index),
            "line": {"width": 2, "color": color(index)},
            "symbol": ["circle-open" if one else "circle" for one in hollow],
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": np.nan_to_num(high - middle),
            "arrayminus": np.nan_to_num(middle - low),
            "thickness": 2,
            "color": color(index),
        },
        hovertext=hover,
        hoverinfo="text",
        cliponaxis=False,
    )
    return entry


def _signed(value: float, unit: str) -> str:
    """Return a difference with its sign and unit."""
    sign = "−" if value < 0 else "+"
    if unit == "ns":
        return f"{sign}{duration(abs(value))}"
    return f"{sign}{digits(abs(value) / _UNIT.get(unit, 1))} {plain(_WORD.get(unit, unit))}".strip()


_UNIT, _WORD = {"bit/s": 1e6, "": 0.01}, {"bit/s": "Mbit/s", "": "%"}
