"""Sides beside each other: the difference at every quantile, and chosen statistics with their intervals."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from .frame import LEGEND_WIDTH, empty, frame, need, rows_px, tick_labels
from .style import clear, color, stroke
from .text import digits, duration, fold, plain

SHIFT_COLUMNS = ("metric", "direction", "name", "baseline", "unit", "quantile", "difference", "low", "high")
COLUMNS = (*SHIFT_COLUMNS[:5], "statistic", "difference", "low", "high", "ratio", "ratio_low", "ratio_high", "verdict")
_TICKS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
_APART = 0.6  # of a row, for all sides together
_NORMAL = NormalDist()
_WORDS = {"one_way_delay": "One-way delay", "throughput": "Throughput", "loss": "Packet loss", "rtt": "srtt"}
_BELIEVED = ("greater", "less")


def shift(table: pd.DataFrame, *, caption: str = "") -> go.Figure:
    """Draw the difference of each quantile, with its interval as a band (a shift function).

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.TABLES["shifts"]``.
    caption : str
        Drawn below.

    Returns
    -------
    Figure
        x: the percentile, spread as a normal distribution spreads it, so that both tails show; y: the difference to
        the baseline, in µs for times.

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
    figure, legend = go.Figure(), []
    series = list(table.groupby(["name", "direction"], observed=True, sort=False))
    for index, ((name, direction), rows) in enumerate(series):
        legend.append(_curve(figure, _label(name, direction, table), rows, index, per, unit))
    figure.add_hline(y=0, line={"width": 1, "dash": "dot"})
    figure.update_xaxes(
        title_text="Percentile", tickvals=[_NORMAL.inv_cdf(q) for q in _TICKS],
        ticktext=[f"p{digits(100 * q)}" for q in _TICKS],
        range=[_NORMAL.inv_cdf(float(table["quantile"].min())) - 0.06,
               _NORMAL.inv_cdf(float(table["quantile"].max())) + 0.06],
    )  # fmt: skip
    baseline = plain(table["baseline"].iloc[0])
    figure.update_yaxes(title_text=f"Difference to {baseline} ({unit})", tickformat="+,~r")
    subtitle = "Above 0: more than the baseline at this percentile. " + (
        "Bands: 95% bootstrap intervals, each percentile for itself."
        if np.isfinite(table["low"]).any()
        else "One value a side: no intervals."
    )
    return frame(figure, title=title, subtitle=subtitle, caption=caption, legend=[legend], plot_px=400, least_px=280)


def _curve(figure: go.Figure, label: str, rows: pd.DataFrame, index: int, per: float, unit: str) -> str:
    """Add a side's curve and band; return its entry in the legend."""
    x = [_NORMAL.inv_cdf(quantile) for quantile in rows["quantile"]]
    middle, low, high = (rows[name].to_numpy(float) / per for name in ("difference", "low", "high"))
    entry = fold(label, LEGEND_WIDTH)
    if np.isfinite(low).all():
        figure.add_scatter(
            x=[*x, *x[::-1]], y=[*high, *low[::-1]], mode="lines", line={"width": 0}, fill="toself",
            fillcolor=clear(color(index), 0.18), legendgroup=entry, showlegend=False, hoverinfo="skip",
        )  # fmt: skip
    figure.add_scatter(
        x=x, y=middle, mode="lines", name=entry, legendgroup=entry, line=stroke(index), meta=plain(label),
        customdata=np.column_stack([100 * rows["quantile"], low, high]),
        hovertemplate=f"<b>%{{meta}}</b><br>p%{{customdata[0]:.5~g}}: %{{y:+,.4~r}} {unit}"
        " (%{customdata[1]:+,.4~r} to %{customdata[2]:+,.4~r})<extra></extra>",
    )  # fmt: skip
    return entry


def _metric(table: pd.DataFrame) -> str:
    word = str(table["metric"].iloc[0])
    return plain(_WORDS.get(word, word))


def _label(name: str, direction: str, table: pd.DataFrame) -> str:
    return f"{name}, {direction}" if table["direction"].nunique() > 1 else str(name)


def _scale(table: pd.DataFrame) -> tuple[float, str]:
    """Return what differences are divided by for drawing, and the unit they then have."""
    unit = str(table["unit"].iloc[0])
    if unit == "ns":
        return 1e3, "µs"
    if unit == "bit/s":
        return 1e6, "Mbit/s"
    return (1.0, unit) if unit else (0.01, "%")


