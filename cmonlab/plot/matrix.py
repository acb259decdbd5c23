"""Who talks to whom, and how well: sources down, destinations across."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cmonlab.errors import UnknownName
from cmonlab.schema.format import count, digits, duration, natural, percent, short

from .frame import CHARACTER, empty, frame, need
from .scale import bar, span
from .style import CLEAN, FAINT, LOSS, WARNING
from .text import plain

TITLE = "Flow matrix"
COLUMNS = (
    "start_ns",
    "src",
    "dst",
    "packets_sent",
    "packets_arrived",
    "throughput_bps",
    "lost",
    "dropped",
    "one_way_delay_p50_ns",
)
#: What a cell's colour means, and the title of the colour bar.
MEANINGS = {
    "delay": "One-way delay, p50 (µs, logarithmic)",
    "throughput": "Throughput (Mbit/s, logarithmic)",
    "loss": "Loss (%, logarithmic)",
}
SAYS = {"loss": "Pale blue: nothing was lost."} | dict.fromkeys(
    ("delay", "throughput"), "A cross: packets were lost; a full cell in its colour: none arrived."
)
_SIDE, _MOST_LABELS, _LABEL = 560, 20, 18


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
        Grey: no traffic was seen; pale blue: no value is known, of loss: nothing was lost. In the colour of loss:
        packets were lost; where delay or throughput is drawn, a cross marks pairs that lost some, and a full cell
        those of whose packets none arrived. A cell's x and y are destination and source, so a click tells them;
        the axes name as many as have room, the hover text all.

    Raises
    ------
    UnknownName
        A column is missing, or colours cannot mean that.
    """
    pairs = _checked(table, by)
    if pairs.empty:
        return empty(TITLE, "No packet was sent or received, so no pair is known.", caption)
    names = sorted({*pairs["src"], *pairs["dst"]}, key=natural)
    figure = _blank()
    figure.update(_update(pairs, names, by))
    widest, rows = min(max(map(len, names)), _LABEL), len(names)
    figure.update_xaxes(title_text="Destination", showgrid=False, tickangle=-90 if rows > 12 else None)
    figure.update_yaxes(title_text="Source", showgrid=False)
    subtitle = f"Sources down, destinations across. Grey: no traffic was seen. {SAYS[by]}"
    height = int(min(max(32 * rows, 220), _SIDE) + (CHARACTER * widest if rows > 12 else 0))
    return frame(figure, title=TITLE, subtitle=subtitle, caption=caption, labels=["x" * widest], plot_px=height)


def flow_matrix_update(
    table: pd.DataFrame, *, by: str = "delay", names: list[str] | None = None, texts: bool = True
) -> dict:
    """Return what changes in a figure of `flow_matrix`: ``figure.update(flow_matrix_update(…))`` draws it in place.

    Parameters
    ----------
    table, by
        As for `flow_matrix`.
    names : list of str, optional
        Rows and columns, in order; by default those of the table, in natural order.
    texts : bool
        Whether hover texts change too, which are most of the work.

    Returns
    -------
    dict
        ``data``, one entry a trace, and ``layout``.

    Raises
    ------
    UnknownName
        A column is missing, or colours cannot mean that.
    """
    pairs = _checked(table, by)
    return _update(pairs, names or sorted({*pairs["src"], *pairs["dst"]}, key=natural), by, texts)


def _blank() -> go.Figure:
    """Return the traces without their data: what has no value, values, crosses."""
    figure, gap = go.Figure(), {"hoverongaps": False}
    flat = [
        [step / 3, color]
        for step, color in ((0, FAINT), (1, FAINT), (1, CLEAN), (2, CLEAN), (2, WARNING), (3, WARNING))
    ]
    hover = "<b>%{y} → %{x}</b>%{text}<extra></extra>"
    figure.add_heatmap(colorscale=flat, zmin=-0.5, zmax=2.5, showscale=False, hovertemplate=hover, **gap)
    figure.add_heatmap(coloraxis="coloraxis", hovertemplate=hover, **gap)
    figure.add_scatter(
        mode="markers",
        hoverinfo="skip",
        showlegend=False,
        marker={"symbol": "x", "color": WARNING, "line": {"color": "white", "width": 0.5}},
    )
    return figure


