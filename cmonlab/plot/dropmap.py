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
    """Draw how many packets were dropped at each place for each reason.

    Parameters
    ----------
    table : DataFrame
        Columns ``place``, ``reason`` and ``journey`` of ``schema.TABLES["drops"]``, one row a dropped packet.
    caption : str
        Drawn below.
    most : int
        Places, and reasons, drawn by name at most, the most frequent ones; the rest is one row, or one column.

    Returns
    -------
    Figure
        Places down, reasons across. The hover text names journeys of dropped packets; each cell's ``customdata`` is
        the number of the first, -1 without one, so a click leads to ``session.plot.waterfall(number)``.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, ("place", "reason", "journey"))
    if table.empty:
        return empty(TITLE, "No packet was dropped.", caption)
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
    first, some = known.min().to_dict(), known.apply(lambda numbers: sorted(numbers)[:5]).to_dict()
    keys = [[(place, reason) for reason in counts.columns] for place in counts.index]
    number = counts.to_numpy()
    low, high = span(number.ravel())
    with np.errstate(divide="ignore"):
        z = np.where(number > 0, np.log10(number), np.nan)
    figure = go.Figure(
        go.Heatmap(
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
            customdata=[[first.get(key, -1) for key in row] for row in keys],
            hovertext=[
                [_told(*key, n, some.get(key, [])) for key, n in zip(row, ns, strict=True)]
                for row, ns in zip(keys, number, strict=True)
            ],
        )
    )
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


def _told(place: str, reason: str, number: int, journeys: list[int]) -> str:
    text = f"<b>{plain(reason)}</b><br>{plain(place)}: {counted(number, 'packet', 'packets')}"
    if not journeys:
        return f"{text}<br>none of them is known as a journey"
    more = ", …" if number > len(journeys) else ""
    return f"{text}<br>journey {', '.join(map(str, journeys))}{more}"
