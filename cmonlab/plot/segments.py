"""The latency breakdown: the part of each segment, or kind of time, in the one-way delay."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from cmonlab.schema.format import count, counted, duration, percent

from .frame import LEGEND_WIDTH, empty, frame, need, rows_px, tick_labels
from .style import NEUTRAL, fill, kind_fill
from .text import fold, plain

TITLE = "Latency breakdown"
COLUMNS = (
    "direction",
    "kind",
    "n",
    "p50_ns",
    "p90_ns",
    "p99_ns",
    "p999_ns",
    "mean_ns",
    "share",
    "p50_low_ns",
    "p50_high_ns",
    "p99_low_ns",
    "p99_high_ns",
)


def breakdown(table: pd.DataFrame, *, caption: str = "", most: int = 8) -> go.Figure:
    """Draw the mean one-way delay of each direction as a bar of its segments or kinds of time.

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.describe("breakdown")`` or of ``schema.describe("breakdown_by_kind")``, times in ns. A kind
        has the same colour in every direction.
    caption : str
        Text below the plot.
    most : int
        Directions drawn at most, those with the largest total time; the subtitle says how many are left out.

    Returns
    -------
    Figure
        One bar per direction, with its segments in the order of the path. They add up to the mean one-way delay of the
        direction, in µs. A segment that only some journeys passed is weighted by their share (``mean_ns * n /
        largest n``); otherwise the bar would be longer than the delay.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, COLUMNS)
    by_kind = "segment" not in table.columns
    table = table[table["n"] > 0]
    if table.empty:
        return empty(TITLE, "No journey was complete, so there is no delay to break down.", caption)
    names = table["kind" if by_kind else "segment"].astype(str)
    table = table.assign(direction=table["direction"].astype(str), kind=table["kind"].astype(str), segment=names)
    largest = table.groupby("direction", sort=False)["n"].transform("max")
    table["part_ns"] = table["mean_ns"] * table["n"] / largest
    shown, left_out = _largest(table, most)
    longest_ns = table.groupby("direction")["part_ns"].sum()[shown].max()
    figure, legend = go.Figure(), []
    for direction in shown:
        rows = table[table["direction"] == direction]
        markers = [kind_fill(kind) if by_kind else fill(number) for number, kind in enumerate(rows["kind"])]
        bars = zip(rows.itertuples(), markers, strict=True)
        legend.append([_add(figure, row, number, marker, longest_ns) for number, (row, marker) in enumerate(bars, 1)])
    return _axes(figure, table, shown, left_out, legend, caption)


def _largest(table: pd.DataFrame, most: int) -> tuple[list[str], int]:
    """Return (directions with the largest total time, in the order of the table; number of the others)."""
    total = (table["mean_ns"] * table["n"]).groupby(table["direction"], sort=False).sum()
    keep = set(total.nlargest(most).index)
    return [direction for direction in total.index if direction in keep], len(total) - len(keep)


def _add(figure: go.Figure, row, number: int, marker: dict, longest_ns: float) -> str:
    """Add one segment of one bar; return its entry in the legend."""
    entry = fold(f"{number}  {row.segment}  ({duration(row.part_ns)}, {percent(row.share)})", LEGEND_WIDTH)
    hover = (
        f"<b>{number}  {plain(row.segment)}</b><br>"
        f"{plain(row.kind) + '<br>' if row.kind != row.segment else ''}mean {duration(row.mean_ns)}, "
        f"{percent(row.share)} of the one-way delay<br>"
        f"p50 {duration(row.p50_ns)}{_between(row.p50_low_ns, row.p50_high_ns)}, p90 {duration(row.p90_ns)}<br>"
        f"p99 {duration(row.p99_ns)}{_between(row.p99_low_ns, row.p99_high_ns)}, p99.9 {duration(row.p999_ns)}<br>"
        f"n {counted(row.n, 'journey', 'journeys')}<br>{plain(row.direction)}"
    )
    figure.add_bar(
        x=[row.part_ns / 1e3],
        y=[plain(row.direction)],
        orientation="h",
        name=entry,
        marker={"color": NEUTRAL} if row.segment == "residual" else marker,
        # The number is that of the legend; only a wide part has room for its time.
        text=[f"{number} · {duration(row.part_ns)}" if row.part_ns > 0.09 * longest_ns else f"{number}"],
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        hovertext=[hover],
        hoverinfo="text",
        legendgroup=plain(row.direction),
        legendgrouptitle={"text": fold(row.direction, LEGEND_WIDTH)},
    )
    return entry


def _between(low_ns: float, high_ns: float) -> str:
    """Return an interval in brackets, or nothing if its ends are equal."""
    return "" if low_ns == high_ns else f" (95%: {duration(low_ns)} to {duration(high_ns)})"


def _axes(
    figure: go.Figure, table: pd.DataFrame, shown: list[str], left_out: int, legend: list, caption: str
) -> go.Figure:
    rows = table.groupby("direction", sort=False)
    delay, journeys = rows["part_ns"].sum(), rows["n"].max()
    labels = tick_labels(shown, (f"{duration(delay[d])}, n {count(journeys[d])}" for d in shown))
    figure.update_layout(barmode="stack", bargap=0.4, uniformtext={"mode": "hide", "minsize": 10})
    figure.update_xaxes(title_text="Mean one-way delay (µs)", tickformat=",~r", rangemode="tozero")
    figure.update_yaxes(
        title_text="",
        tickvals=[plain(direction) for direction in shown],
        ticktext=labels,
        autorange="reversed",
        showgrid=False,
    )
    parts = (
        "What the time is spent on" if table["segment"].equals(table["kind"]) else "Segments in the order of the path"
    )
    subtitle = f"{parts}; they add up to the mean one-way delay."
    if left_out:
        subtitle += f" Not drawn: {counted(left_out, 'direction', 'directions')} with less time."
    return frame(
        figure,
        title=TITLE,
        subtitle=subtitle,
        caption=caption,
        labels=labels,
        legend=legend,
        plot_px=rows_px(labels, 74),
        least_px=rows_px(labels, 46),
    )
