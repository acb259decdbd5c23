"""Figures for papers: SVG, PDF and PNG with the width of a column and type of at least 7 pt."""

from __future__ import annotations

import html
import math
import os
import re
import struct
import zlib
from pathlib import Path

import plotly.graph_objects as go

from cmonlab.errors import ExportError, UnknownName
from cmonlab.system.files import atomic_file

from .frame import AXIS, CAPTION_WIDTH, GAP, LINE
from .text import fold_lines, lines, longest, paragraph, plain

# Column and text width of acmart's sigconf in mm: a page of 8.5 in with margins of 54 bp and 2 pc between columns
# (acmart.dtx, geometry of sigconf). IEEE's columns are 3.5 in = 88.9 mm (IEEE Graphics Requirements), so that a
# figure of ACM's width fits both.
WIDTHS_MM = {"column": (612 - 108 - 24 * 72 / 72.27) / 2 / 72 * 25.4, "page": (612 - 108) / 72 * 25.4}
SUFFIXES = (".svg", ".pdf", ".png")
# The smallest type of a figure is 11 px. It becomes 7 pt, the least that IEEE and ACM ask for; lines, marks and gaps
# are scaled by the same factor.
SMALLEST_PX, SMALLEST_PT = 11, 7.0
SCALE = SMALLEST_PT / (SMALLEST_PX * 0.75)
DPI = 300
_PX_PER_MM = 96 / 25.4
_CHARACTER, _TICK = 7.0, 15  # pixels: mean width of a character in a label, room for a tick


