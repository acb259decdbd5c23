"""Pairs of source and destination as a matrix, coloured by delay, throughput or loss."""

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
#: What the colours of cells can mean → title of the colour bar.
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
    """Draw each pair of source and destination as a cell of a matrix.

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.describe("pairs")``, one row per window and direction. Counts of windows are added,
        throughput (bit/s) is averaged, and the delay (ns) is the median of the windows, weighted by their packets.
    by : {"delay", "throughput", "loss"}
        What the colours of cells mean.
    caption : str
        Text below the plot.

    Returns
    -------
    Figure
        One row per source, one column per destination. Grey: no traffic was seen. Pale blue: the value is not known,
        or nothing was lost. With colours of delay or throughput, a cross marks pairs that lost packets, and a cell in
        the colour of loss marks pairs of whose packets none arrived. x and y of a cell are the names of destination
        and source. The axes show as many names as there is room for, the hover text shows all.

    Raises
    ------
    UnknownName
        A column is missing, or `by` is something else.
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
) -> dict[str, object]:
    """Return what changes in a figure of `flow_matrix`; ``figure.update(flow_matrix_update(…))`` draws it in place.

    Parameters
    ----------
    table, by
        As for `flow_matrix`.
    names : list of str, optional
        Names of the rows and columns, in order; by default those of the table, in natural order.
    texts : bool
        Whether hover texts change too; they are most of the work.

    Returns
    -------
    dict
        ``data``, one entry per trace, and ``layout``.

    Raises
    ------
    UnknownName
        A column is missing, or `by` is something else.
    """
    pairs = _checked(table, by)
    return _update(pairs, names or sorted({*pairs["src"], *pairs["dst"]}, key=natural), by, texts)


def _blank() -> go.Figure:
    """Return a figure with three traces without data: cells without a value, cells with a value, crosses."""
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
    """Return one row per pair; check the columns and what the colours mean."""
    if by not in MEANINGS:
        raise UnknownName("meaning of colours", by, MEANINGS)
    need(table, COLUMNS)
    return summed(table)


def _update(pairs: pd.DataFrame, names: list[str], by: str, texts: bool = True) -> dict[str, object]:
    place = {name: number for number, name in enumerate(names)}
    pairs = pairs[pairs["src"].isin(place) & pairs["dst"].isin(place)]
    at = pairs["src"].map(place).to_numpy(int), pairs["dst"].map(place).to_numpy(int)
    value, lossy = pairs[by].to_numpy(float), pairs["loss"].to_numpy(float) > 0
    z, ground = np.full((len(names),) * 2, np.nan), np.zeros((len(names),) * 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        z[at] = np.where(value > 0, np.log10(value), np.nan)
    # "No loss" is not a small loss and has its own colour; so have pairs of whose packets none arrived.
    ground[at] = np.where(lossy & (pairs["arrived"] == 0), 2, 1)
    # Colours of loss are transparent: no other cell may be behind them.
    ground[np.isfinite(z)] = np.nan
    some = lossy & (pairs["arrived"] > 0).to_numpy() & (by != "loss")
    axis = bar(MEANINGS[by], *span(value)) | {"colorscale": LOSS if by == "loss" else None}
    axis["showscale"] = bool((value > 0).any())
    labels = np.array([plain(name) for name in names], object)
    # With very many cells, gaps between them would take most of the area.
    gap = 0.5 if len(names) <= 64 else 0
    cells: dict[str, object] = {"x": labels, "y": labels, "xgap": gap, "ygap": gap}
    if texts:
        # Pairs without traffic, of which there may be very many, show their names only.
        hover = np.full(z.shape, "", object)
        hover[at] = [_hover(row) for row in pairs.itertuples()]
        cells["text"] = hover
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
    """Return one row per pair, with the numbers of its windows put together.

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.describe("pairs")``.

    Returns
    -------
    DataFrame
        Columns src, dst; sent, arrived, dropped, lost (packets; lost is NaN if one end is not traced); delay (µs);
        throughput (Mbit/s); loss (%), relative to the packets that were sent or are known to be gone.
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
    """Return the median delay of each pair (ns): that of its median window, weighted by packets."""
    delay = table["one_way_delay_p50_ns"]
    rows = table[np.isfinite(delay)].sort_values("one_way_delay_p50_ns", kind="stable")
    weight = rows["packets_arrived"].clip(lower=1)
    pair = [rows["src"], rows["dst"]]
    half = weight.groupby(pair).cumsum() >= weight.groupby(pair).transform("sum") / 2
    return rows[half].groupby(["src", "dst"])["one_way_delay_p50_ns"].first()


def _hover(row) -> str:
    known = f"lost {count(row.lost)}" if math.isfinite(row.lost) else "lost: not known"
    return (
        f"<br>p50 {duration(1e3 * row.delay)}, "
        f"{digits(row.throughput)} Mbit/s<br>{count(row.sent)} packets sent, {count(row.arrived)} arrived, {known}"
        f"<br>dropped {count(row.dropped)}; loss {percent(row.loss / 100)}"
    )


def _axes(names: list[str], labels: np.ndarray) -> dict[str, object]:
    # There is room for about forty names; of more, every fifth or tenth is shown, which is easy to count from.
    every = 1 if len(labels) <= 2 * _MOST_LABELS else 5 * math.ceil(len(labels) / _MOST_LABELS / 5)
    texts = [plain(short(name, _LABEL)) for name in names[::every]]
    # On paper, names may be left out only if they have no texts (`plot.physical`).
    own = texts if texts != list(labels[::every]) else None
    shown = {"type": "category", "tickvals": labels[::every], "ticktext": own}
    low, high = -0.5, len(labels) - 0.5
    return {"xaxis": {**shown, "range": [low, high]}, "yaxis": {**shown, "range": [high, low]}}
