"""Where the network dropped packets, and why."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cmonlab.schema.format import count, counted

from .counts import frequent
from .frame import empty, frame, need, rows_px, tick_labels
from .scale import bar, span
from .style import LOSS
from .text import plain

TITLE = "Drop map"


def drop_map(table: pd.DataFrame, *, caption: str = "", most: int = 16) -> go.Figure:
    """Draw how many packets were dropped at each place, for each reason.

    Parameters
    ----------
    table : DataFrame
        Columns ``place``, ``reason`` and ``journey`` of ``schema.describe("drops")``, one row per dropped packet.
    caption : str
        Text below the plot.
    most : int
        At most so many places and reasons are named, the most frequent ones; the others share one row or one column.

    Returns
    -------
    Figure
        One row per place, one column per reason. The hover text has journeys of the dropped packets. The
        ``customdata`` of a cell is the number of the first journey, -1 without one, for
        ``session.plot.waterfall(number)``.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, ("place", "reason", "journey"))
    if table.empty:
        return empty(TITLE, "No packet was dropped.", caption)
    counts, journeys = _counted(table, most)
    number = counts.to_numpy()
    figure = go.Figure(_cells(counts, journeys))
    low, high = span(number.ravel())
    labels = tick_labels(counts.index, (counted(n, "packet", "packets") for n in number.sum(axis=1)))
    figure.update_layout(coloraxis=bar("Dropped packets (count, log)", low, high) | {"colorscale": LOSS})
    figure.update_xaxes(title_text="Drop reason", type="category", showgrid=False)
    figure.update_yaxes(
        title_text="",
        type="category",
        tickvals=[plain(place) for place in counts.index],
        ticktext=labels,
        autorange="reversed",
        showgrid=False,
    )
    height = max(180, rows_px(labels, 52)) + 20
    return frame(
        figure,
        title=f"{TITLE}: {counted(len(table), 'dropped packet', 'dropped packets')}",
        labels=labels,
        subtitle="By the interface the packet was last seen on and the kernel's drop reason.",
        caption=caption,
        plot_px=height,
        least_px=height,
    )


def _counted(table: pd.DataFrame, most: int) -> tuple[pd.DataFrame, dict[tuple[str, str], list[int]]]:
    """Return (packets by place and reason, the largest first; numbers of up to five journeys of each)."""
    rows = pd.DataFrame(
        {
            "place": frequent(table["place"], most, "places"),
            "journey": table["journey"].to_numpy(),
            "reason": frequent(table["reason"], most, "reasons"),
        }
    )
    counts = pd.crosstab(rows["place"], rows["reason"])
    counts = counts.loc[counts.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    counts = counts[counts.sum().sort_values(ascending=False, kind="stable").index]
    known = rows[rows["journey"] >= 0].groupby(["place", "reason"])["journey"]
    return counts, known.apply(lambda numbers: sorted(numbers)[:5]).to_dict()


def _cells(counts: pd.DataFrame, journeys: dict[tuple[str, str], list[int]]) -> go.Heatmap:
    """Return the cells, each with its first journey as ``customdata``."""
    keys = [[(place, reason) for reason in counts.columns] for place in counts.index]
    number = counts.to_numpy()
    with np.errstate(divide="ignore"):
        z = np.where(number > 0, np.log10(number), np.nan)
    return go.Heatmap(
        x=[plain(reason) for reason in counts.columns],
        y=[plain(place) for place in counts.index],
        z=z,
        coloraxis="coloraxis",
        xgap=2,
        ygap=2,
        hoverongaps=False,
        hoverinfo="text",
        text=[[count(n) if n else "" for n in row] for row in number],
        texttemplate="%{text}",
        customdata=[[journeys.get(key, [-1])[0] for key in row] for row in keys],
        hovertext=[
            [_hover(*key, n, journeys.get(key, [])) for key, n in zip(row, ns, strict=True)]
            for row, ns in zip(keys, number, strict=True)
        ],
    )


def _hover(place: str, reason: str, number: int, journeys: list[int]) -> str:
    text = f"<b>{plain(reason)}</b><br>{plain(place)}: {counted(number, 'packet', 'packets')}"
    if not journeys:
        return f"{text}<br>none of them belongs to a journey"
    more = ", …" if number > len(journeys) else ""
    return f"{text}<br>journey {', '.join(map(str, journeys))}{more}"
