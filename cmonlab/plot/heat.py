"""One-way delay over time, as a heat map."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cmonlab.schema.format import counted, digits

from .frame import empty, frame, need
from .scale import bar, span
from .text import plain

TITLE = "One-way delay over time"
COLUMNS = ("start_ns", "direction", "one_way_delay_ns")
# Bins of delay per power of ten; number of time slices at most.
_PER_DECADE, _MOST_SLICES = 16, 120


def heatmap(
    table: pd.DataFrame, *, caption: str = "", slice_s: float | None = None, share: bool = False, most: int = 4
) -> go.Figure:
    """Draw the distribution of the one-way delay in each slice of time.

    Parameters
    ----------
    table : DataFrame
        Columns ``start_ns``, ``direction`` and ``one_way_delay_ns`` of ``schema.describe("journeys")``, one row per
        packet; complete journeys only.
    caption : str
        Text below the plot.
    slice_s : float, optional
        Length of a time slice in seconds; by default a round one that makes 60 to 120 slices.
    share : bool
        Colour by the share of the slice's packets instead of their number.
    most : int
        Directions drawn at most, those with the most packets; the subtitle says how many are left out.

    Returns
    -------
    Figure
        One panel per direction. Delays are in µs, logarithmic, in 16 bins per power of ten; 0 counts as 1 ns. Colours
        are logarithmic.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, COLUMNS)
    if table.empty:
        return empty(TITLE, "No journey was complete, so there is no delay to draw.", caption)
    packets = table["direction"].astype(str).value_counts()
    shown = packets.index[:most].tolist()
    begin = table["start_ns"].to_numpy()
    time_s = (begin - begin.min()) / 1e9
    slice_s = slice_s or _round_slice(float(time_s.max()))
    delay_us = np.maximum(table["one_way_delay_ns"].to_numpy(float), 1) / 1e3
    edges = np.arange(int(time_s.max() / slice_s) + 2) * slice_s, _bins(delay_us)
    direction = table["direction"].astype(str).to_numpy()
    figure = make_subplots(
        rows=len(shown),
        shared_xaxes=True,
        vertical_spacing=0.18 / len(shown),
        cols=1,
        subplot_titles=[plain(name) for name in shown],
    )
    cells = {}
    for name in shown:
        rows = direction == name
        cells[name] = np.histogram2d(time_s[rows], delay_us[rows], edges)[0].T
    values = {name: _shares(count) if share else count for name, count in cells.items()}
    for row, name in enumerate(shown, 1):
        _add(figure, row, edges, cells[name], values[name])
    figure.update_annotations(font={"size": 12})
    _axes(figure, len(shown), edges[1], values, share)
    subtitle = f"Each column is a slice of {digits(slice_s)} s; a packet counts where it began."
    if len(packets) > most:
        subtitle += f" Not drawn: {counted(len(packets) - most, 'direction', 'directions')} with fewer packets."
    return frame(
        figure, title=TITLE, subtitle=subtitle, caption=caption, labels=["000.00"], plot_px=max(300, 190 * len(shown))
    )


def _round_slice(length_s: float) -> float:
    """Return 1, 2 or 5 times a power of ten, in seconds, that divides this time into at most 120 slices."""
    least = max(length_s, 1e-6) / _MOST_SLICES
    power = 10.0 ** math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least)


def _bins(delay_us: np.ndarray) -> np.ndarray:
    """Return the edges of bins for all delays (µs), evenly spaced on a logarithmic axis."""
    first = math.floor(math.log10(delay_us.min()) * _PER_DECADE)
    last = math.floor(math.log10(delay_us.max()) * _PER_DECADE) + 1
    return 10 ** (np.arange(first, last + 1) / _PER_DECADE)


def _shares(count: np.ndarray) -> np.ndarray:
    """Return the share of each bin in the packets of its column, in percent."""
    return 100 * count / np.maximum(count.sum(axis=0), 1)


def _add(figure: go.Figure, row: int, edges: tuple, count: np.ndarray, value: np.ndarray) -> None:
    low, high = edges[1][:-1], edges[1][1:]
    shares = _shares(count)
    texts = np.empty((*count.shape, 2), object)
    texts[..., 0] = [
        [f"{int(n):,} packets, {digits(s, 2)} % of the slice" for n, s in zip(*line, strict=True)]
        for line in zip(count, shares, strict=True)
    ]
    texts[..., 1] = np.array([f"{digits(a)} to {digits(b)} µs" for a, b in zip(low, high, strict=True)], object)[
        :, None
    ]
    with np.errstate(divide="ignore"):
        z = np.where(value > 0, np.log10(value), np.nan)
    figure.add_heatmap(
        x=edges[0],
        y=edges[1],
        z=z,
        coloraxis="coloraxis",
        customdata=texts,
        row=row,
        col=1,
        hoverongaps=False,
        hovertemplate="%{customdata[0]}<br>took %{customdata[1]}<br>from about %{x:.4~r} s<extra></extra>",
    )


def _axes(figure: go.Figure, rows: int, bins: np.ndarray, values: dict, share: bool) -> None:
    what = "Share of the slice's packets (%, logarithmic)" if share else "Packets (count, logarithmic)"
    figure.update_layout(coloraxis=bar(what, *span(np.concatenate([value.ravel() for value in values.values()]))))
    figure.update_yaxes(
        type="log",
        exponentformat="none",
        title_text="Delay (µs, log)",
        showgrid=False,
        separatethousands=True,
        range=[math.log10(bins[0]), math.log10(bins[-1])],
        dtick="D2" if bins[-1] / bins[0] < 50 else 1,
    )
    figure.update_xaxes(showgrid=False)
    figure.update_xaxes(title_text="Time since the first packet (s)", row=rows, col=1)
