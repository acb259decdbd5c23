"""Counts: the tracer's ledger and the packets that the network dropped."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from cmonlab.schema.format import count, counted

from .frame import LEGEND_WIDTH, empty, frame, need, rows_px, tick_labels
from .style import NEUTRAL, PALETTE, WARNING, fill
from .text import fold, plain

KINDS = {
    "unmatched": ("unmatched", {"color": NEUTRAL}),
    "sampled_out": ("sampled out", {"color": PALETTE[4]}),
    "counted": ("counted", {"color": PALETTE[5]}),
    "aggregated": ("aggregated", {"color": PALETTE[2]}),
    "overflowed": ("overflowed", {"color": PALETTE[3]}),
    "recorded": ("recorded", {"color": PALETTE[0]}),
    "lost": (
        "lost",
        {
            "color": WARNING,
            "pattern": {"shape": "x", "fillmode": "overlay", "fgcolor": "white", "size": 6, "solidity": 0.3},
        },
    ),
}


def ledger(table: pd.DataFrame, *, caption: str = "", log: bool = False) -> go.Figure:
    """Draw what became of the packets that each point saw.

    Parameters
    ----------
    table : DataFrame
        Columns of ``schema.describe("ledger")``: counts of packets, one row per point.
    caption : str
        Text below the plot.
    log : bool
        Use a logarithmic axis. Only the ends of bars can be read on it, not the lengths of their parts.

    Returns
    -------
    Figure
        One bar per point; the title has the number of lost events, also if it is 0.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, ("point", "seen", *KINDS))
    if table.empty:
        return empty("Ledger", "No point was attached, so nothing was counted.", caption)
    figure = go.Figure()
    _stack(figure, table, log)
    _mark_lost(figure, table)
    notes = (f"seen {count(row.seen)}, lost {count(row.lost)}" for row in table.itertuples())
    labels = tick_labels(table["point"], notes)
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title_text="Packets (count)", tickformat="~s", rangemode="tozero")
    if log:
        top = max(10, int(table["seen"].max()))
        figure.update_xaxes(
            title_text="Packets (count, logarithmic)",
            type="log",
            dtick=1,
            tickformat="~s",
            range=[-0.3, len(str(top)) + 0.1],
        )
    figure.update_yaxes(
        title_text="", tickvals=[*map(plain, table["point"])], ticktext=labels, autorange="reversed", showgrid=False
    )
    lost = int(table["lost"].sum())
    words = counted(lost, "lost event", "lost events")
    title = f'Ledger: <span style="color:{WARNING}">{words}</span>' if lost else f"Ledger: {words}"
    height = rows_px(labels, 44)
    return frame(
        figure,
        title=title,
        subtitle=_subtitle(table),
        caption=caption,
        labels=labels,
        legend=[[word for word, _ in KINDS.values()]],
        plot_px=height,
        least_px=height,
    )


def _stack(figure: go.Figure, table: pd.DataFrame, log: bool) -> None:
    """Add the bars: the packets seen, divided by what became of them."""
    names = [plain(name) for name in table["point"]]
    for column, (word, marker) in KINDS.items():
        values = table[column].astype("int64")
        figure.add_bar(
            # A logarithmic axis has no 0.
            x=values.where(values > 0) if log else values,
            y=names,
            orientation="h",
            name=word,
            marker=marker,
            hovertext=[f"<b>{name}</b><br>{word} {count(value)}" for name, value in zip(names, values, strict=True)],
            hoverinfo="text",
            legendgroup=column,
        )


def _subtitle(table: pd.DataFrame) -> str:
    words = " + ".join(word for word, _ in KINDS.values())
    text = f"Lost events are the tracer's own, never packet loss. Seen = {words}"
    off = table.loc[table["seen"] != table[list(KINDS)].sum(axis=1), "point"]
    return f"{text}, but not at {', '.join(map(str, off))}." if len(off) else f"{text}, exactly."


def _mark_lost(figure: go.Figure, table: pd.DataFrame) -> None:
    """Mark the points that lost events: the bar of a few in a million is too narrow to be seen."""
    rows = table[table["lost"] > 0]
    if rows.empty:
        return
    names = [plain(name) for name in rows["point"]]
    figure.add_scatter(
        x=rows["seen"],
        y=names,
        mode="markers",
        name="lost",
        legendgroup="lost",
        showlegend=False,
        cliponaxis=False,
        marker={"symbol": "x", "size": 10, "color": WARNING},
        hovertext=[f"<b>{name}</b><br>lost {count(lost)}" for name, lost in zip(names, rows["lost"], strict=True)],
        hoverinfo="text",
    )


def drops(table: pd.DataFrame, *, caption: str = "", most: int = 16) -> go.Figure:
    """Draw how many packets the network dropped, by reason and by place.

    Parameters
    ----------
    table : DataFrame
        Columns ``reason`` and ``place`` of ``schema.describe("drops")``, one row per dropped packet.
    caption : str
        Text below the plot.
    most : int
        At most so many reasons and places are named, the most frequent ones; the others share one row or one colour.

    Returns
    -------
    Figure
        One bar per reason, divided by place.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, ("reason", "place"))
    if table.empty:
        return empty("Dropped packets", "No packet was dropped.", caption)
    counts = pd.crosstab(frequent(table["reason"], most, "reasons"), frequent(table["place"], most, "places"))
    counts = counts.loc[counts.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    counts = counts[counts.sum().sort_values(ascending=False, kind="stable").index]
    reasons, figure, legend = [plain(reason) for reason in counts.index], go.Figure(), []
    for index, place in enumerate(counts.columns):
        legend.append(fold(place, LEGEND_WIDTH))
        figure.add_bar(
            x=counts[place],
            y=reasons,
            orientation="h",
            name=legend[-1],
            marker=fill(index),
            hoverinfo="text",
            hovertext=[
                f"<b>{reason}</b><br>{plain(place)}: {counted(n, 'packet', 'packets')}"
                for reason, n in zip(reasons, counts[place], strict=True)
            ],
        )
    labels = tick_labels(counts.index, (counted(n, "packet", "packets") for n in counts.sum(axis=1)))
    figure.update_layout(barmode="stack")
    figure.update_xaxes(title_text="Dropped packets (count)", tickformat=",~r", rangemode="tozero")
    figure.update_yaxes(title_text="", tickvals=reasons, ticktext=labels, autorange="reversed", showgrid=False)
    height = rows_px(labels, 48)
    return frame(
        figure,
        title=f"Dropped packets: {count(len(table))}",
        labels=labels,
        legend=[legend],
        subtitle="By the kernel's drop reason; colours show the interface the packet was last seen on.",
        caption=caption,
        plot_px=height,
        least_px=height,
    )


def frequent(values: pd.Series, most: int, word: str) -> pd.Series:
    """Return values as text, with all but the most frequent replaced by one text for the rest.

    Parameters
    ----------
    values : Series
        Names; missing and empty ones become ``"unknown"``.
    most : int
        Distinct texts at most.
    word : str
        What the values are, in the plural: ``"reasons"``.

    Returns
    -------
    Series of str
        Same index as `values`.
    """
    # An empty name (a packet that was never seen on an interface) would be a bar without a label.
    text = values.astype("object").where(values.notna(), "unknown").replace("", "unknown").astype(str)
    ranking = text.value_counts()
    if len(ranking) <= most:
        return text
    rest = set(ranking.index[most - 1 :])
    return text.where(~text.isin(rest), f"{len(rest)} other {word}")