def export(
    figure: go.Figure,
    path: str | Path,
    *,
    width: str | float = "column",
    height_mm: float | None = None,
    caption: bool = False,
) -> Path:
    """Write a figure for a paper: with an exact width, type of at least 7 pt and no title.

    Parameters
    ----------
    figure : Figure
        Any figure of this package; it keeps its theme.
    path : str or Path
        File to write. Its suffix names the format: ``.svg``, ``.pdf`` or ``.png`` (300 dots per inch).
    width : {"column", "page"} or float
        ``"column"`` is 84.7 mm, ``"page"`` 177.8 mm, as in ACM's two-column papers. A number is a width in mm.
    height_mm : float, optional
        Height in mm; by default as much as the figure needs.
    caption : bool
        Draw the caption. Without it, the caption in the paper should have its content: number of packets, lost events,
        tracing overhead.

    Returns
    -------
    Path
        The file. An SVG has exactly this width. Chromium rounds the page of a PDF down to a multiple of 1/75 inch
        (0.34 mm).

    Raises
    ------
    ExportError
        There is no browser, the suffix is unknown, or the file cannot be written.
    UnknownName
        There is no such width.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ExportError(f"a figure cannot be written as {path.name!r}", fix=f"end its name in {', '.join(SUFFIXES)}")
    wide_mm = _width_mm(width)
    fitted = fit(figure, wide_mm * _PX_PER_MM / SCALE, caption=caption)
    if height_mm is not None:
        fitted.update_layout(height=height_mm * _PX_PER_MM / SCALE)
    data = _drawn(fitted, suffix.lstrip("."))
    if suffix == ".svg":
        data = _in_mm(data, wide_mm, fitted.layout.height * SCALE / _PX_PER_MM)
    try:
        with atomic_file(path) as file:
            file.write(_with_density(data) if suffix == ".png" else data)
    except OSError as error:
        raise ExportError(
            f"cannot write the figure {path}",
            why=error.strerror or str(error),
            fix="write to a directory that exists and is yours",
        ) from error
    return path


def _width_mm(width: str | float) -> float:
    if isinstance(width, str):
        if width not in WIDTHS_MM:
            raise UnknownName("width", width, [*WIDTHS_MM, "a number of mm"])
        return WIDTHS_MM[width]
    if not 30 <= width <= 1000:
        raise ExportError(f"a figure cannot be {width:g} mm wide", fix="give a width of 30 to 1000 mm")
    return float(width)


def fit(figure: go.Figure, width_px: float, *, caption: bool = False) -> go.Figure:
    """Return a copy of a figure laid out for a width: with labels folded again, without title, as high as needed.

    Parameters
    ----------
    figure : Figure
        Any figure of this package.
    width_px : float
        Width in pixels, before the figure is scaled for paper.
    caption : bool
        Keep the caption.

    Returns
    -------
    Figure
    """
    # go.Figure(figure) would share the data of a widget.
    fitted = go.Figure(figure.to_dict())
    layout = fitted.layout
    words = _caption(fitted)
    plot_px = (layout.meta or {}).get("plot_px", 300)
    _thin_ticks(fitted, max(8, int(0.55 * width_px / _TICK)))
    left, rows_px = _fold_ticks(fitted, max(16, int(0.45 * width_px / _CHARACTER)))
    legend = _legend(fitted, width_px, left)
    text = paragraph(words, max(20, int(CAPTION_WIDTH * width_px / 640))) if caption else ""
    fitted.layout.annotations = [note for note in layout.annotations if note.name != "caption"]
    titles = any(note.yref == "paper" and (note.y or 0) >= 0.99 for note in fitted.layout.annotations)
    bottom = AXIS + GAP + LINE * lines(text)
    top = 28 if titles else 12
    panels = sum(1 for _ in fitted.select_yaxes())
    high = max(rows_px, min(plot_px, (0.72 + 0.25 * (panels - 1)) * width_px))
    fitted.update_layout(
        title=None,
        width=width_px,
        height=top + bottom + high + legend,
        autosize=False,
        margin={"l": 10, "r": 14, "t": top, "b": AXIS if legend else bottom},
        legend={"maxheight": 10_000, "title": {"text": text}} if legend else {},
    )
    if text and not legend:
        fitted.add_annotation(
            name="caption",
            text=text,
            xref="paper",
            yref="paper",
            x=0,
            y=0,
            yanchor="top",
            yshift=-AXIS,
            xanchor="left",
            align="left",
            showarrow=False,
            font={"size": SMALLEST_PX},
        )
    return fitted


def _caption(figure: go.Figure) -> str:
    """Return the text of the caption, in one line."""
    texts = [note.text for note in figure.layout.annotations if note.name == "caption"]
    markup = texts[0] if texts else (figure.layout.legend.title.text or "" if figure.layout.showlegend else "")
    return html.unescape(markup.replace("<br>", " "))


def _legend(figure: go.Figure, width_px: float, left: float) -> float:
    """Fold the entries of the legend; return its height in pixels, 0 without a legend."""
    if not figure.layout.showlegend:
        return 0.0
    entries: list[str] = []
    listed = [trace for trace in figure.data if trace.name and trace.showlegend is not False]
    for trace in listed:
        trace.name = _refold(trace.name, int((width_px - 60) / 6.4))
        title = trace.legendgrouptitle.text if trace.legendgroup else None
        if title:
            trace.legendgrouptitle.text = _refold(title, int((width_px - 20) / 6.4))
            entries.append(title)
        entries.append(trace.name)
    entries = list(dict.fromkeys(entries))
    # This is how plotly places entries: all in one row if they fit, else in columns of the width of the widest entry;
    # groups are below each other.
    widths, room = [44 + 6.6 * longest([entry]) for entry in entries], width_px - left - 14
    columns = len(entries) if sum(widths) < room else max(1, int(room / max(widths, default=1)))
    columns = 1 if any(trace.legendgroup for trace in listed) else columns
    rows = [entries[at : at + columns] for at in range(0, len(entries), columns)]
    return 4 + sum(5 + 15 * max(map(lines, row)) for row in rows)


def _thin_ticks(figure: go.Figure, most: int) -> None:
    """Keep every second, third and so on name of categories if there is not room for all."""

    def thinned(axis) -> None:
        if axis.type == "category" and axis.ticktext is None and axis.tickvals is not None:
            axis.tickvals = axis.tickvals[:: math.ceil(len(axis.tickvals) / most)]

    figure.for_each_xaxis(thinned).for_each_yaxis(thinned)


def _fold_ticks(figure: go.Figure, width: int) -> tuple[float, float]:
    """Fold the labels of vertical axes; return (left margin, height of the rows) that they need, in pixels."""
    left, high = 50.0, 0.0

    def folded(axis) -> None:
        nonlocal left, high
        if axis.ticktext is None:
            return
        axis.ticktext = [_refold(text, width) for text in axis.ticktext]
        left = max(left, 20 + _CHARACTER * longest(list(axis.ticktext)))
        high += len(axis.ticktext) * (6 + LINE * max(map(lines, axis.ticktext), default=0))

    figure.for_each_yaxis(folded)
    return left, high


def _refold(markup: str, width: int) -> str:
    """Fold each line of a label again, to a smaller width in characters."""
    parts = html.unescape(markup).split("<br>")
    return "<br>".join(plain(line) for part in parts for line in fold_lines(part, width))


def _drawn(figure: go.Figure, suffix: str) -> bytes:
    """Return the file that a browser makes of a figure, through kaleido."""
    # Imported here: it takes half a second, and only exports need it.
    import kaleido
    from choreographer.errors import BrowserFailedError, ChromeNotFoundError

    size = {"format": suffix, "width": figure.layout.width, "height": figure.layout.height}
    scale = SCALE * DPI / 96 if suffix == "png" else SCALE
    try:
        data = kaleido.calc_fig_sync(figure.to_dict(), opts={**size, "scale": scale}, kopts={"mathjax": False})
    except ChromeNotFoundError as error:
        set_ = os.environ.get("BROWSER_PATH")
        raise ExportError(
            "no browser was found to draw the figure with",
            why=f"BROWSER_PATH is {set_}, which is no browser" if set_ else "no Chromium or Chrome is on PATH",
            fix="apt install chromium, or set BROWSER_PATH to one",
        ) from error
    except (BrowserFailedError, RuntimeError, TimeoutError, OSError) as error:
        raise ExportError(
            "the browser did not draw the figure",
            why=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix="try `chromium --headless --version`",
        ) from error
    return data if isinstance(data, bytes) else data.encode()


def _in_mm(svg: bytes, width_mm: float, height_mm: float) -> bytes:
    """Return an SVG with its size in mm; the coordinates inside stay the same."""
    return re.sub(
        rb'width="[^"]*" height="[^"]*"', f'width="{width_mm:.3f}mm" height="{height_mm:.3f}mm"'.encode(), svg, count=1
    )


def _with_density(png: bytes) -> bytes:
    """Return a PNG with its resolution, which gives it a width in mm (chunk pHYs, PNG specification 11.3.4.3)."""
    per_metre = math.floor(DPI / 0.0254 + 0.5)
    body = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    end_of_header = 8 + 25  # signature, IHDR
    return png[:end_of_header] + chunk + png[end_of_header:]
