"""The journey of one packet, as a waterfall."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from cmonlab.errors import CmonlabError
from cmonlab.schema.format import counted, duration, percent

from .frame import empty, frame, need, rows_px, tick_labels
from .style import NEUTRAL, fill
from .text import plain

TITLE = "One journey, hop by hop"
COLUMNS = ("journey", "offset_ns", "hop", "segment", "segment_ns")


def waterfall(hops_of_one_journey: pd.DataFrame, *, caption: str = "") -> go.Figure:
    """Draw one journey, hop by hop.

    Parameters
    ----------
    hops_of_one_journey : DataFrame
        Columns ``journey``, ``offset_ns``, ``hop``, ``segment`` and ``segment_ns`` of ``schema.describe("hops")``; rows
        of one journey. Times are in ns.
    caption : str
        Text below the plot.

    Returns
    -------
    Figure
        One row per hop, from top to bottom, with the segment that ends there as a bar. x: µs since the first hop.

    Raises
    ------
    UnknownName
        A column is missing.
    CmonlabError
        The rows belong to more than one journey.
    """
    rows = _one(hops_of_one_journey)
    if rows.empty:
        return empty(TITLE, "No journey was chosen, or it has no hop.", caption)
    total = float(rows["offset_ns"].iloc[-1])
    figure = go.Figure()
    for position, row in enumerate(rows.itertuples()):
        _add(figure, row, position, total)
    labels = tick_labels(rows["hop"].astype(str))
    figure.update_layout(bargap=0.35, uniformtext={"mode": "show", "minsize": 11})
    figure.update_xaxes(title_text="Time since the first hop (µs)", rangemode="tozero", tickformat=",~r")
    # Positions instead of names: a journey may pass one hop twice.
    figure.update_yaxes(
        title_text="", tickvals=list(range(len(rows))), ticktext=labels, range=[len(rows) - 0.4, -0.6], showgrid=False
    )
    number = rows["journey"].iloc[0]
    subtitle = f"Journey {number}: {counted(len(rows), 'hop', 'hops')} in {duration(total)}."
    height = rows_px(labels, 36)
    return frame(
        figure, title=TITLE, subtitle=subtitle, caption=caption, labels=labels, plot_px=height, least_px=height
    )


def _one(hops: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in order of time; check that they are of one journey at most."""
    need(hops, COLUMNS)
    journeys = hops["journey"].nunique()
    if journeys > 1:
        raise CmonlabError(
            f"a waterfall shows one journey, this table holds {journeys}",
            fix="select one first: hops[hops['journey'] == 0]",
        )
    return hops.loc[:, list(COLUMNS)].sort_values("offset_ns", kind="stable")


def _add(figure: go.Figure, row, position: int, total: float) -> None:
    """Add the segment that ends at a hop as a bar, the hop as a short line, and the segment's time as text."""
    start, end = (row.offset_ns - row.segment_ns) / 1e3, row.offset_ns / 1e3
    hover = f"<b>{plain(row.hop)}</b><br>{duration(row.offset_ns)} since the first hop"
    if position:
        share = row.segment_ns / total if total else float("nan")
        hover += f"<br>{plain(row.segment)}: {duration(row.segment_ns)}, {percent(share)} of the journey"
        figure.add_bar(
            x=[end - start],
            base=[start],
            y=[position],
            orientation="h",
            marker=fill(position - 1),
            width=0.62,
            hovertext=[hover],
            hoverinfo="text",
            showlegend=False,
        )
    # This shows a segment whose bar is too short to be seen.
    figure.add_scatter(
        x=[end],
        y=[position],
        mode="markers",
        marker={"symbol": "line-ns", "size": 22, "line": {"width": 2}},
        marker_line_color=NEUTRAL,
        hovertext=[hover],
        hoverinfo="text",
        showlegend=False,
    )
    figure.add_annotation(
        text=duration(row.segment_ns) if position else "start",
        y=position,
        showarrow=False,
        yanchor="middle",
        **_beside(start, end, total / 1e3),
    )


def _beside(start: float, end: float, total: float) -> dict:
    """Place the text of a segment: right of its bar, left of a bar that ends far right, or inside a very long bar."""
    if end <= 0.7 * total:
        return {"x": end, "xanchor": "left", "xshift": 6, "font": {"size": 12}}
    if start >= 0.12 * total:
        return {"x": start, "xanchor": "right", "xshift": -6, "font": {"size": 12}}
    return {
        "x": end,
        "xanchor": "right",
        "xshift": -10,
        "bgcolor": "rgba(255,255,255,0.9)",
        "borderpad": 3,
        "font": {"size": 12, "color": "#1b1f2a"},
    }
