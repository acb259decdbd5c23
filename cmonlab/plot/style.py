"""How every figure looks: colours, patterns, dashes, and one template for light and for dark."""

from __future__ import annotations

from functools import cache

import plotly.graph_objects as go

from cmonlab.errors import UnknownName

from .scale import colors

# Six colours that stay apart for every kind of colour blindness and on both backgrounds: five of Okabe and Ito's
# eight (https://jfly.uni-koeln.de/color/, 2008) and Tol's olive in place of yellow and black, which vanish on white
# and on dark. Beyond six, patterns and dashes tell them apart.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#999933")
PATTERNS = ("", "/", ".", "x", "-")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
# Okabe and Ito's vermillion means lost events and nothing else.
WARNING = "#D55E00"
# A check that failed; it also has a mark of its own.
FAILED = "#B3123A"
# What a segment's time is spent on looks the same in every figure.
KINDS = ("processing", "queueing", "softirq", "scheduling")
NEUTRAL = "#8A93A3"
FAINT = "rgba(138,147,163,0.18)"
# There was traffic, and nothing is the matter with it, or its value is not known.
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
    """Return the marker of the bar at this index: colour, and beyond the palette a pattern (30 differ)."""
    shape = PATTERNS[index // len(PALETTE) % len(PATTERNS)]
    pattern = {"shape": shape, "fillmode": "overlay", "fgcolor": "rgba(255,255,255,0.75)", "size": 7, "solidity": 0.25}
    return {"color": color(index), "pattern": pattern} if shape else {"color": color(index)}


def kind_fill(kind: str) -> dict:
    """Return the marker of a kind of segment; an unknown one is neutral."""
    return fill(KINDS.index(kind)) if kind in KINDS else {"color": NEUTRAL}


def stroke(index: int, width: float = 2.0) -> dict:
    """Return the line at this index: colour, and beyond the palette a dash (30 differ)."""
    return {"color": color(index), "dash": DASHES[index // len(PALETTE) % len(DASHES)], "width": width}


def clear(color: str, opacity: float) -> str:
    """Return a colour ``#rrggbb`` made transparent."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:.3g})"


def loss_color(share: float) -> str:
    """Return the colour of packet loss, from little to much: a warning's, its transparency fits both papers."""
    return clear(WARNING, 0.25 + 0.75 * share)


LOSS = [[share, loss_color(share)] for share in (0.0, 1.0)]


@cache
def template(theme: str = "light") -> go.layout.Template:
    """Return the template of a theme.

    Parameters
    ----------
    theme : {"light", "dark"}
        Which one.

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
    """Return the colours of values: of the colour axes, and of lines that name their step (``step(i)``)."""
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
    """Make a figure light, for paper; return the same figure."""
    return figure.update_layout(template=template("light"))


def dark(figure: go.Figure) -> go.Figure:
    """Make a figure dark: text, grid, colour scales and all; return the same figure.

    It works for any figure of this package, whenever it was made, a ``FigureWidget`` on display too.
    """
    return figure.update_layout(template=template("dark"))
