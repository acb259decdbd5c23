"""One-way delays of each direction: their range and quantiles, and which segments make their tail."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cmonlab.schema.format import count, counted, digits, duration, percent

from .distribution import log_axis
from .frame import empty, frame, kinds_in_legend, need, rows_px, tick_labels
from .style import KINDS, NEUTRAL, PALETTE, clear, kind_fill
from .text import fold, plain

TITLE, TAIL = "One-way delay of each direction", "Where is the tail?"
# Of each piece of a row: first and last column, name, width in pixels, opacity.
PIECES = (
    ("min_ns", "p50_ns", "least to p50", 10, 0.35),
    ("p50_ns", "p90_ns", "p50 to p90", 20, 0.9),
    ("p90_ns", "p99_ns", "p90 to p99", 12, 0.65),
    ("p99_ns", "p999_ns", "p99 to p99.9", 6, 0.5),
    ("p999_ns", "max_ns", "p99.9 to greatest", 2, 0.8),
)
_TAIL_COLUMNS = (
    *("direction", "segment", "kind", "n", "quantile"),
    *("typical_ns", "tail_ns", "difference_ns", "low_ns", "high_ns", "share"),
)
_INTERVALS = ("p50_low_ns", "p50_high_ns", "p99_low_ns", "p99_high_ns")


def one_way_delay(table: pd.DataFrame, *, caption: str = "", most: int = 24) -> go.Figure:
    """Draw the range of one-way delays of each direction, divided at the quantiles.

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.describe("one_way_delay")``: times in ns, one row per direction.
    caption : str
        Text below the plot.
    most : int
        Directions drawn at most, those with the most journeys; the subtitle says how many are left out.

    Returns
    -------
    Figure
        One row per direction; x in µs, logarithmic, with 0 drawn at 1 ns. Bars at p50 and p99 are 95% intervals.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, ("direction", "n", "clock_error_ns", "max_ns", *(piece[0] for piece in PIECES), *_INTERVALS))
    rows = table[table["n"] > 0]
    if rows.empty:
        return empty(TITLE, "No journey was complete, so there is no delay to draw.", caption)
    rows = rows.loc[rows["n"].sort_values(ascending=False, kind="stable").index[:most].sort_values()]
    figure, y = go.Figure(), np.arange(len(rows))
    at_us = {name: np.maximum(rows[name].to_numpy(float), 1) / 1e3 for name in rows if name.endswith("_ns")}
    hover = [_hover(row) for row in rows.itertuples()]
    _pieces(figure, y, at_us, hover)
    _intervals(figure, y, at_us, hover)
    labels = tick_labels(
        rows["direction"].astype(str),
        (f"p50 {duration(row.p50_ns)}, p99 {duration(row.p99_ns)}" for row in rows.itertuples()),
    )
    least, greatest = 1e3 * float(at_us["min_ns"].min()), 1e3 * float(at_us["max_ns"].max())
    figure.update_xaxes(title_text="One-way delay (µs, logarithmic)", **log_axis(least, greatest))
    figure.update_yaxes(title_text="", tickvals=y, ticktext=labels, range=[len(y) - 0.4, -0.6], showgrid=False)
    subtitle = f"Complete journeys: {count(rows['n'].sum())}. Grey bars are 95% intervals of p50 and p99."
    if (error := rows["clock_error_ns"].max()) > 0:
        subtitle += f" Clocks of two hosts may differ by {duration(error)}."
    if len(table) > len(rows):
        subtitle += f" Not drawn: {counted(len(table) - len(rows), 'direction', 'directions')} of fewer journeys."
    height = rows_px(labels, 52)
    return frame(
        figure,
        title=TITLE,
        subtitle=subtitle,
        caption=caption,
        labels=labels,
        legend=[[piece[2] for piece in PIECES]],
        plot_px=height,
        least_px=height,
    )


