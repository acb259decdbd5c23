"""Figures that change on display: only what differs is sent to the browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from cmonlab.plot import template

from .plotly_widget import Figure, Path

#: Of plotly's tool bar these are of no use in a figure that changes all the time.
_BUTTONS = ("select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "toggleSpikelines")


class Shown:
    """A figure on display.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
    theme : {"light", "dark"}
    on_click : callable, optional
        Takes the ``customdata`` of what was clicked, a list of str.

    Attributes
    ----------
    widget : Figure
    """

    def __init__(self, figure: go.Figure, theme: str, on_click: Callable[[list[str]], None] | None = None):
        figure.update_layout(template=template(theme), autosize=True, modebar_remove=_BUTTONS)
        self.widget = Figure(figure, on_click)
        self._sent: dict[Any, Any] = {}

    def update(self, data: Sequence[Mapping[str, Any]] = (), layout: Mapping[str, Any] | None = None) -> bool:
        """Change traces, in their order, and the layout; return whether anything was different."""
        traces = {}
        for number, trace in enumerate(data):
            changed = {path: value for path, value in _flat(trace) if self._new((number, *path), value)}
            if changed:
                traces[number] = changed
        laid = {path: value for path, value in self._laid(layout or {}) if self._new(path, value)}
        if not laid and not traces:
            return False
        self.widget.change(traces, laid)
        return True

    def _laid(self, layout: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
        """Yield what the layout is to be: one by one, shapes of which there are as many as before."""
        for name, value in layout.items():
            if name == "shapes" and value and len(value) == len(self.widget.figure["layout"].get("shapes", ())):
                for number, shape in enumerate(value):
                    yield from _flat(shape, ("shapes", number))
            else:
                yield from _flat({name: value})

    def _new(self, key: Any, value: Any) -> bool:
        if key in self._sent and _same(self._sent[key], value):
            return False
        self._sent[key] = value
        return True


class Pace:
    """How often a part is drawn that is more work than the others: its turn comes when enough time has passed.

    Parameters
    ----------
    every_s : float
    """

    def __init__(self, every_s: float):
        self.every_s, self._due_s = every_s, 0.0

    def due(self) -> bool:
        """Tell whether it is its turn, which then is over."""
        now_s = time.monotonic()
        if now_s < self._due_s:
            return False
        self._due_s = now_s + self.every_s
        return True

    def again(self, in_s: float = 0.0) -> None:
        """Make it its turn soon, however long ago it was."""
        self._due_s = time.monotonic() + in_s


def _flat(value: Mapping[str, Any], before: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the leaves of nested properties, each with its path, as ``("marker", "color")``."""
    for name, inner in value.items():
        path = (*before, name)
        if isinstance(inner, Mapping):
            yield from _flat(inner, path)
        else:
            yield path, inner


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == b.dtype.kind == "f")
    return type(a) is type(b) and a == b
