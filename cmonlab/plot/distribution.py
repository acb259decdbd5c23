"""Distribution of the time in each segment."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cmonlab.schema.format import count, counted, digits

from .frame import LEGEND_WIDTH, empty, frame, need
from .style import stroke
from .text import fold, plain

POINTS = 400


def ecdf(hops_table: pd.DataFrame, *, caption: str = "", tail: bool = False, most: int = 16) -> go.Figure:
    """Draw the empirical distribution of the time in each segment.

    Parameters
    ----------
    hops_table : DataFrame
        Columns ``segment`` and ``segment_ns`` (ns) of ``schema.describe("hops")``. Rows without a segment are ignored.
    caption : str
        Text below the plot.
    tail : bool
        Draw 1 − F, the share of packets that took at least so long, on a logarithmic axis instead of F.
    most : int
        Segments drawn at most, those with the largest total time; the subtitle says how many are left out.

    Returns
    -------
    Figure
        One curve per segment, through at most 400 exact points, more of them in the tail. x: µs, logarithmic, with 0
        drawn at 1 ns.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(hops_table, ("segment", "segment_ns"))
    title = "Tail of each segment's time" if tail else "Distribution of each segment's time"
    times = times_by_segment(hops_table)
    if not times:
        return empty(title, "No segment was passed, so there is no time to draw.", caption)
    keep = set(sorted(times, key=lambda name: times[name].sum(dtype=float), reverse=True)[:most])
    shown = [name for name in times if name in keep]
    figure, legend, ranges = go.Figure(), [], []
    for index, name in enumerate(shown):
        ordered = np.sort(np.maximum(times.pop(name), 1))
        legend.append(_add(figure, name, index, ordered, tail))
        ranges.append((ordered[0], ordered[-1], ordered.size))
    left_out = len(times)
    _axes(figure, ranges, tail)
    subtitle = "Share of packets that took at least so long." if tail else "Share of packets that took at most so long."
    if left_out:
        subtitle += f" Not drawn: {counted(left_out, 'segment', 'segments')} with less time."
    return frame(figure, title=title, subtitle=subtitle, caption=caption, legend=[legend], plot_px=400, least_px=280)


def points(ordered: np.ndarray, most: int = POINTS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return exact points of an empirical distribution, more of them in the tail.

    Parameters
    ----------
    ordered : ndarray, shape (n,)
        Values in ascending order; n > 0.
    most : int
        Number of points at most.

    Returns
    -------
    x : ndarray, shape (k,)
        Distinct values in ascending order, including the least and the greatest.
    at_most, at_least : ndarray of float64, shape (k,)
        Share of the values ``<= x``, and share of the values ``>= x``.
    """
    n = ordered.size
    ranks = np.arange(n)
    if n > most:
        body = np.linspace(0, n - 1, most // 2)
        tail = n - np.geomspace(1, n, most - most // 2)
        ranks = np.unique(np.concatenate([body, tail]).round().astype(np.int64))
    x = np.unique(ordered[ranks])
    return x, np.searchsorted(ordered, x, "right") / n, 1 - np.searchsorted(ordered, x, "left") / n


def times_by_segment(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the times of each segment (ns); the segments are in the order of their first rows in the table."""
    segments = table["segment"].astype("category").cat
    names, codes = segments.categories.astype(str), segments.codes.to_numpy()
    values = table["segment_ns"].to_numpy()
    present = [code for code in pd.unique(codes) if code >= 0 and names[code]]
    return {names[code]: values[codes == code] for code in present}


def _add(figure: go.Figure, name: str, index: int, ordered: np.ndarray, tail: bool) -> str:
    """Add one segment; return its entry in the legend."""
    x, at_most, at_least = points(ordered)
    y, sign = (at_least, "≥") if tail else (at_most, "≤")
    entry = fold(name, LEGEND_WIDTH)
    figure.add_scatter(
        x=x / 1e3,
        y=y,
        mode="lines" if x.size > 1 else "lines+markers",
        name=entry,
        line=stroke(index),
        # Between two values, "at most" has the share of the left one, "at least" that of the right one.
        line_shape="vh" if tail else "hv",
        meta=[plain(name), count(ordered.size)],
        hovertemplate=f"<b>%{{meta[0]}}</b><br>%{{y:.5~p}} took {sign} %{{x:,.4~r}} µs<br>"
        "n %{meta[1]}<extra></extra>",
    )
    return entry


def log_axis(low_ns: float, high_ns: float) -> dict[str, object]:
    """Return the properties of a logarithmic axis in µs that ends at powers of ten.

    Parameters
    ----------
    low_ns, high_ns : float
        Least and greatest time to be drawn, in ns, above 0.

    Returns
    -------
    dict
        Properties of a plotly axis.
    """
    low, high = (math.log10(ns / 1e3) for ns in (low_ns, high_ns))
    low, high = math.floor(low + 1e-9), max(math.ceil(high - 1e-9), math.floor(low) + 1)
    return {
        "type": "log",
        "range": [low - 0.02, high + 0.02],
        "dtick": "D2" if high - low <= 2 else 1,
        "exponentformat": "none",
        "separatethousands": True,
    }


def _axes(figure: go.Figure, ranges: list[tuple], tail: bool) -> None:
    low, high = (pick(row[i] for row in ranges) for pick, i in ((min, 0), (max, 1)))
    figure.update_xaxes(title_text="Time in the segment (µs, logarithmic)", **log_axis(low, high))
    if not tail:
        figure.update_yaxes(
            title_text="Share of packets, F (%)",
            range=[-0.01, 1.02],
            tickvals=np.linspace(0, 1, 6),
            ticktext=["0", "20", "40", "60", "80", "100"],
        )
        return
    decades = max(1, math.ceil(math.log10(max(row[2] for row in ranges))))
    figure.update_yaxes(
        title_text="Share of packets, 1 − F (%, logarithmic)",
        type="log",
        range=[-decades - 0.05, 0.08],
        tickvals=[10.0**-k for k in range(decades + 1)],
        ticktext=[digits(10.0 ** (2 - k), 1) for k in range(decades + 1)],
    )
