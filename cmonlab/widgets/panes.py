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

_TEXTS_EVERY = 8  # frames: what hovering tells is most of what is sent, with many containers
Look = Callable[[Selection], None]
_WAIT = "<p class='cmonlab-note'><b>No packet yet</b>: {why}</p>"
_QUIET = "nothing that an active rule of mode aggregate takes has passed. Send something between containers."


def _pane(name: str) -> w.VBox:
    pane = w.VBox(layout=w.Layout(flex="1 1 420px", min_width="320px", width="50%", overflow="hidden"))
    pane.add_class(name)
    return pane


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
            figure.update_layout(title=None, margin={"l": 8, "r": 8, "t": 34, "b": 8}, height=500)
            self._shown = Shown(figure, self._theme, lambda told: self._look(Selection(*told)))
            self.widget.children = [self._shown.widget]
        self._shown.update(**topology_update(links, edges, by=by, places=self._places))


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
        self._turn = 0
        self.widget = _pane("cmonlab-matrix")

    def refresh(self, by: str) -> None:
        """Draw the pairs as they are now."""
        pairs = self._model.pairs()
        if pairs.empty and self._shown is None:
            return
        if self._shown is None:
            figure = flow_matrix(pairs, by=by)
            figure.update_layout(title=None, margin={"t": 34}, height=500)
            self._shown = Shown(figure, self._theme, lambda told: self._look(Selection(*told)))
            self.widget.children = [self._shown.widget]
        change = flow_matrix_update(pairs, by=by)
        self._turn += 1
        if self._turn % _TEXTS_EVERY:
            for trace in change["data"]:
                trace.pop("text", None)
        self._shown.update(**change)