def _checked(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return a table's rows, one a pair, if it and what colours mean can be drawn."""
    if by not in MEANINGS:
        raise UnknownName("meaning of colours", by, MEANINGS)
    need(table, COLUMNS)
    return summed(table)


def _update(pairs: pd.DataFrame, names: list[str], by: str, texts: bool = True) -> dict:
    place = {name: number for number, name in enumerate(names)}
    pairs = pairs[pairs["src"].isin(place) & pairs["dst"].isin(place)]
    at = pairs["src"].map(place).to_numpy(int), pairs["dst"].map(place).to_numpy(int)
    value, lossy = pairs[by].to_numpy(float), pairs["loss"].to_numpy(float) > 0
    z, ground = np.full((len(names),) * 2, np.nan), np.zeros((len(names),) * 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        z[at] = np.where(value > 0, np.log10(value), np.nan)
    # No loss is no little loss: it has a colour of its own, as has what never arrived.
    ground[at] = np.where(lossy & (pairs["arrived"] == 0), 2, 1)
    # Colours of loss are transparent: nothing may be behind them.
    ground[np.isfinite(z)] = np.nan
    some = lossy & (pairs["arrived"] > 0).to_numpy() & (by != "loss")
    axis = bar(MEANINGS[by], *span(value)) | {"colorscale": LOSS if by == "loss" else None}
    axis["showscale"] = bool((value > 0).any())
    labels = np.array([plain(name) for name in names], object)
    # Between very many cells, gaps would be most of what is seen.
    gap = 0.5 if len(names) <= 64 else 0
    cells = {"x": labels, "y": labels, "xgap": gap, "ygap": gap}
    if texts:
        # Silent pairs, of which there may be very many, have their names alone.
        cells["text"] = np.full(z.shape, "", object)
        cells["text"][at] = [_told(row) for row in pairs.itertuples()]
    size = float(np.clip(240 / max(len(names), 1), 3, 9))
    return {
        "data": [
            {**cells, "z": ground},
            {**cells, "z": z},
            {"x": labels[at[1][some]], "y": labels[at[0][some]], "marker": {"size": size}},
        ],
        "layout": {"coloraxis": axis, **_axes(names, labels)},
    }


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
    each = table.groupby(["src", "dst"], sort=False)
    found = each[["packets_sent", "packets_arrived", "dropped", "throughput_bps"]].sum()
    found.columns = ["sent", "arrived", "dropped", "throughput"]
    found["lost"] = each["lost"].sum(min_count=1)
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
        f"<br>p50 {duration(1e3 * row.delay)}, "
        f"{digits(row.throughput)} Mbit/s<br>{count(row.sent)} packets sent, {count(row.arrived)} arrived, {known}"
        f"<br>dropped {count(row.dropped)}; loss {percent(row.loss / 100)}"
    )


def _axes(names: list[str], labels: np.ndarray) -> dict:
    # Some forty have room side by side; of more, every fifth or tenth is easier to count from.
    every = 1 if len(labels) <= 2 * _MOST_LABELS else 5 * math.ceil(len(labels) / _MOST_LABELS / 5)
    texts = [plain(short(name, _LABEL)) for name in names[::every]]
    # Without texts of their own more names may be left out on paper (`plot.physical`).
    own = texts if texts != list(labels[::every]) else None
    shown = {"type": "category", "tickvals": labels[::every], "ticktext": own}
    low, high = -0.5, len(labels) - 0.5
    return {"xaxis": {**shown, "range": [low, high]}, "yaxis": {**shown, "range": [high, low]}}
