"""The detail pane: series, breakdown and drops of the selected edge, container or pair."""

from __future__ import annotations

import html
from typing import Any

import ipywidgets as w
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cmonlab.plot.style import KINDS, color, kind_fill
from cmonlab.plot.text import fold, plain
from cmonlab.schema.format import count, digits, duration, percent

from .figures import LiveFigure, RateLimit
from .model import Live
from .selection import Selection

LINES = 6
_SPANS = {"1 min": 60.0, "5 min": 300.0}
_MOST_SEGMENTS = 14
_MOST_POINTS = 200  # per line; the eye sees no more
_SERIES_S, _BREAKDOWN_S = 0.7, 1.9
_ROWS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("throughput_bps", "Throughput<br>(bit/s)", {"tickformat": "~s", "rangemode": "tozero"}),
    ("delay", "Delay, p50 and<br>p99 dotted (µs)", {"type": "log", "tickformat": "~r", "nticks": 3}),
    ("dropped_per_s", "Dropped<br>(packets/s)", {"rangemode": "tozero", "tickformat": "~r"}),
)


class Detail:
    """The pane with series, breakdown and drops of a selection.

    Parameters
    ----------
    model : Live
        What is drawn.
    theme : {"light", "dark"}
        Colours of the figures.

    Attributes
    ----------
    selection : Selection or None
        What is shown.
    widget : ipywidgets.VBox
        The pane.
    """

    def __init__(self, model: Live, theme: str):
        self._model = model
        self.selection: Selection | None = None
        self._series_limit, self._breakdown_limit = RateLimit(_SERIES_S), RateLimit(_BREAKDOWN_S)
        self.title = w.HTML()
        self.drops = w.HTML()
        self.span = w.ToggleButtons(options=list(_SPANS), value="1 min")
        self.span.style.button_width = "5em"
        self.span.layout.flex = "0 0 auto"
        self.series = LiveFigure(_series_figure(), theme)
        self.segments = LiveFigure(_segments_figure(), theme)
        right = w.VBox([self.segments.widget, self.drops])
        left = w.VBox([self.series.widget])
        for box, share in ((left, "58%"), (right, "42%")):
            box.layout = w.Layout(width=share, min_width="320px", flex="1 1 320px", overflow="hidden")
        head = w.HBox([self.title, self.span], layout=w.Layout(justify_content="space-between", flex_flow="row wrap"))
        self.widget = w.VBox([head, w.HBox([left, right], layout=w.Layout(flex_flow="row wrap"))])
        self.widget.add_class("cmonlab-detail")
        self.select(None)

    def select(self, selection: Selection | None) -> None:
        """Show another selection, or None."""
        self.selection = selection
        self._series_limit.make_due()
        self._breakdown_limit.make_due(0.1)
        if selection is None:
            self.title.value = "<b>Detail</b> – choose an edge, a container or a cell of the matrix"
            self.drops.value = ""

    def refresh(self) -> None:
        """Draw the latest data of the selection."""
        selection = self.selection
        if selection is None:
            return
        if self._breakdown_limit.due():
            segments, drops = self._model.recent(selection)
            self.segments.update(*_segments(segments))
            self.drops.value = _drops(drops)
        elif self._series_limit.due():
            table = self._model.series(selection)
            span_s = _SPANS[self.span.value]
            table = table[table["end_ns"] > self._model.now_ns() - span_s * 1e9]
            self.title.value = _title(selection, table)
            data, layout = _series(_thinned(table), self._model)
            # Plotly lays out axes with automatic ranges twice for each change.
            axes = {f"xaxis{number}": {"range": [-span_s, 0.0]} for number in ("", 2, 3)}
            self.series.update(data, layout | axes)


