"""The graph of the topology and the heat map of pairs, as panes that are clicked on."""

from __future__ import annotations

import html
from collections.abc import Callable

import ipywidgets as w

from cmonlab.plot.graph import SAYS, edges_update, topology, topology_update
from cmonlab.plot.matrix import SAYS as MATRIX_SAYS
from cmonlab.plot.matrix import flow_matrix, flow_matrix_update
from cmonlab.plot.places import places

from .figures import Pace, Shown
from .model import Live
from .selection import Selection

_MANY = 40  # names at an axis
# Of many containers, the matrix and the texts that hovering shows are most of the work, and are read at leisure.
_MATRIX_S, _TEXTS_S = 0.9, 1.9
_SCALE_S = 15.0  # for which a scale of colours does not get narrower
EDGES_S, PAIRS_S = 2.0, 5.0
Look = Callable[[Selection], None]
_WAIT = "<p class='cmonlab-note'><b>No packet yet</b>: {why}</p>"
_QUIET = "nothing that an active rule of mode aggregate takes has passed. Send something between containers."
_GRAPH = "<b>Topology</b>: counts and rates of the last {s:g} s, delay of the last window with packets. {says}"
_PAIRS = "<b>Flow matrix</b>: sources down, destinations across, the last {s:g} s. {says}"


def _note(text: str, by: str, says: dict[str, str], over_s: float) -> str:
    return f"<p class='cmonlab-note'>{text.format(s=over_s, says=says[by])}</p>"


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
        self._links, self._by = None, ""
        self._texts, self._scale = Pace(_TEXTS_S), Pace(_SCALE_S)
        self._wide: tuple[float, float] | None = None
        self._note = w.HTML()
        self.widget = _pane("cmonlab-topology")
        self.widget.children = [w.HTML(_WAIT.format(why=_QUIET))]

    def refresh(self, by: str) -> None:
        """Draw the edges as they are now."""
        links = self._model.topology()
        if links.empty:
            why = next(iter(self._model.told.troubles.values()), _QUIET)
            self.widget.children[0].value = _WAIT.format(why=html.escape(why))
            return
        edges = self._model.edges(EDGES_S)
        whole = links is not self._links or by != self._by
        if links is not self._links:
            self._links, self._places = links, places(links, self._places)
        self._by = by
        if self._shown is None:
            figure = topology(links, edges, by=by, places=self._places)
            figure.update_layout(title=None, margin={"l": 8, "r": 8, "t": 34, "b": 8})
            self._shown = Shown(figure, self._theme, lambda told: self._look(Selection(*told)))
            self.widget.children = [self._note, self._shown.widget]
        if whole:
            self._note.value = _note(_GRAPH, by, SAYS, EDGES_S)
            change = topology_update(links, edges, by=by, places=self._places)
            change["layout"]["height"] = _height_px(len(self._places))
        else:
            texts = len(links) <= _MANY or self._texts.due()
            wide = None if self._scale.due() else self._wide
            change = edges_update(links, edges, self._places, by=by, texts=texts, wide=wide)
        axis = change["layout"]["coloraxis"]
        self._wide = (axis["cmin"], axis["cmax"]) if axis["showscale"] else None
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
        self._many, self._by = False, ""
        self._pace, self._texts = Pace(_MATRIX_S), Pace(_TEXTS_S)
        self._note = w.HTML()
        self.widget = _pane("cmonlab-matrix")

    def refresh(self, by: str) -> None:
        """Draw the pairs as they are now; many of them, about once a second."""
        if self._many and by == self._by and not self._pace.due():
            return
        pairs = self._model.pairs(PAIRS_S)
        if pairs.empty and self._shown is None:
            return
        names = len({*pairs["src"], *pairs["dst"]})
        self._many = names > _MANY
        if self._shown is None:
            figure = flow_matrix(pairs, by=by)
            figure.update_layout(title=None, margin={"t": 34})
            self._shown = Shown(figure, self._theme, lambda told: self._look(Selection(*told)))
            self.widget.children = [self._note, self._shown.widget]
        if by != self._by:
            self._note.value = _note(_PAIRS, by, MATRIX_SAYS, PAIRS_S)
        self._by = by
        change = flow_matrix_update(pairs, by=by, texts=not self._many or self._texts.due())
        change["layout"]["height"] = _height_px(names)
        self._shown.update(**change)
