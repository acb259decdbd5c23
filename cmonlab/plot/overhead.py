"""Tracing overhead: how tracing changed the workload's metrics, with intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cmonlab.schema.format import counted, digits, duration

from .frame import LEGEND_WIDTH, empty, frame, need, rows_px, tick_labels
from .style import color
from .text import fold, plain

TITLE = "Tracing overhead"
COLUMNS = ("tracer", "metric", "unit", "difference", "low", "high", "ratio", "ratio_low", "ratio_high", "rounds")
_APART = 0.6  # part of a row over which all tracers are spread


def overhead(table: pd.DataFrame, *, caption: str = "") -> go.Figure:
    """Draw by how much each tracer changed each metric, in percent.

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.describe("overhead")``, one row per tracer and metric. Rows without a ratio are not drawn.
    caption : str
        Text below the plot.

    Returns
    -------
    Figure
        One row per metric, in it one dot per tracer: the median of the rounds, with its 95% interval if there is one.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, COLUMNS)
    table = table[np.isfinite(table["ratio"])]
    if table.empty:
        return empty(TITLE, "Tracing overhead was not measured.", caption)
    metrics, tracers = table["metric"].unique().tolist(), table["tracer"].unique().tolist()
    figure, legend = go.Figure(), []
    for index, tracer in enumerate(tracers):
        rows = table[table["tracer"] == tracer]
        shift = _APART * ((index + 0.5) / len(tracers) - 0.5)
        legend.append(_add(figure, rows, index, [metrics.index(metric) + shift for metric in rows["metric"]]))
    notes = [_difference(row) for row in table.itertuples()] if len(tracers) == 1 else []
    labels = tick_labels(metrics, notes)
    figure.add_vline(x=0, line={"width": 1, "dash": "dot"})
    figure.update_xaxes(title_text="Change against untraced (%)", tickformat="+,~r")
    figure.update_yaxes(tickvals=[*range(len(metrics))], ticktext=labels, range=[len(metrics) - 0.5, -0.5])
    height = rows_px(labels, max(44, 18 * len(tracers)))
    return frame(
        figure,
        title=TITLE,
        subtitle=_subtitle(table),
        caption=caption,
        labels=labels,
        legend=[legend] if len(tracers) > 1 else [],
        plot_px=height,
        least_px=height,
    )


def _subtitle(table: pd.DataFrame) -> str:
    most = int(table["rounds"].max())
    text = f"Medians over {counted(most, 'round', 'rounds')} of traced and untraced runs, interleaved"
    return f"{text}, with 95% bootstrap intervals." if np.isfinite(table["ratio_low"]).any() else f"{text}."


def _difference(row) -> str:
    """Return the difference in the unit of the metric, as text."""
    if row.unit == "ns":
        return f"{'+' if row.difference >= 0 else '−'}{duration(abs(row.difference))}"
    return f"{'+' if row.difference >= 0 else '−'}{digits(abs(row.difference))} {plain(row.unit)}"


def _add(figure: go.Figure, rows: pd.DataFrame, index: int, y: list[float]) -> str:
    """Add the dots of one tracer; return its entry in the legend."""
    change = 100 * (rows[["ratio", "ratio_low", "ratio_high"]].to_numpy(float) - 1)
    middle, low, high = change.T
    entry = fold(rows["tracer"].iloc[0], LEGEND_WIDTH)
    hover = [
        f"<b>{plain(row.tracer)}: {plain(row.metric)}</b><br>{of:+.2f} % ({a:+.2f} to {b:+.2f})<br>{_difference(row)}"
        for row, of, a, b in zip(rows.itertuples(), middle, low, high, strict=True)
    ]
    figure.add_scatter(
        x=middle,
        y=y,
        mode="markers",
        name=entry,
        marker={"size": 9, "color": color(index)},
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
