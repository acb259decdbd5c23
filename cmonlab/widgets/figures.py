"""Figures that change while they are displayed; only differences are sent to the browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from cmonlab.plot import template

from .plotly_widget import Figure, Path

#: Buttons of plotly's mode bar that are useless in a figure that changes all the time.
_BUTTONS = ("select2d", "lasso2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "toggleSpikelines")


class LiveFigure:
    """A displayed figure that sends only what changes.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        The figure at the beginning; its layout gets the theme's template.
    theme : {"light", "dark"}
        Colours of the figure.
    on_click : callable, optional
        Called with the ``customdata`` of the clicked point, a list of str.

    Attributes
    ----------
    widget : Figure
        What a notebook displays.
    """

    def __init__(self, figure: go.Figure, theme: str, on_click: Callable[[list[str]], None] | None = None):
        figure.update_layout(template=template(theme), autosize=True, modebar_remove=_BUTTONS)
        self.widget = Figure(figure, on_click)
        self._sent: dict[Path, Any] = {}

    def update(self, data: Sequence[Mapping[str, Any]] = (), layout: Mapping[str, Any] | None = None) -> bool:
        """Change properties of the traces and of the layout.

        Parameters
        ----------
        data : sequence of mapping
            Properties by trace, in the order of the traces; nested mappings are allowed.
        layout : mapping, optional
            Properties of the layout.

        Returns
        -------
        bool
            Whether anything was different, and therefore sent.
        """
        traces = {}
        for number, trace in enumerate(data):
            changed = {path: value for path, value in _flat(trace) if self._differs((number, *path), value)}
            if changed:
                traces[number] = changed
        changed_layout = {path: value for path, value in self._flat_layout(layout or {}) if self._differs(path, value)}
        if not changed_layout and not traces:
            return False
        self.widget.change(traces, changed_layout)
        return True

    def _flat_layout(self, layout: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
        """Yield the leaves of a layout; shapes are sent one by one while their number stays the same."""
        for name, value in layout.items():
            if name == "shapes" and value and len(value) == len(self.widget.figure["layout"].get("shapes", ())):
                for number, shape in enumerate(value):
                    yield from _flat(shape, ("shapes", number))
            else:
                yield from _flat({name: value})

    def _differs(self, key: Path, value: Any) -> bool:
        if key in self._sent and _same(self._sent[key], value):
            return False
        self._sent[key] = value
        return True


class RateLimit:
    """Limits how often an expensive drawing is done.

    Parameters
    ----------
    every_s : float
        Least time between two times, s.
    """

    def __init__(self, every_s: float):
        self.every_s, self._due_s = every_s, 0.0

    def due(self) -> bool:
        """Return whether enough time has passed; if so, the time starts again."""
        now_s = time.monotonic()
        if now_s < self._due_s:
            return False
        self._due_s = now_s + self.every_s
        return True

    def make_due(self, in_s: float = 0.0) -> None:
        """Make it due in `in_s` seconds, whenever the last time was."""
        self._due_s = time.monotonic() + in_s


def _flat(value: Mapping[str, Any], before: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the leaves of nested properties, each with its path, for instance ``("marker", "color")``."""
    for name, inner in value.items():
        path = (*before, name)
        if isinstance(inner, Mapping):
            yield from _flat(inner, path)
        else:
            yield path, inner


def _same(a: Any, b: Any) -> bool:
    """Return whether two values are equal; arrays are compared as a whole, NaN equals NaN."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == b.dtype.kind == "f")
    return type(a) is type(b) and a == b