def _pieces(figure: go.Figure, y: np.ndarray, at_us: dict[str, np.ndarray], hover: list[str]) -> None:
    """Add a line from quantile to quantile in each row."""
    for low, high, name, width, opacity in PIECES:
        ends = np.column_stack([at_us[low], at_us[high], np.full(len(y), np.nan)]).ravel()
        figure.add_scatter(
            x=ends,
            y=np.repeat(y, 3),
            mode="lines",
            name=name,
            connectgaps=False,
            hoverinfo="text",
            hovertext=np.repeat(hover, 3),
            line={"color": clear(PALETTE[0], opacity), "width": width},
        )


def _intervals(figure: go.Figure, y: np.ndarray, at_us: dict[str, np.ndarray], hover: list[str]) -> None:
    """Add the intervals of p50 and p99 in each row."""
    for name in ("p50", "p99"):
        value, low, high = (at_us[f"{name}{rest}_ns"] for rest in ("", "_low", "_high"))
        figure.add_scatter(
            x=value,
            y=y,
            mode="markers",
            hovertext=hover,
            hoverinfo="text",
            showlegend=False,
            marker={"symbol": "line-ns", "size": 24, "line": {"width": 2, "color": NEUTRAL}},
            error_x={
                "array": np.where(np.isfinite(high), high - value, 0),
                "color": NEUTRAL,
                "width": 5,
                "arrayminus": np.where(np.isfinite(low), value - low, 0),
                "thickness": 1.5,
            },
        )


def _hover(row) -> str:
    return (
        f"<b>{plain(row.direction)}</b><br>least {duration(row.min_ns)}, mean {duration(row.mean_ns)}<br>"
        f"p50 {duration(row.p50_ns)} (95%: {duration(row.p50_low_ns)} to {duration(row.p50_high_ns)}), "
        f"p90 {duration(row.p90_ns)}<br>p99 {duration(row.p99_ns)} (95%: {duration(row.p99_low_ns)} to "
        f"{duration(row.p99_high_ns)}), p99.9 {duration(row.p999_ns)}<br>greatest {duration(row.max_ns)}, "
        f"n {count(row.n)}"
    )


def tail(table: pd.DataFrame, *, caption: str = "", most: int = 5, directions: int = 2) -> go.Figure:
    """Draw which segments make up the difference between the median and a high quantile of the one-way delay.

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.describe("where_is_the_tail")``: times in ns, one row per direction and segment.
    caption : str
        Text below the plot.
    most : int
        Segments named at most for each direction, those with the largest part; the others share one bar.
    directions : int
        Directions drawn at most, those with the most journeys; the subtitle says how many are left out.

    Returns
    -------
    Figure
        One panel per direction, from top to bottom: the median, the part of each segment, the quantile, in µs. The
        parts add up to the difference. Bars are 95% intervals, colours the kind of time.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, _TAIL_COLUMNS)
    if table.empty:
        return empty(TAIL, "No journey was complete, so there is no tail to explain.", caption)
    table = table.assign(direction=table["direction"].astype(str))
    known = table.groupby("direction", sort=False)["n"].max().sort_values(ascending=False, kind="stable")
    parts = [_steps(table[table["direction"] == name], most) for name in known.index[:directions]]
    labels = [tick_labels(part["label"], part["note"]) for part in parts]
    heights = [rows_px(texts, 34) for texts in labels]
    figure = make_subplots(
        rows=len(parts),
        cols=1,
        row_heights=heights,
        vertical_spacing=70 / (sum(heights) + 70),
        subplot_titles=[plain(name) for name in known.index[:directions]],
    )
    for number, (part, texts) in enumerate(zip(parts, labels, strict=True), 1):
        _waterfall(figure, part, texts, number)
    present = [kind for kind in KINDS if any((part["kind"] == kind).any() for part in parts)]
    kinds_in_legend(figure, present)
    figure.update_annotations(font={"size": 12})
    figure.update_xaxes(title_text="One-way delay (µs)", tickformat=",~r", row=len(parts), col=1)
    subtitle = f"Parts of {_name(table['quantile'].iloc[0])} minus the median; they add up. Bars are 95% intervals."
    if len(known) > len(parts):
        subtitle += f" Not drawn: {counted(len(known) - len(parts), 'direction', 'directions')} of fewer journeys."
    height = sum(heights) + 70 * (len(parts) - 1)
    return frame(
        figure,
        title=TAIL,
        subtitle=subtitle,
        caption=caption,
        labels=[*chain(*labels)],
        legend=[present],
        plot_px=height,
        least_px=height,
    )


def _name(quantile: float) -> str:
    return f"p{digits(100 * quantile, 4)}"


def _steps(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return the bars of a direction: label, note, kind, base and length (ns), interval of the length."""
    median, high = rows["typical_ns"].sum(), rows["tail_ns"].sum()
    segments = rows.assign(label=rows["segment"].astype(str), kind=rows["kind"].astype(str))
    named, rest = segments.head(most), segments.iloc[most:]
    steps = named[["label", "kind", "difference_ns", "low_ns", "high_ns", "share"]]
    if len(rest):
        sums = rest[["difference_ns", "share"]].sum()
        others = {"label": f"{len(rest)} others, with the residual", "kind": "", "low_ns": np.nan, "high_ns": np.nan}
        steps = pd.concat([steps, pd.DataFrame([others | sums.to_dict()])], ignore_index=True)
    steps = steps.assign(base=median + steps["difference_ns"].cumsum() - steps["difference_ns"])
    signed = [f"{'+' if ns >= 0 else '−'}{duration(abs(ns))}" for ns in steps["difference_ns"]]
    steps["note"] = [f"{ns}, {percent(share)}" for ns, share in zip(signed, steps["share"], strict=True)]
    ends = {"kind": "", "base": 0.0, "low_ns": np.nan, "high_ns": np.nan}
    first = {**ends, "label": "median", "note": duration(median), "difference_ns": median}
    last = {**ends, "label": _name(rows["quantile"].iloc[0]), "note": duration(high), "difference_ns": high}
    return pd.concat([pd.DataFrame([first]), steps, pd.DataFrame([last])], ignore_index=True)


