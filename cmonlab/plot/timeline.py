"""Delay, throughput, drops and trace gaps over time, in panels below each other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cmonlab.schema.format import counted, duration

from .frame import LEGEND_WIDTH, empty, frame, need
from .style import NEUTRAL, color
from .text import fold

TITLE = "Timeline"
COLUMNS = (
    "start_ns",
    "end_ns",
    "time_s",
    "rule",
    "direction",
    "packets",
    "throughput_bps",
    "one_way_delay_p50_ns",
    "one_way_delay_p99_ns",
    "dropped",
    "retransmissions",
    "lost_events",
    "trace_gap_ns",
)
_PANELS = ("Delay (µs, log)", "Rate (bit/s)", "Dropped<br>(packets)", "Trace gaps (ms)")
_HEIGHTS = (3, 3, 1.6, 0.8)


def timeline(table: pd.DataFrame, *, caption: str = "", most: int = 4) -> go.Figure:
    """Draw delay, throughput and drops of each direction over time.

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.describe("timeline")``, one row per window, rule and direction.
    caption : str
        Text below the plot.
    most : int
        Directions drawn at most, those with the most packets; the subtitle says how many are left out.

    Returns
    -------
    Figure
        Four panels with a common time axis (s). From top to bottom: p50 and p99 of the one-way delay (µs), with a gap
        where no journey ended; throughput (bit/s); dropped packets; trace gaps (ms, summed over CPUs). Values are drawn
        at the middle of their window.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, COLUMNS)
    if table.empty:
        return empty(TITLE, "No packet was seen, so there is nothing to draw.", caption)
    table = table.assign(series=_series(table))
    packets = table.groupby("series", sort=False)[["packets", "dropped"]].sum().sum(axis=1)
    keep = set(packets.nlargest(most).index)
    shown = [name for name in packets.index if name in keep]
    figure = make_subplots(rows=4, cols=1, shared_xaxes=True, vertical_spacing=0.035, row_heights=_HEIGHTS)
    legend = []
    for index, name in enumerate(shown):
        legend += _add(figure, table[table["series"] == name], name, index)
    _trace_gaps(figure, table)
    _axes(figure, table)
    window_ns = float(np.median(table["end_ns"] - table["start_ns"]))
    subtitle = f"Windows of {duration(window_ns)}; solid p50, dashed p99. {_lost(table)}"
    if len(packets) > len(shown):
        subtitle += f" Not drawn: {counted(len(packets) - len(shown), 'direction', 'directions')} of fewer packets."
    return frame(
        figure,
        title=TITLE,
        subtitle=subtitle,
        caption=caption,
        labels=["000.00M"],
        legend=[legend],
        plot_px=560,
        least_px=480,
    )


def _series(table: pd.DataFrame) -> pd.Series:
    """Return the direction of each row, followed by the rule if there are several."""
    direction, rule = table["direction"].astype(str), table["rule"].astype(str)
    return direction if rule.nunique() < 2 else direction + " (" + rule + ")"


def _lost(table: pd.DataFrame) -> str:
    """Return a sentence on lost events."""
    lost = table.drop_duplicates("start_ns")["lost_events"]
    if lost.isna().any():
        return "Events were lost; in which windows is not known."
    return f"{counted(lost.sum(), 'lost event', 'lost events')}."


def _add(figure: go.Figure, rows: pd.DataFrame, name: str, index: int) -> list[str]:
    """Add one direction to each panel; return its entries in the legend."""
    middle = (rows["time_s"] + (rows["end_ns"] - rows["start_ns"]) / 2e9).to_numpy()
    entry, shade = fold(name, LEGEND_WIDTH), color(index)
    mode = "lines+markers" if len(rows) <= 60 else "lines"
    for quantile, dash in (("p50", "solid"), ("p99", "dash")):
        figure.add_scatter(
            x=middle,
            y=rows[f"one_way_delay_{quantile}_ns"] / 1e3,
            mode=mode,
            name=entry,
            legendgroup=entry,
            showlegend=quantile == "p50",
            line={"color": shade, "dash": dash, "width": 2},
            marker={"size": 4},
            connectgaps=False,
            hovertemplate=f"{quantile} %{{y:,.4~r}} µs<extra>{entry}</extra>",
            row=1,
            col=1,
        )
    figure.add_scatter(
        x=middle,
        y=rows["throughput_bps"],
        mode=mode,
        name=entry,
        legendgroup=entry,
        showlegend=False,
        line={"color": shade, "width": 2},
        marker={"size": 4},
        row=2,
        col=1,
        hovertemplate=f"%{{y:.4~s}}bit/s<extra>{entry}</extra>",
    )
    figure.add_bar(
        x=middle,
        y=rows["dropped"],
        name=entry,
        legendgroup=entry,
        showlegend=False,
        marker={"color": shade},
        row=3,
        col=1,
        customdata=rows["retransmissions"],
        hovertemplate=f"%{{y:,d}} dropped, %{{customdata:,d}} retransmissions<extra>{entry}</extra>",
    )
    return [entry]


def _trace_gaps(figure: go.Figure, table: pd.DataFrame) -> None:
    """Add the trace gaps of each window."""
    rows = table.drop_duplicates("start_ns")
    middle = (rows["time_s"] + (rows["end_ns"] - rows["start_ns"]) / 2e9).to_numpy()
    figure.add_bar(
        x=middle,
        y=rows["trace_gap_ns"] / 1e6,
        name="trace gaps",
        showlegend=False,
        row=4,
        col=1,
        marker={"color": NEUTRAL},
        hovertemplate="trace gaps: %{y:,.3~r} ms<extra></extra>",
    )


def _axes(figure: go.Figure, table: pd.DataFrame) -> None:
    for row, title in enumerate(_PANELS, 1):
        figure.update_yaxes(title_text=title, rangemode="tozero", row=row, col=1)
    figure.update_yaxes(type="log", exponentformat="none", separatethousands=True, row=1, col=1, dtick=1)
    figure.update_yaxes(tickformat="~s", row=2, col=1)
    # Plotly would draw an axis without values above 0 from -1 to 1.
    for row, most in ((3, table["dropped"].max()), (4, table["trace_gap_ns"].max())):
        figure.update_yaxes(nticks=3, row=row, col=1, **({} if most > 0 else {"range": [0, 1]}))
    figure.update_xaxes(title_text="Time since the first event (s)", tickformat=",~r", row=4, col=1)
    figure.update_layout(barmode="stack", hovermode="x unified", bargap=0.1)
