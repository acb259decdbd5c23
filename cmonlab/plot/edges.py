"""The edges of a topology: their colours, the crosses on them and their hover texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cmonlab.errors import UnknownName
from cmonlab.schema.format import count, counted, digits, duration, percent

from .frame import need
from .places import Node, Places, nodes
from .scale import STEPS, bar, span, step_of
from .style import CLEAN, LOSS, NEUTRAL, loss_color
from .text import plain

COLUMNS = ("src", "dst", "packets", "throughput_bps", "delay_p50_ns", "delay_p99_ns", "dropped", "loss")
#: What the colours of edges can mean → title of the colour bar, which says how both directions are put together.
MEANINGS = {
    "delay": "Delay, p50 of the slower direction (µs, logarithmic)",
    "throughput": "Throughput, both directions (Mbit/s, logarithmic)",
    "loss": "Loss, the worse direction (%, logarithmic)",
}
#: What edges without a value look like.
SAYS = {
    "delay": "Grey: no traffic was seen. Pale blue: traffic whose delay is not known.",
    "throughput": "Grey: no traffic was seen.",
    "loss": "Grey: no traffic was seen. Pale blue: nothing was lost.",
}
#: Meaning → column of the table edges, and factor to the unit of the colour bar.
_VALUES = {"delay": ("delay_p50_ns", 1e-3), "throughput": ("throughput_bps", 1e-6), "loss": ("loss", 100.0)}
NOTHING = "M0,0Z"  # a path that draws nothing
CROWD = 64  # with more nodes or edges than this, they are drawn smaller
Ends = list[tuple[str, str]]
Rows = dict[tuple[str, str], dict[str, Any]]


def edges_update(
    links: pd.DataFrame,
    edges: pd.DataFrame | None,
    places: Places,
    *,
    by: str = "delay",
    texts: bool = True,
    wide: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """Return what changes in a figure of `topology` while its links stay the same: colours, crosses, hover texts.

    Parameters
    ----------
    links : DataFrame
        Columns of ``schema.describe("topology")``.
    edges : DataFrame, optional
        Columns of ``schema.describe("edges")``; of several windows the last one is drawn.
    places : mapping of str to (float, float)
        Where the nodes are drawn now.
    by : {"delay", "throughput", "loss"}
        What the colours of edges mean.
    texts : bool
        Whether hover texts change too; they are most of the work.
    wide : (float, float), optional
        Decimal logarithms that the colour scale must at least reach from and to: ``cmin`` and ``cmax`` of an earlier
        update, so that a colour keeps its meaning for a while.

    Returns
    -------
    dict
        ``data``, one entry for each of the first two traces, and ``layout`` without the part of the nodes.

    Raises
    ------
    UnknownName
        A column is missing, or `by` is something else.
    """
    known, ends, rows = nodes(links), ends_of(links), by_direction(edges)
    value = values(ends, rows, by)
    low, high = span(value)
    if wide is not None:
        low, high = min(low, wide[0]), max(high, wide[1])
    axis = bar(MEANINGS[by], low, high) | {"colorscale": LOSS if by == "loss" else None}
    # Without a value the colour bar would say nothing.
    axis["showscale"] = bool((value > 0).any())
    busy = np.array([any(_busy(rows.get(way)) for way in ((a, b), (b, a))) for a, b in ends], bool)
    lines = np.array([(*places[a], *places[b]) for a, b in ends]).reshape(-1, 4)
    lossy = [any(_busy(rows.get(way)) and rows[way]["dropped"] > 0 for way in ((a, b), (b, a))) for a, b in ends]
    crosses = middles(ends, known, places)[np.array(lossy, bool)]
    trace: dict[str, Any] = {}
    if texts:
        kinds = links["kind"].astype(str)
        trace["hovertext"] = [_hover(a, b, kind, rows) for (a, b), kind in zip(ends, kinds, strict=True)]
    return {
        "data": [trace, {"x": crosses[:, 0], "y": crosses[:, 1]}],
        "layout": {"coloraxis": axis, "shapes": [{}, *_shapes(lines, value, busy, (low, high), by)]},
    }


def ends_of(links: pd.DataFrame) -> Ends:
    """Return the names of the two nodes of each edge."""
    return [(str(a), str(b)) for a, b in zip(links["a"], links["b"], strict=True)]


def by_direction(edges: pd.DataFrame | None) -> Rows:
    """Return the last row of the table edges for each (src, dst).

    Raises
    ------
    UnknownName
        A column is missing.
    """
    if edges is None:
        return {}
    need(edges, COLUMNS)
    columns = [edges[name].tolist() for name in COLUMNS]
    return {(str(row[0]), str(row[1])): dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)}


def values(ends: Ends, rows: Rows, by: str) -> np.ndarray:
    """Return the value of each edge in the unit of the colour bar.

    Parameters
    ----------
    ends : list of (str, str)
        From `ends_of`.
    rows : dict
        From `by_direction`.
    by : {"delay", "throughput", "loss"}
        Which value.

    Returns
    -------
    numpy.ndarray of float64, shape (edges,)
        µs, Mbit/s or percent; NaN without traffic.

    Raises
    ------
    UnknownName
        `by` is something else.
    """
    if by not in MEANINGS:
        raise UnknownName("meaning of colours", by, MEANINGS)
    column, unit = _VALUES[by]
    found = np.full(len(ends), np.nan)
    for number, (a, b) in enumerate(ends):
        both = [rows[way] for way in ((a, b), (b, a)) if way in rows]
        known = [row[column] * unit for row in both if _busy(row) and math.isfinite(row[column])]
        if known:
            found[number] = sum(known) if by == "throughput" else max(known)
    return found


def _busy(row: Mapping[str, Any] | None) -> bool:
    """Return whether packets crossed the edge in this direction, or were dropped on the way."""
    return row is not None and (row["packets"] > 0 or row["dropped"] > 0)


def _shapes(
    lines: np.ndarray, value: np.ndarray, busy: np.ndarray, ends: tuple[float, float], by: str
) -> list[dict[str, Any]]:
    """Return one path for all edges without traffic, one for those without a value, one for each step of the scale."""
    width = 2.5 if len(lines) <= CROWD else 1.5
    # Neither "no loss" nor "no traffic" is a small value.
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(value > 0, np.log10(value), np.nan if by == "loss" else ends[0])
    known = np.isfinite(value) & np.isfinite(logs)
    step = np.where(known, step_of(np.nan_to_num(logs), *ends), -1)
    found = [
        path(_lines(lines[~known & ~busy]), {"color": NEUTRAL, "width": width / 2}),
        path(_lines(lines[~known & busy]), {"color": CLEAN, "width": width}),
    ]
    for number in range(STEPS):
        color = loss_color(number / (STEPS - 1)) if by == "loss" else None
        found.append(path(_lines(lines[step == number]), {"width": width, "color": color}))
    return found


def path(svg: str, line: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a shape that draws an SVG path.

    Parameters
    ----------
    svg : str
        The path; an empty one makes the shape invisible.
    line : dict
        Colour and width of its line.
    """
    return {"path": svg or NOTHING, "visible": bool(svg), "line": line}


