"""Throughput and goodput over time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cmonlab.schema.format import counted

from .frame import LEGEND_WIDTH, empty, frame, need
from .style import color
from .text import fold

TITLE = "Throughput"
COLUMNS = ("time_s", "direction", "throughput_bps", "goodput_bps")


def throughput(table: pd.DataFrame, *, caption: str = "", most: int = 6) -> go.Figure:
    """Draw throughput and goodput of each direction over time.

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.describe("throughput")``, one row per window and direction; rates in bit/s. A window without
        a row counts as 0 bit/s.
    caption : str
        Text below the plot.
    most : int
        Directions drawn at most, those with the most bits; the subtitle says how many are left out.

    Returns
    -------
    Figure
        Two lines per direction: rates in bit/s, drawn at the start of their windows, over seconds.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, COLUMNS)
    if table.empty:
        return empty(TITLE, "No packet reached its destination, so there is no throughput.", caption)
    table = table.assign(direction=table["direction"].astype(str))
    total = table.groupby("direction", sort=False)["throughput_bps"].sum()
    keep = set(total.nlargest(most).index)
    shown = [direction for direction in total.index if direction in keep]
    window_s, time_s = _windows(table["time_s"].to_numpy(float))
    figure, legend = go.Figure(), []
    for index, direction in enumerate(shown):
        rows = table[table["direction"] == direction]
        legend += _add(figure, rows, direction, index, time_s, window_s)
    figure.update_xaxes(title_text="Time since the first event (s)", rangemode="tozero", tickformat=",~r")
    figure.update_yaxes(title_text="Rate (bit/s)", rangemode="tozero", tickformat="~s")
    subtitle = "IP bytes (throughput) and payload bytes (goodput) that reached the destination"
    subtitle += f", per window of {window_s:g} s." if window_s else "."
    if len(total) > len(shown):
        subtitle += f" Not drawn: {counted(len(total) - len(shown), 'direction', 'directions')} with fewer bits."
    return frame(
        figure,
        title=TITLE,
        subtitle=subtitle,
        caption=caption,
        labels=["000.00M"],
        legend=[legend],
        plot_px=320,
        least_px=240,
    )


def _windows(time_s: np.ndarray) -> tuple[float, np.ndarray]:
    """Return (length of a window, 0 if there is only one; starts of all windows, also those without a row), in s."""
    starts = np.unique(time_s)
    if starts.size < 2:
        return 0.0, starts
    window_s = float(np.diff(starts).min())
    # More than 100,000 windows are not filled: the figure would consist of zeros.
    number = np.round((starts - starts[0]) / window_s).astype(np.int64)
    if number[-1] > 100_000:
        return window_s, starts
    # Rounded, because 3 * 0.1 must equal the 0.3 of the table.
    return round(window_s, 9), np.round(starts[0] + np.arange(number[-1] + 1) * window_s, 9)


def _add(figure, rows: pd.DataFrame, direction: str, index: int, time_s: np.ndarray, window_s: float) -> list[str]:
    """Add the two lines of a direction; return their entries in the legend."""
    entries = []
    at = np.searchsorted(time_s + (window_s / 2 or 1), rows["time_s"].to_numpy(float))
    for word, dash in (("throughput", "solid"), ("goodput", "dot")):
        rate = np.zeros(time_s.size)
        np.add.at(rate, np.minimum(at, time_s.size - 1), rows[f"{word}_bps"].to_numpy(float))
        entry = fold(f"{direction}  {word}", LEGEND_WIDTH)
        entries.append(entry)
        figure.add_scatter(
            x=time_s,
            y=rate,
            name=entry,
            mode="lines+markers" if time_s.size <= 60 else "lines",
            line={"color": color(index), "dash": dash, "width": 2},
            marker={"size": 5},
            cliponaxis=False,
            hovertemplate="%{y:.4~s}bit/s<br>from %{x} s<extra>%{fullData.name}</extra>",
        )
    return entries