def differences(table: pd.DataFrame, *, caption: str = "") -> go.Figure:
    """Draw chosen statistics as dots with intervals, a row each.

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.TABLES["compared"]``.
    caption : str
        Drawn below.

    Returns
    -------
    Figure
        x: the change against the baseline in percent; where there is no ratio, the difference.  Hollow dots are
        differences that are not to be believed; each tells why.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, COLUMNS)
    if table.empty:
        return empty("Differences", "Nothing was compared.", caption)
    relative = bool(np.isfinite(table["ratio"]).all())
    rows = list(table.groupby(["direction", "statistic"], observed=True, sort=False).groups)
    names = table["name"].unique().tolist()
    figure, legend = go.Figure(), []
    for index, name in enumerate(names):
        mine = table[table["name"] == name]
        apart = _APART * ((index + 0.5) / len(names) - 0.5)
        y = [rows.index((row.direction, row.statistic)) + apart for row in mine.itertuples()]
        legend.append(_dots(figure, mine, index, y, relative))
    several = table["direction"].nunique() > 1
    notes = [_signed(row.difference, row.unit) for row in table.itertuples()] if len(names) == 1 else []
    labels = tick_labels([f"{of}, {direction}" if several else of for direction, of in rows], notes)
    baseline = plain(table["baseline"].iloc[0])
    what = f"Change against {baseline} (%)" if relative else f"Difference to {baseline} ({_scale(table)[1]})"
    figure.add_vline(x=0, line={"width": 1, "dash": "dot"})
    figure.update_xaxes(title_text=what, tickformat="+,~r")
    figure.update_yaxes(tickvals=[*range(len(rows))], ticktext=labels, range=[len(rows) - 0.5, -0.5])
    height = rows_px(labels, max(44, 18 * len(names)))
    return frame(
        figure, title=f"{_metric(table)}: {_against(names, baseline)}",
        subtitle="Bars: 95% bootstrap intervals. Hollow: not told apart from 0, or below clock error or observer "
        "overhead.", caption=caption, labels=labels, legend=[legend] if len(names) > 1 else [],
        plot_px=height, least_px=height,
    )  # fmt: skip


def _against(names: list[str], baseline: str) -> str:
    return f"{plain(names[0])} against {baseline}" if len(names) == 1 else f"against {baseline}"


def _dots(figure: go.Figure, rows: pd.DataFrame, index: int, y: list[float], relative: bool) -> str:
    """Add a side's dots; return its entry in the legend."""
    names = ("ratio", "ratio_low", "ratio_high") if relative else ("difference", "low", "high")
    values = rows[list(names)].to_numpy(float)
    middle, low, high = (100 * (values - 1) if relative else values / _scale(rows)[0]).T
    entry = fold(rows["name"].iloc[0], LEGEND_WIDTH)
    hollow = [verdict not in _BELIEVED for verdict in rows["verdict"]]
    hover = [
        f"<b>{plain(row.name)}: {plain(row.statistic)}</b> {plain(row.direction)}<br>"
        f"{_signed(row.difference, row.unit)} ({_signed(row.low, row.unit)} to {_signed(row.high, row.unit)})<br>"
        f"{plain(row.verdict)}"
        for row in rows.itertuples(index=False)
    ]
    figure.add_scatter(
        x=middle, y=y, mode="markers", name=entry,
        marker={"size": 9, "color": color(index), "line": {"width": 2, "color": color(index)},
                "symbol": ["circle-open" if one else "circle" for one in hollow]},
        error_x={"type": "data", "symmetric": False, "array": np.nan_to_num(high - middle),
                 "arrayminus": np.nan_to_num(middle - low), "thickness": 2, "color": color(index)},
        hovertext=hover, hoverinfo="text", cliponaxis=False,
    )  # fmt: skip
    return entry


def _signed(value: float, unit: str) -> str:
    """Return a difference with its sign and unit."""
    sign = "−" if value < 0 else "+"
    if unit == "ns":
        return f"{sign}{duration(abs(value))}"
    return f"{sign}{digits(abs(value) / _UNIT.get(unit, 1))} {plain(_WORD.get(unit, unit))}".strip()


_UNIT, _WORD = {"bit/s": 1e6, "": 0.01}, {"bit/s": "Mbit/s", "": "%"}