def _series_figure() -> go.Figure:
    figure = make_subplots(rows=len(_ROWS), cols=1, shared_xaxes=True, vertical_spacing=0.05)
    for number in range(LINES):
        line = {"color": color(number), "width": 1.8}
        for row, dash in ((1, "solid"), (2, "solid"), (2, "dot"), (3, "solid")):
            figure.add_scatter(
                mode="lines",
                line={**line, "dash": dash, "shape": "hv" if row != 2 else "linear"},
                legendgroup=str(number),
                showlegend=row == 1,
                visible=False,
                row=row,
                col=1,
            )
    for row, (_, title, axis) in enumerate(_ROWS, 1):
        figure.update_yaxes(title={"text": title, "standoff": 8}, row=row, col=1, **axis)
    figure.update_xaxes(tickformat="~r", nticks=8, automargin=False).update_yaxes(automargin=False)
    figure.update_xaxes(title_text="Time (s, 0 is the last window's end)", row=len(_ROWS), col=1)
    figure.update_layout(
        height=400,
        margin={"l": 76, "r": 14, "t": 30, "b": 44},
        hovermode="x unified",
        uirevision="kept",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
    )
    return figure


def _thinned(table: pd.DataFrame) -> pd.DataFrame:
    """Return at most `_MOST_POINTS` rows per line: neighbouring windows are joined.

    A joined row has the mean rates, the median of p50 and the maximum of p99.
    """
    if table.empty:
        return table
    number = table.groupby("line", sort=False).cumcount()
    together = -(-(int(number.max()) + 1) // _MOST_POINTS)
    if together == 1:
        return table
    # Groups are aligned to the agent's clock, so a window stays with its neighbours while it is shown.
    width_ns = together * int((table["end_ns"] - table["start_ns"]).median())
    by = table.groupby(["line", table["end_ns"] // max(1, width_ns)], sort=False)
    return by.agg(
        start_ns=("start_ns", "min"),
        end_ns=("end_ns", "max"),
        throughput_bps=("throughput_bps", "mean"),
        delay_p50_ns=("delay_p50_ns", "median"),
        delay_p99_ns=("delay_p99_ns", "max"),
        dropped_per_s=("dropped_per_s", "mean"),
    ).reset_index(level="line")


def _series(table: pd.DataFrame, model: Live) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the traces and the layout of the series."""
    data: list[dict[str, Any]] = []
    known = list(dict.fromkeys(table["line"].tolist()))[:LINES]
    now_ns = int(table["end_ns"].max()) if len(table) else model.now_ns()
    for number in range(LINES):
        if number >= len(known):
            data += [{"visible": False, "x": (), "y": ()}] * 4
            continue
        rows = table[table["line"] == known[number]]
        shown = {"visible": True, "x": (rows["end_ns"].to_numpy() - now_ns) / 1e9, "name": plain(known[number])}
        for name, scale in (("throughput_bps", 1), ("delay_p50_ns", 1e3), ("delay_p99_ns", 1e3), ("dropped_per_s", 1)):
            data.append(shown | {"y": rows[name].to_numpy(float) / scale})
    marks = model.marks
    if len(table):
        marks = marks[marks["ts_ns"] >= int(table["start_ns"].min())]
    return data, _marks(marks, now_ns)


def _marks(marks: pd.DataFrame, now_ns: int) -> dict[str, Any]:
    """Return the layout with a dashed line and its note for each mark."""
    at = ((marks["ts_ns"].to_numpy() - now_ns) / 1e9).tolist()
    shapes = [
        {
            "type": "line",
            "xref": "x",
            "yref": "paper",
            "x0": x,
            "x1": x,
            "y0": 0,
            "y1": 1,
            "line": {"width": 1.2, "dash": "dash", "color": "#8A93A3"},
        }
        for x in at
    ]
    notes = [
        {
            "x": x,
            "xref": "x",
            "y": 1,
            "yref": "paper",
            "yanchor": "top",
            "xanchor": "left",
            "showarrow": False,
            "text": plain(note) or "mark",
            "textangle": 90,
            "font": {"size": 11},
        }
        for x, note in zip(at, marks["note"], strict=True)
    ]
    return {"shapes": shapes, "annotations": notes}


def _segments_figure() -> go.Figure:
    figure = go.Figure()
    for kind in KINDS:
        figure.add_bar(
            orientation="h",
            name=kind,
            marker=kind_fill(kind),
            showlegend=True,
            hovertemplate="%{customdata}<extra></extra>",
        )
    figure.update_xaxes(title_text="Mean time, last 10 s (µs)", rangemode="tozero", tickformat="~r")
    figure.update_yaxes(autorange="reversed", tickfont={"size": 11}, type="category", categoryorder="array")
    figure.update_layout(
        height=330,
        margin={"l": 10, "r": 14, "t": 30, "b": 44},
        bargap=0.25,
        barmode="stack",
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
    )
    return figure


def _segments(table: pd.DataFrame) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the traces and the layout of the breakdown; directions are added up."""
    if table.empty:
        note = {
            "text": "No segment was measured in the last 10 s",
            "showarrow": False,
            "x": 0.5,
            "y": 0.5,
            "xref": "paper",
            "yref": "paper",
            "font": {"size": 13},
        }
        return [{"x": (), "y": (), "customdata": ()} for _ in KINDS], {"annotations": [note]}
    table = table.assign(total_ns=table["mean_ns"] * table["n"], segment=table["segment"].astype(str))
    by = table.groupby("segment", sort=False)
    rows = by.agg(
        n=("n", "sum"),
        total_ns=("total_ns", "sum"),
        p50_ns=("p50_ns", "median"),
        p99_ns=("p99_ns", "max"),
        kind=("kind", "first"),
    )
    if len(rows) > _MOST_SEGMENTS:
        rows = rows.loc[rows.index.isin(rows["total_ns"].nlargest(_MOST_SEGMENTS).index)]
    rows = rows.assign(mean_ns=rows["total_ns"] / rows["n"].clip(lower=1), label=[fold(n, 26) for n in rows.index])
    data = []
    for kind in KINDS:
        mine = rows[rows["kind"].astype(str) == kind]
        texts = [
            f"{plain(row.Index)}<br>{row.kind}, {count(row.n)} packets<br>mean {duration(row.mean_ns)}, "
            f"p50 {duration(row.p50_ns)}, p99 {duration(row.p99_ns)}"
            for row in mine.itertuples()
        ]
        mean_us = (mine["mean_ns"] / 1e3).to_numpy(float)
        data.append({"x": mean_us, "y": mine["label"].tolist(), "customdata": texts, "showlegend": bool(texts)})
    height = int(min(560, max(220, 90 + 40 * len(rows))))
    return data, {"annotations": [], "height": height, "yaxis": {"categoryarray": rows["label"].tolist()}}


def _title(selection: Selection, table: pd.DataFrame) -> str:
    parts = [f"<b>{html.escape(str(selection))}</b>"]
    for line, rows in table.groupby("line", sort=False):
        last = rows.tail(8)
        heavy = last[["delay_p50_ns", "delay_p99_ns"]].median()
        name = f"{html.escape(str(line))}: " if selection.kind != "pair" else ""
        parts.append(
            f"{name}{digits(last['packets_per_s'].mean())} packets/s, "
            f"{digits(last['throughput_bps'].mean() / 1e6)} Mbit/s, "
            f"delay p50 {duration(heavy.iloc[0])}, p99 {duration(heavy.iloc[1])}"
        )
        if len(parts) > 2:
            break
    return " · ".join(parts)


def _drops(table: pd.DataFrame) -> str:
    """Return the drop reasons as a table."""
    if table.empty or not np.sum(table["packets"]):
        return "<p class='cmonlab-note'>The network dropped no packet here in the last 10 s.</p>"
    rows = table.groupby(["place", "reason"], observed=True)["packets"].sum().nlargest(8)
    share = rows / rows.sum()
    cells = "".join(
        f"<tr><td>{html.escape(str(reason))}</td><td>{html.escape(str(place))}</td><td>{count(n)}</td>"
        f"<td>{percent(share[place, reason])}</td></tr>"
        for (place, reason), n in rows.items()
    )
    head = "<tr><th>drop reason</th><th>place</th><th>packets</th><th>share</th></tr>"
    return (
        f"<table class='cmonlab-table'><caption>Dropped by the network in the last 10 s</caption>{head}{cells}</table>"
    )
