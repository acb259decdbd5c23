"""The graph of the topology and the heat map of pairs, as panes that are clicked on."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets as w

from ..plot.graph import topology, topology_update
from ..plot.matrix import flow_matrix, flow_matrix_update
from ..plot.places import places
from .figures import Shown
from .model import Live
from .selection import Selection

_MANY = 40  # names at an axis
_TEXTS_EVERY = 8  # frames: what hovering tells is most of what is sent, with many containers
Look = Callable[[Selection], None]
_WAIT = "<p class='cmonlab-note'><b>No packet yet</b>: {why}</p>"
_QUIET = "nothing that an active rule of mode aggregate takes has passed. Send something between containers."


def _pane(name: str) -> w.VBox:
    pane = w.VBox(layout=w.Layout(flex="1 1 420px", min_width="320px", width="50%", overflow="hidden"))
    pane.add_class(name)
    return pane


def _height_px(names: int) -> int:
    """Return the height of graph and matrix: with many containers, the names at the axes need room."""
    return 500 if names <= _MANY else 640


class Graph:
    """The topology, its edges coloured.

    Parameters
    ----------
    model : Live
    theme : {"light", "dark"}
    look : callable
        Takes the selection that was clicked on.
    """

    def __init__(self, model: Live, theme: str, look: Look):
        self._model, self._theme, self._look = model, theme, look
        self._shown: Shown | None = None
        self._places: dict = {}
        self._links = None
        self.widget = _pane("cmonlab-topology")
        self.widget.children = [w.HTML(_WAIT.format(why=_QUIET))]

    def refresh(self, by: str) -> None:
        """Draw the edges as they are now."""
        links = self._model.topology()
        if links.empty:
            return
        edges = self._model.edges()
        if links is not self._links:
            self._links, self._places = links, places(links, self._places)
        if self._shown is None:
            figure = topology(links, edges, by=by, places=self._places)
            figure.update_layout(title=None, margin={"l": 8, "r": 8, "t": 34, "b": 8})
            self._shown = Shown(figure, self._theme, lambda told: self._look(Selection(*told)))
            self.widget.children = [self._shown.widget]
        change = topology_update(links, edges, by=by, places=self._places)
        change["layout"]["height"] = _height_px(len(self._places))
        self._shown.update(**change)


class Matrix:
    """The heat map of pairs.

    Parameters
    ----------
    model, theme, look
        As `Graph` has them.
    """

    def __init__(self, model: Live, theme: str, look: Look):
        self._model, self._theme, self._look = model, theme, look
        self._shown: Shown | None = None
        self._turn, self._many, self._by = 0, False, ""
        self.widget = _pane("cmonlab-matrix")

    def refresh(self, by: str) -> None:
        """Draw the pairs as they are now; many of them, every other time."""
        self._turn += 1
        if self._shown is not None and self._many and by == self._by and self._turn % 2:
            return
        pairs = self._model.pairs()
        if pairs.empty and self._shown is None:
            return
        names = len({*pairs["src"], *pairs["dst"]})
        self._many, self._by = names > _MANY, by
        if self._shown is None:
            figure = flow_matrix(pairs, by=by)
            figure.update_layout(title=None, margin={"t": 34})
            self._shown = Shown(figure, self._theme, lambda told: self._look(Selection(*told)))
            self.widget.children = [self._shown.widget]
        change = flow_matrix_update(pairs, by=by)
        change["layout"]["height"] = _height_px(names)
        if self._turn % _TEXTS_EVERY:
            for trace in change["data"]:
                trace.pop("text", None)
        self._shown.update(**change)
