"""The panes with the graph of the topology and the heat map of pairs; clicks on them select something."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets as w
import pandas as pd

from cmonlab.plot.edges import SAYS, edges_update
from cmonlab.plot.graph import topology, topology_update
from cmonlab.plot.matrix import SAYS as MATRIX_SAYS
from cmonlab.plot.matrix import flow_matrix, flow_matrix_update
from cmonlab.plot.places import places

from .figures import LiveFigure, RateLimit
from .model import Live
from .selection import Selection, selection_of

_MANY = 40  # names at an axis
# With many containers, the matrix and the hover texts are most of the work, so they are drawn less often.
_MATRIX_S, _TEXTS_S = 0.9, 1.9
_SCALE_S = 15.0  # how long a colour scale keeps its width before it may get narrower
EDGES_S, PAIRS_S = 2.0, 5.0
OnSelect = Callable[[Selection], None]
_WAIT = "<p class='cmonlab-note'><b>No packet yet</b>: {why}</p>"
_QUIET = "no packet has matched an active rule of mode aggregate. Send something between containers."
_GRAPH = "<b>Topology</b>: counts and rates of the last {s:g} s, delay of the last window with packets. {says}"
_PAIRS = "<b>Flow matrix</b>: sources down, destinations across, the last {s:g} s. {says}"


def _note(text: str, by: str, says: dict[str, str], over_s: float) -> str:
    return f"<p class='cmonlab-note'>{text.format(s=over_s, says=says[by])}</p>"


def _pane(name: str) -> w.VBox:
    pane = w.VBox(layout=w.Layout(flex="1 1 420px", min_width="320px", width="50%", overflow="hidden"))
    pane.add_class(name)
    return pane


def _height_px(names: int) -> int:
    """Return the height of graph and matrix; many names at the axes need more room."""
    return 500 if names <= _MANY else 640


class Graph:
    """The pane with the topology; colours of its edges show delay, loss or throughput.

    Parameters
    ----------
    model : Live
        What is drawn.
    theme : {"light", "dark"}
        Colours of the figure.
    on_select : callable
        Called with the `Selection` that was clicked.

    Attributes
    ----------
    widget : ipywidgets.VBox
        The pane.
    """

    def __init__(self, model: Live, theme: str, on_select: OnSelect):
        self._model, self._theme, self._on_select = model, theme, on_select
        self._shown: LiveFigure | None = None
        self._places: dict[str, tuple[float, float]] = {}
        self._links: pd.DataFrame | None = None
        self._by = ""
        self._texts, self._scale = RateLimit(_TEXTS_S), RateLimit(_SCALE_S)
        self._range: tuple[float, float] | None = None
        self._note = w.HTML()
        self.widget = _pane("cmonlab-topology")
        self.widget.children = [w.HTML(_WAIT.format(why=_QUIET))]

    def refresh(self, by: str) -> None:
        """Draw the edges as they are now, coloured by ``delay``, ``loss`` or ``throughput``."""
        links = self._model.topology()
        if links.empty:
            why = next(iter(self._model.agent_status.problems.values()), _QUIET)
            self.widget.children[0].value = _WAIT.format(why=html.escape(why))
            return
        edges = self._model.edges(EDGES_S)
        redraw = links is not self._links or by != self._by
        if links is not self._links:
            self._links, self._places = links, places(links, self._places)
        self._by = by
        if self._shown is None:
            figure = topology(links, edges, by=by, places=self._places)
            figure.update_layout(title=None, margin={"l": 8, "r": 8, "t": 34, "b": 8})
            self._shown = LiveFigure(figure, self._theme, lambda clicked: self._on_select(selection_of(clicked)))
            self.widget.children = [self._note, self._shown.widget]
        if redraw:
            self._note.value = _note(_GRAPH, by, SAYS, EDGES_S)
            change = topology_update(links, edges, by=by, places=self._places)
            change["layout"]["height"] = _height_px(len(self._places))
        else:
            texts = len(links) <= _MANY or self._texts.due()
            least = None if self._scale.due() else self._range
            change = edges_update(links, edges, self._places, by=by, texts=texts, wide=least)
        axis = change["layout"]["coloraxis"]
        self._range = (axis["cmin"], axis["cmax"]) if axis["showscale"] else None
        self._shown.update(**change)


class Matrix:
    """The pane with the heat map of pairs.

    Parameters
    ----------
    model : Live
        What is drawn.
    theme : {"light", "dark"}
        Colours of the figure.
    on_select : callable
        Called with the `Selection` that was clicked.

    Attributes
    ----------
    widget : ipywidgets.VBox
        The pane.
    """

    def __init__(self, model: Live, theme: str, on_select: OnSelect):
        self._model, self._theme, self._on_select = model, theme, on_select
        self._shown: LiveFigure | None = None
        self._many, self._by = False, ""
        self._redraw, self._texts = RateLimit(_MATRIX_S), RateLimit(_TEXTS_S)
        self._note = w.HTML()
        self.widget = _pane("cmonlab-matrix")

    def refresh(self, by: str) -> None:
        """Draw the pairs as they are now, coloured by ``delay``, ``loss`` or ``throughput``.

        Many pairs are drawn about once a second.
        """
        if self._many and by == self._by and not self._redraw.due():
            return
        pairs = self._model.pairs(PAIRS_S)
        if pairs.empty and self._shown is None:
            return
        names = len({*pairs["src"], *pairs["dst"]})
        self._many = names > _MANY
        if self._shown is None:
            figure = flow_matrix(pairs, by=by)
            figure.update_layout(title=None, margin={"t": 34})
            self._shown = LiveFigure(figure, self._theme, lambda clicked: self._on_select(selection_of(clicked)))
            self.widget.children = [self._note, self._shown.widget]
        if by != self._by:
            self._note.value = _note(_PAIRS, by, MATRIX_SAYS, PAIRS_S)
        self._by = by
        change: dict[str, Any] = flow_matrix_update(pairs, by=by, texts=not self._many or self._texts.due())
        change["layout"]["height"] = _height_px(names)
        self._shown.update(**change)