def _waterfall(figure: go.Figure, part: pd.DataFrame, labels: list[str], row: int) -> None:
    y, length, base = np.arange(len(part)), part["difference_ns"].to_numpy() / 1e3, part["base"].to_numpy() / 1e3
    whole = (y == 0) | (y == len(y) - 1)
    spread = [np.nan_to_num(np.abs(part[name].to_numpy(float) / 1e3 - length)) for name in ("high_ns", "low_ns")]
    figure.add_bar(
        x=length,
        base=base,
        y=y,
        orientation="h",
        showlegend=False,
        row=row,
        col=1,
        hoverinfo="text",
        width=0.66,
        marker={
            "color": [
                NEUTRAL if ends else kind_fill(kind)["color"] for ends, kind in zip(whole, part["kind"], strict=True)
            ]
        },
        error_x={"array": spread[0], "arrayminus": spread[1], "color": NEUTRAL, "thickness": 1.5, "width": 4},
        hovertext=[
            f"<b>{fold(r.label, 60)}</b><br>{plain(r.kind) + '<br>' if r.kind else ''}{plain(r.note)}"
            + (f"<br>95%: {duration(r.low_ns)} to {duration(r.high_ns)}" if np.isfinite(r.low_ns) else "")
            for r in part.itertuples()
        ],
    )
    # Dotted lines join the end of a part to the begin of the next one.
    ends = np.where(whole, length, base + length)
    x = np.column_stack([ends[:-1], ends[:-1], np.full(len(y) - 1, np.nan)]).ravel()
    joints = np.column_stack([y[:-1], y[1:], y[1:]]).ravel()
    figure.add_scatter(
        x=x,
        y=joints,
        mode="lines",
        line={"color": NEUTRAL, "width": 1, "dash": "dot"},
        hoverinfo="skip",
        showlegend=False,
        row=row,
        col=1,
    )
    figure.update_yaxes(tickvals=y, ticktext=labels, range=[len(y) - 0.4, -0.6], showgrid=False, row=row, col=1)
    figure.update_xaxes(rangemode="tozero", row=row, col=1)