def _lines(lines: np.ndarray) -> str:
    return "".join(f"M{ax:.4g},{ay:.4g}L{bx:.4g},{by:.4g}" for ax, ay, bx, by in lines)


def middles(ends: Ends, known: Mapping[str, Node], at: Places) -> np.ndarray:
    """Return the point of each edge that can be hovered over, and where a cross is drawn.

    Parameters
    ----------
    ends : list of (str, str)
        From `ends_of`.
    known : mapping of str to Node
        The nodes.
    at : mapping of str to (float, float)
        Where the nodes are drawn.

    Returns
    -------
    numpy.ndarray of float64, shape (edges, 2)
        x and y.
    """
    lines = np.array([(*at[a], *at[b]) for a, b in ends]).reshape(-1, 4)
    # In the middle, the spokes of a large ring are closer than plotly can distinguish (3 px); near the containers they
    # are not.
    outward = np.array([(known[a].kind == "container") - 1.0 * (known[b].kind == "container") for a, b in ends])
    share = (0.5 - 0.33 * outward * (len(ends) > CROWD))[:, None]
    return lines[:, :2] * (1 - share) + lines[:, 2:] * share


def _hover(a: str, b: str, kind: str, rows: Rows) -> str:
    """Return the hover text of an edge: its numbers in both directions."""
    text = [f"<b>{plain(a)} – {plain(b)}</b> ({plain(kind)})"]
    for src, dst in ((a, b), (b, a)):
        row = rows.get((src, dst))
        if row is None or not _busy(row):
            text.append(f"→ {plain(dst)}: no traffic was seen")
            continue
        text.append(
            f"→ {plain(dst)}: {counted(row['packets'], 'packet', 'packets')}, "
            f"{digits(row['throughput_bps'] / 1e6)} Mbit/s<br>   p50 {duration(row['delay_p50_ns'])}, "
            f"p99 {duration(row['delay_p99_ns'])}, dropped {count(row['dropped'])} ({percent(row['loss'])})"
        )
    return "<br>".join(text)
