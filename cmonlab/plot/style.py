"""The look of all figures: colours, patterns, dashes, and a template for each theme."""

from __future__ import annotations

from functools import cache

import plotly.graph_objects as go

from cmonlab.errors import UnknownName

from .scale import colors

# Six colours that can be distinguished with every kind of colour blindness and on both backgrounds: five of the eight
# colours of Okabe and Ito (https://jfly.uni-koeln.de/color/, 2008), and Tol's olive instead of yellow and black, which
# vanish on white and on dark. Beyond six, patterns and dashes distinguish series.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#999933")
PATTERNS = ("", "/", ".", "x", "-")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
# Okabe and Ito's vermillion: lost events, dropped and lost packets; nothing else has it.
WARNING = "#D55E00"
# A check that failed; such checks also have their own symbol.
FAILED = "#B3123A"
# Kinds of time, in the order of their colours, which are the same in every figure.
KINDS = ("processing", "queueing", "softirq", "scheduling")
NEUTRAL = "#8A93A3"
FAINT = "rgba(138,147,163,0.18)"
# Traffic without loss, or whose value is not known.
CLEAN = "rgba(0,114,178,0.22)"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif"

_THEMES = {
    "light": {"paper": "#ffffff", "ink": "#1c2330", "quiet": "#59636f", "grid": "#e4e8ee", "line": "#aab3bf"},
    "dark": {"paper": "#14181f", "ink": "#e8ecf2", "quiet": "#a3adba", "grid": "#2a313c", "line": "#566070"},
}


def color(index: int) -> str:
    """Return the colour of the series at this index."""
    return PALETTE[index % len(PALETTE)]


def fill(index: int) -> dict:
    """Return the marker of the bar at this index: a colour, and beyond the palette also a pattern (30 differ)."""
    shape = PATTERNS[index // len(PALETTE) % len(PATTERNS)]
    pattern = {"shape": shape, "fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.75)", "size": 7, "solidity": 0.25}
    return {"color": color(index), "pattern": pattern} if shape else {"color": color(index)}


def kind_fill(kind: str) -> dict:
    """Return the marker of a kind of segment; an unknown one is neutral."""
    return fill(KINDS.index(kind)) if kind in KINDS else {"color": NEUTRAL}


def stroke(index: int, width: float = 2.0) -> dict:
    """Return the line of the series at an index.

    Parameters
    ----------
    index : int
        Number of the series, from 0.
    width : float
        Width in pixels.

    Returns
    -------
    dict
        Colour, width, and beyond the palette a dash; 30 lines differ.
    """
    return {"color": color(index), "dash": DASHES[index // len(PALETTE) % len(DASHES)], "width": width}


def clear(color: str, opacity: float) -> str:
    """Return a colour with transparency.

    Parameters
    ----------
    color : str
        ``#rrggbb``.
    opacity : float
        0 (invisible) to 1.

    Returns
    -------
    str
        ``rgba(…)``.
    """
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:.3g})"


def loss_color(share: float) -> str:
    """Return the colour of packet loss for a position on its scale, 0 (little) to 1 (much); it fits both themes."""
    return clear(WARNING, 0.25 + 0.75 * share)


LOSS = [[share, loss_color(share)] for share in (0.0, 1.0)]


@cache
def template(theme: str = "light") -> go.layout.Template:
    """Return the template of a theme, for ``figure.update_layout(template=…)``.

    Parameters
    ----------
    theme : {"light", "dark"}
        The theme.

    Returns
    -------
    plotly.graph_objects.layout.Template

    Raises
    ------
    UnknownName
        There is no such theme.
    """
    if theme not in _THEMES:
        raise UnknownName("theme", theme, _THEMES)
    hue = _THEMES[theme]
    axis = {
        "gridcolor": hue["grid"],
        "linecolor": hue["line"],
        "tickcolor": hue["line"],
        "zerolinecolor": hue["line"],
        "tickfont": {"size": 12, "color": hue["ink"]},
        "title": {"font": {"size": 12, "color": hue["quiet"]}},
        "automargin": True,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
        "showline": True,
    }
    layout = {
        "font": {"family": FONT, "size": 12, "color": hue["ink"]},
        "title": {"font": {"size": 17}, "subtitle": {"font": {"size": 12, "color": hue["quiet"]}}},
        "paper_bgcolor": hue["paper"],
        "plot_bgcolor": hue["paper"],
        "colorway": PALETTE,
        "xaxis": axis,
        "yaxis": axis,
        "annotationdefaults": {"font": {"size": 11, "color": hue["quiet"]}, "showarrow": False},
        "legend": {"bgcolor": "rgba(0,0,0,0)", "font": {"size": 12}, "title": {"font": {"color": hue["quiet"]}}},
        "hoverlabel": {
            "align": "left",
            "namelength": -1,
            "font": {"family": FONT, "size": 12, "color": hue["ink"]},
            "bgcolor": hue["paper"],
            "bordercolor": hue["line"],
        },
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": hue["line"], "activecolor": hue["ink"]},
        "bargap": 0.28,
        "separators": ".,",
    }
    layout |= _scale(theme, hue)
    bar = go.Bar(marker={"line": {"color": hue["paper"], "width": 1}})
    sankey = go.Sankey(node={"line": {"color": hue["paper"], "width": 1}}, textfont={"shadow": "none"})
    return go.layout.Template(layout=layout, data={"bar": [bar], "sankey": [sankey]})


def _scale(theme: str, hue: dict) -> dict:
    """Return the colours of values: those of colour axes, and those of lines by the name of their step."""
    shades = colors(theme)
    scale = [[i / (len(shades) - 1), shade] for i, shade in enumerate(shades)]
    bar = {
        "outlinewidth": 0,
        "thickness": 14,
        "tickfont": {"size": 11, "color": hue["ink"]},
        "title": {"side": "right", "font": {"size": 12, "color": hue["quiet"]}},
    }
    lines = [{"name": f"step {i}", "visible": False, "line": {"color": shade}} for i, shade in enumerate(shades)]
    return {"coloraxis": {"colorscale": scale, "colorbar": bar}, "shapes": lines}


def light(figure: go.Figure) -> go.Figure:
    """Make a figure light; return the same figure."""
    return figure.update_layout(template=template("light"))


def dark(figure: go.Figure) -> go.Figure:
    """Make a figure dark, with its text, grid and colour scales; return the same figure.

    It works for all figures of this package, also for a ``FigureWidget`` that is on display.
    """
    return figure.update_layout(template=template("dark"))
