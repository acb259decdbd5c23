"""What is around every plot: title, caption, margins, height, legend; and the figure of an empty table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
import plotly.graph_objects as go

from cmonlab.errors import UnknownName

from .style import template
from .text import fold, lines, longest, paragraph

# Pixels. A figure keeps its height when the page gets narrow; the legend then grows and the plot shrinks.
CHARACTER, LINE, SMALL_LINE, LEGEND_LINE, LEGEND_GROUP = 7.4, 16, 15, 20, 28
RIGHT, AXIS, GAP, PANEL_TITLE = 24, 52, 12, 18
# Characters of a line that still fits a page of 600 pixels.
LABEL_WIDTH, LEGEND_WIDTH, CAPTION_WIDTH, SUBTITLE_WIDTH = 28, 80, 96, 88


def need(table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Check that a table has the columns that a figure reads.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    for column in columns:
        if column not in table.columns:
            raise UnknownName("column", column, map(str, table.columns))


def frame(
    figure: go.Figure,
    *,
    title: str,
    subtitle: str = "",
    caption: str = "",
    labels: Sequence[str] = (),
    legend: Sequence[Sequence[str]] = (),
    plot_px: int = 380,
    least_px: int = 240,
) -> go.Figure:
    """Give a figure its title, caption, legend, margins and height; return it.

    Parameters
    ----------
    title : str
        One short line of plotly markup.
    subtitle, caption : str
        Plain text, folded here.
    labels : sequence of str
        Folded tick labels of the y-axis, for the left margin.
    legend : sequence of sequences of str
        Folded entries of the legend, group by group; groups stand side by side where the page is wide enough.
    plot_px, least_px : int
        Height of the plot on a wide and on a narrow page.
    """
    subtitle, caption = paragraph(subtitle, SUBTITLE_WIDTH), paragraph(caption, CAPTION_WIDTH)
    # Panels have titles of their own above them.
    panels = any(note.yref == "paper" and note.yanchor == "bottom" for note in figure.layout.annotations)
    top = 52 + 17 * lines(subtitle) + PANEL_TITLE * panels
    left = int(max(58, 20 + CHARACTER * longest(list(labels))))
    bottom = AXIS + SMALL_LINE * lines(caption) + GAP
    tallest, wide = _legend_px(legend)
    figure.update_layout(
        template=template("light"),
        title={
            "text": title,
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "pad": {"l": 12, "t": 12},
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "subtitle": {"text": subtitle},
        },
        margin={"l": left, "r": RIGHT, "t": top, "b": bottom},
        height=int(top + bottom + max(plot_px + wide, least_px + tallest)),
        showlegend=bool(legend),
        meta={"plot_px": plot_px},  # for a figure on paper, which has a height of its own
        legend={
            "orientation": "h",
            "traceorder": "grouped" if len(legend) > 1 else "normal",
            "groupclick": "toggleitem",
            "maxheight": tallest + bottom,
            "xref": "container",
            "x": 0.008,
            "xanchor": "left",
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
        },
    )
    _caption(figure, caption, left)
    return figure


def _caption(figure: go.Figure, caption: str, left: int) -> None:
    """Draw the caption between the plot and its legend."""
    # Plotly keeps a legend clear of the axis, however many rows the page's width makes of it, but knows nothing of an
    # annotation there: the caption is the legend's heading where there is one.
    if figure.layout.showlegend:
        figure.update_layout(legend_title={"text": caption, "side": "top", "font": {"size": 11}})
    elif caption:
        figure.add_annotation(
            name="caption",
            text=caption,
            xref="paper",
            yref="paper",
            x=0,
            y=0,
            align="left",
            showarrow=False,
            xanchor="left",
            yanchor="top",
            xshift=12 - left,
            yshift=-AXIS,
            font={"size": 11},
        )


def _legend_px(legend: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Return the height of a legend on a narrow and on a wide page."""
    grouped = len(legend) > 1
    groups = [LEGEND_LINE * sum(max(1, lines(entry)) for entry in group) + LEGEND_GROUP * grouped for group in legend]
    return sum(groups), max(max(groups), sum(groups) // 2) if grouped else sum(groups) // 2


def rows_px(labels: Sequence[str], row_px: int) -> int:
    """Return the height of a plot with a row a label, each high enough for the tallest; that of two rows at least."""
    return max(2, len(labels)) * max(row_px, 8 + LINE * max(map(lines, labels), default=1))


def tick_labels(names: Iterable[object], notes: Iterable[str] = ()) -> list[str]:
    """Return folded tick labels, each with a note on a line of its own."""
    folded = [fold(name, LABEL_WIDTH) for name in names]
    notes = list(notes) or [""] * len(folded)
    return [f"{label}<br>{note}" if note else label for label, note in zip(folded, notes, strict=True)]


def empty(title: str, sentence: str, caption: str = "") -> go.Figure:
    """Return the figure of an empty table: a sentence where the plot would be."""
    figure = go.Figure()
    figure.add_annotation(
        name="empty",
        text=paragraph(sentence, 60),
        xref="paper",
        yref="paper",
        x=0.5,
        y=0.5,
        xanchor="center",
        yanchor="middle",
        showarrow=False,
        font={"size": 15},
    )
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    return frame(figure, title=title, caption=caption, plot_px=120, least_px=120)
