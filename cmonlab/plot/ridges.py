"""Density of the time in each segment, as a ridgeline plot."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cmonlab.schema.format import count, counted, duration

from .distribution import log_axis, times_by_segment
from .frame import empty, frame, kinds_in_legend, need, tick_labels
from .style import KINDS, clear, kind_fill
from .text import plain

TITLE = "Density of each segment's time"
_POINTS = 256
_HIGH = 1.5  # height of a peak, in rows


def ridgeline(hops_table: pd.DataFrame, *, caption: str = "", most: int = 16) -> go.Figure:
    """Draw the density of the time in each segment.

    Parameters
    ----------
    hops_table : DataFrame
        Columns ``segment``, ``kind`` and ``segment_ns`` (ns) of ``schema.describe("hops")``. Rows without a segment
        are ignored.
    caption : str
        Text below the plot.
    most : int
        Segments drawn at most, those with the largest total time; the subtitle says how many are left out.

    Returns
    -------
    Figure
        One row per segment, in the order of the path; x in µs, logarithmic, common to all rows. The density is that of
        the logarithm, smoothed with a Gaussian kernel of Silverman's width (Density Estimation for Statistics and Data
        Analysis, 1986). All rows have the same height. A line marks the median.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(hops_table, ("segment", "kind", "segment_ns"))
    times = times_by_segment(hops_table)
    if not times:
        return empty(TITLE, "No segment was passed, so there is no time to draw.", caption)
    kinds = hops_table.drop_duplicates("segment").set_index("segment")["kind"].astype(str).to_dict()
    keep = set(sorted(times, key=lambda name: times[name].sum(dtype=float), reverse=True)[:most])
    shown = [name for name in times if name in keep]
    figure, medians = go.Figure(), []
    low = min(max(int(times[name].min()), 1) for name in shown)
    high = max(max(int(times[name].max()), 1) for name in shown)
    # The upper rows first, so that a peak covers the row above it.
    for row, name in enumerate(shown):
        medians.append(float(np.median(times[name])))
        _add(figure, len(shown) - 1 - row, name, kinds[name], times[name])
    present = [kind for kind in KINDS if kind in {kinds[name] for name in shown}]
    kinds_in_legend(figure, present)
    labels = tick_labels(
        shown, (f"p50 {duration(ns)}, n {count(times[name].size)}" for name, ns in zip(shown, medians, strict=True))
    )
    figure.update_xaxes(title_text="Time in the segment (µs, logarithmic)", **log_axis(low, high))
    figure.update_yaxes(
        title_text="",
        tickvals=list(range(len(shown) - 1, -1, -1)),
        ticktext=labels,
        showgrid=False,
        range=[-0.25, len(shown) - 1 + _HIGH + 0.1],
    )
    subtitle = "All rows have the same height; a line marks the median. Colours show what the time is spent on."
    if len(times) > len(shown):
        subtitle += f" Not drawn: {counted(len(times) - len(shown), 'segment', 'segments')} with less time."
    height = int(54 * (len(shown) + _HIGH))
    return frame(
        figure,
        title=TITLE,
        subtitle=subtitle,
        caption=caption,
        labels=labels,
        legend=[present],
        plot_px=height,
        least_px=height,
    )


def density(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the density of the decimal logarithm of times.

    Parameters
    ----------
    values : ndarray, shape (n,)
        Times in ns, at least 1.

    Returns
    -------
    x : ndarray of float64, shape (256,)
        Logarithms, from three kernel widths below the least to three above the greatest.
    y : ndarray of float64, shape (256,)
        Density at `x`; its integral is 1.
    """
    logs = np.log10(values)
    spread = min(float(logs.std()), float(np.subtract(*np.percentile(logs, [75, 25]))) / 1.34 or math.inf)
    # Equal times have no spread; then the kernel itself is drawn, 2% wide.
    width = max(0.9 * spread * logs.size**-0.2, 0.01)
    x = np.linspace(logs.min() - 3 * width, logs.max() + 3 * width, _POINTS)
    step = x[1] - x[0]
    counts = np.bincount(np.rint((logs - x[0]) / step).astype(int), minlength=_POINTS)[:_POINTS]
    reach = math.ceil(4 * width / step)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / width) ** 2)
    y = np.convolve(counts, kernel)[reach : reach + _POINTS]
    return x, y / (y.sum() * step)


def _add(figure: go.Figure, base: int, name: str, kind: str, times: np.ndarray) -> None:
    drawn = np.maximum(times, 1)
    x, y = density(drawn)
    color = kind_fill(kind)["color"]
    top = base + y / y.max() * _HIGH
    p50, p90, p99 = np.percentile(times, [50, 90, 99])
    hover = (
        f"<b>{plain(name)}</b><br>{plain(kind)}<br>p50 {duration(p50)}, p90 {duration(p90)}, "
        f"p99 {duration(p99)}<br>from {duration(times.min())} to {duration(times.max())}, n {count(times.size)}"
    )
    us = 10**x / 1e3
    figure.add_scatter(
        x=np.concatenate([us, us[::-1]]),
        y=np.concatenate([top, np.full(us.size, float(base))]),
        mode="lines",
        fill="toself",
        fillcolor=clear(color, 0.45),
        line={"color": color, "width": 1.5},
        name=plain(name),
        hoveron="fills+points",
        hoverinfo="text",
        text=hover,
        showlegend=False,
    )
    median = float(np.median(drawn))
    at = np.interp(math.log10(median), x, top)
    figure.add_scatter(
        x=[median / 1e3] * 2,
        y=[base, at],
        mode="lines",
        line={"color": color, "width": 3},
        hoverinfo="skip",
        showlegend=False,
    )
