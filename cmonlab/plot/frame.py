"""Everything around a plot: title, caption, margins, height and legend; also the figure of an empty table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
import plotly.graph_objects as go

from cmonlab.errors import UnknownName

from .style import kind_fill, template
from .text import fold, lines, longest, paragraph

# Pixels. A figure keeps its height on a narrow page: there the legend is taller and the plot smaller.
CHARACTER, LINE, SMALL_LINE, LEGEND_LINE, LEGEND_GROUP = 7.4, 16, 15, 20, 28
RIGHT, AXIS, GAP, PANEL_TITLE = 24, 52, 12, 18
# Characters per line that fit a page of 600 pixels.
LABEL_WIDTH, LEGEND_WIDTH, CAPTION_WIDTH, SUBTITLE_WIDTH = 28, 80, 96, 88


def need(table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Check that a table has the columns that a figure reads.

    Parameters
    ----------
    table : DataFrame
        The table to draw.
    columns : iterable of str
        Names of the columns.

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
    """Give a figure its title, caption, legend, margins and height.

    Parameters
    ----------
    figure : Figure
        The plot, with its axes; it is changed.
    title : str
        One short line of plotly markup.
    subtitle, caption : str
        Plain text, which is folded here.
    labels : sequence of str
        Folded tick labels of the y-axis, for the left margin.
    legend : sequence of sequences of str
        Folded entries of the legend, by group. Groups are side by side if the page is wide enough.
    plot_px, least_px : int
        Height of the plot on a wide and on a narrow page.

    Returns
    -------
    Figure
        The same figure.
    """
    subtitle, caption = paragraph(subtitle, SUBTITLE_WIDTH), paragraph(caption, CAPTION_WIDTH)
    # Panels have their own titles above them.
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
        meta={"plot_px": plot_px},  # for figures on paper, whose height is computed again
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


def kinds_in_legend(figure: go.Figure, kinds: Iterable[str]) -> None:
    """Add the colours of kinds of time to the legend of a figure.

    Parameters
    ----------
    figure : Figure
        Is changed.
    kinds : iterable of str
        Names of kinds, in order.
    """
    for kind in kinds:
        marker = {**kind_fill(kind), "symbol": "square", "size": 11}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=kind, hoverinfo="skip", marker=marker)


def _caption(figure: go.Figure, caption: str, left: int) -> None:
    """Draw the caption between the plot and its legend."""
    # Plotly places a legend clear of the axis, however many rows it has on a narrow page, but ignores annotations
    # there. With a legend, the caption is therefore its title.
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
    """Return the height of a legend in pixels (on a narrow page, on a wide page)."""
    grouped = len(legend) > 1
    groups = [LEGEND_LINE * sum(max(1, lines(entry)) for entry in group) + LEGEND_GROUP * grouped for group in legend]
    return sum(groups), max(max(groups), sum(groups) // 2) if grouped else sum(groups) // 2


def rows_px(labels: Sequence[str], row_px: int) -> int:
    """Return the height of a plot with one row per label.

    Parameters
    ----------
    labels : sequence of str
        Folded labels; the tallest one sets the height of all rows.
    row_px : int
        Least height of a row in pixels.

    Returns
    -------
    int
        Pixels; of two rows at least.
    """
    return max(2, len(labels)) * max(row_px, 8 + LINE * max(map(lines, labels), default=1))


def tick_labels(names: Iterable[object], notes: Iterable[str] = ()) -> list[str]:
    """Return folded tick labels.

    Parameters
    ----------
    names : iterable
        Plain text of the labels.
    notes : iterable of str
        Markup for a second line below each label, or nothing.

    Returns
    -------
    list of str
        Plotly markup.
    """
    folded = [fold(name, LABEL_WIDTH) for name in names]
    notes = list(notes) or [""] * len(folded)
    return [f"{label}<br>{note}" if note else label for label, note in zip(folded, notes, strict=True)]


def empty(title: str, sentence: str, caption: str = "") -> go.Figure:
    """Return the figure of an empty table.

    Parameters
    ----------
    title : str
        Title of the figure.
    sentence : str
        Shown instead of the plot; says what is missing.
    caption : str
        Text below the plot.

    Returns
    -------
    Figure
    """
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
