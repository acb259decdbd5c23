"""Who talks to whom, and how well: sources down, destinations across."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ..errors import UnknownName
from .frame import CHARACTER, empty, frame, need
from .scale import bar, span
from .style import FAINT, LOSS, WARNING
from .text import count, digits, duration, natural, percent, plain

TITLE = "Flow matrix"
COLUMNS = ("start_ns", "src", "dst", "packets_sent", "packets_arrived", "throughput_bps", "lost", "dropped",
           "one_way_delay_p50_ns")  # fmt: skip
#: What a cell's colour means, and the title of the colour bar.
MEANINGS = {
    "delay": "One-way delay, p50 (µs, logarithmic)",
    "throughput": "Throughput (Mbit/s, logarithmic)",
    "loss": "Loss (%, logarithmic)",
}
_SIDE, _MOST_LABELS = 560, 40


def flow_matrix(table: pd.DataFrame, *, by: str = "delay", caption: str = "") -> go.Figure:
    """Draw each pair of source and destination as one cell of a matrix.

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.TABLES["pairs"]``: one row a window and direction. Counts and throughput of windows are
        put together; of delays the median window's, weighted by packets, is drawn.
    by : {"delay", "throughput", "loss"}
        What colours mean.
    caption : str
        Drawn below.

    Returns
    -------
    Figure
        Grey: no traffic was seen. In the colour of loss: packets were lost; where delay or throughput is drawn, a
        cross marks pairs that lost some, and a full cell those of whose packets none arrived. Cells carry
        ``customdata`` rows ``(src, dst)``; every name is in the hover text, the axes name as many as have room.

    Raises
    ------
    UnknownName
        A column is missing, or colours cannot mean that.
    """
    if by not in MEANINGS:
        raise UnknownName("meaning of colours", by, MEANINGS)
    need(table, COLUMNS)
    pairs = summed(table)
    if pairs.empty:
        return empty(TITLE, "No packet was sent or received, so no pair is known.", caption)
    names = sorted({*pairs["src"], *pairs["dst"]}, key=natural)
    figure = go.Figure()
    update = flow_matrix_update(table, by=by, names=names)
    _add(figure)
    figure.update(update)
    side = max(_SIDE * min(1.0, 0.35 + len(names) / 20), 12 * min(len(names), 40))
    subtitle = "Sources down, destinations across. Grey: no traffic was seen."
    if by != "loss":
        subtitle += " Crosses: packets were lost; full cells in their colour: none arrived."
    widest = max(map(len, names))
    figure.update_xaxes(title_text="Destination", showgrid=False, constrain="domain", tickangle=-90)
    figure.update_yaxes(title_text="Source", showgrid=False)
    return frame(figure, title=TITLE, subtitle=subtitle, caption=caption, labels=["x" * min(widest, 28)],
                 plot_px=int(side + CHARACTER * min(widest, 28)))  # fmt: skip


def flow_matrix_update(table: pd.DataFrame, *, by: str = "delay", names: list[str] | None = None) -> dict:
    """Return what changes in a figure of `flow_matrix`: ``figure.update(flow_matrix_update(…))`` draws it in place.

    Parameters
    ----------
    table, by
        As for `flow_matrix`.
    names : list of str, optional
        Rows and columns, in order; by default those of the table, in natural order.

    Returns
    -------
    dict
        ``data``, one entry a trace, and ``layout``.

    Raises
    ------
    UnknownName
        A column is missing, or colours cannot mean that.
    """
    if by not in MEANINGS:
        raise UnknownName("meaning of colours", by, MEANINGS)
    need(table, COLUMNS)
    pairs = summed(table)
    names = names if names is not None else sorted({*pairs["src"], *pairs["dst"]}, key=natural)
    place = {name: number for number, name in enumerate(names)}
    pairs = pairs[pairs["src"].isin(place) & pairs["dst"].isin(place)]
    at = pairs["src"].map(place).to_numpy(int), pairs["dst"].map(place).to_numpy(int)
    value = pairs[by].to_numpy(float)
    low, high = span(value)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.where(value > 0, np.log10(value), np.where(value == 0, low, np.nan))
    lossy = pairs["loss"].to_numpy(float) > 0
    gone = lossy & ~np.isfinite(drawn)
    told = np.full((len(names),) * 2, "", object)
    told[at] = [_told(row) for row in pairs.itertuples()]
    z, full, back = (np.full((len(names),) * 2, np.nan) for _ in range(3))
    z[at], full[at[0][gone], at[1][gone]], back[told == ""] = drawn, 1.0, 1.0
    some = lossy & ~gone & (by != "loss")
    axis = bar(MEANINGS[by], low, high) | {"colorscale": LOSS if by == "loss" else None}
    axis["showscale"] = bool((value > 0).any())
    ends = list(range(len(names)))
    crosses = {"x": at[1][some], "y": at[0][some], "marker": {"size": float(np.clip(240 / max(len(names), 1), 3, 9))}}
    pair = np.empty((*told.shape, 2), object)
    pair[..., 0], pair[..., 1] = np.array(names, object)[:, None], np.array(names, object)[None, :]
    return {
        "data": [{"x": ends, "y": ends, "z": back, "customdata": pair, "hovertext": _silent(names)},
                 {"x": ends, "y": ends, "z": z, "customdata": pair, "hovertext": told},
                 {"x": ends, "y": ends, "z": full, "customdata": pair, "hovertext": told}, crosses],
        "layout": {"coloraxis": axis, **_axes(names)},
    }  # fmt: skip


def _add(figure: go.Figure) -> None:
    """Add the traces without their data: silent pairs, values, pairs of which nothing arrived, crosses."""
    gap = {"xgap": 0.5, "ygap": 0.5, "hoverinfo": "text", "hoverongaps": False}
    for color in (FAINT, None, WARNING):
        scale = {"coloraxis": "coloraxis"} if color is None else {"colorscale": [[0, color], [1, color]],
                                                                  "showscale": False}  # fmt: skip
        figure.add_heatmap(**scale, **gap)
    figure.add_scatter(mode="markers", hoverinfo="skip", showlegend=False,
                       marker={"symbol": "x", "color": WARNING, "line": {"color": "white", "width": 0.5}})  # fmt: skip


def summed(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row a pair: what its windows are together.

    Returns
    -------
    DataFrame
        Columns src, dst, sent, arrived, dropped, lost (packets, NaN where an end is not in sight), delay (µs),
        throughput (Mbit/s) and loss (%): of what was sent, or of what is known to be gone.
    """
    table = table.assign(src=table["src"].astype(str), dst=table["dst"].astype(str))
    windows = max(table["start_ns"].nunique(), 1)
    found = table.groupby(["src", "dst"], sort=False).agg(
        sent=("packets_sent", "sum"), arrived=("packets_arrived", "sum"), dropped=("dropped", "sum"),
        lost=("lost", lambda values: values.sum(min_count=1)), throughput=("throughput_bps", "sum"),
    )  # fmt: skip
    found["throughput"] /= windows * 1e6
    found["delay"] = _typical(table) / 1e3
    lost = found["lost"].fillna(found["dropped"]).clip(lower=found["dropped"])
    whole = found["sent"].clip(lower=found["arrived"] + lost)
    found["loss"] = (100 * lost / whole.where(whole > 0)).astype(float)
    return found[(found["sent"] > 0) | (found["arrived"] > 0) | (lost > 0)].reset_index()


def _typical(table: pd.DataFrame) -> pd.Series:
    """Return of each pair the median delay of the window that half of its packets were in or below."""
    delay = table["one_way_delay_p50_ns"]
    rows = table[np.isfinite(delay)].sort_values("one_way_delay_p50_ns", kind="stable")
    weight = rows["packets_arrived"].clip(lower=1)
    pair = [rows["src"], rows["dst"]]
    half = weight.groupby(pair).cumsum() >= weight.groupby(pair).transform("sum") / 2
    return rows[half].groupby(["src", "dst"])["one_way_delay_p50_ns"].first()


def _told(row) -> str:
    known = f"lost {count(row.lost)}" if math.isfinite(row.lost) else "lost: not known"
    return (
        f"<b>{plain(row.src)} → {plain(row.dst)}</b><br>p50 {duration(1e3 * row.delay)}, "
        f"{digits(row.throughput)} Mbit/s<br>{count(row.sent)} packets sent, {count(row.arrived)} arrived, {known}"
        f"<br>dropped {count(row.dropped)}; loss {percent(row.loss / 100)}"
    )


def _silent(names: list[str]) -> np.ndarray:
    marked = np.array([plain(name) for name in names], object)
    return "<b>" + marked[:, None] + " → " + marked[None, :] + "</b><br>no traffic was seen"


def _axes(names: list[str]) -> dict:
    every = math.ceil(len(names) / _MOST_LABELS)
    shown = {"tickvals": list(range(0, len(names), every)), "ticktext": [plain(name) for name in names[::every]]}
    low, high = -0.5, len(names) - 0.5
    return {"xaxis": {**shown, "range": [low, high]}, "yaxis": {**shown, "range": [high, low]}}
