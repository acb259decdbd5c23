"""Figures that change on display: only what differs is sent to the browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from ..plot import template
from .bundle import Figure

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
        self.widget = Figure(figure.update_layout(template=template(theme), autosize=True, modebar_remove=_BUTTONS))
        self._sent: dict[Any, Any] = {}
        if on_click:
            for trace in self.widget.data:
                trace.on_click(lambda trace, points, _state: _clicked(trace, points, on_click))

    def update(self, data: Sequence[Mapping[str, Any]] = (), layout: Mapping[str, Any] | None = None) -> bool:
        """Change traces, in their order, and the layout; return whether anything was different."""
        changes = [{path: value for path, value in _flat(trace) if self._new((n, path), value)}
                   for n, trace in enumerate(data)]  # fmt: skip
        laid = {path: value for path, value in self._laid(layout or {}) if self._new(path, value)}
        if not laid and not any(changes):
            return False
        with self.widget.changing, self.widget.batch_update():
            for trace, change in zip(self.widget.data, changes, strict=False):
                for path, value in change.items():
                    trace[path] = value
            for path, value in laid.items():
                self.widget.layout[path] = value
        return True

    def _laid(self, layout: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield what the layout is to be: one by one, shapes of which there are as many as before."""
        for name, value in layout.items():
            if name == "shapes" and len(value) == len(self.widget.layout.shapes):
                for number, shape in enumerate(value):
                    yield from _flat(shape, f"shapes[{number}].")
            else:
                yield from _flat({name: value})

    def _new(self, key: Any, value: Any) -> bool:
        if key in self._sent and _same(self._sent[key], value):
            return False
        self._sent[key] = value
        return True


def _flat(value: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested properties, each with its path, as ``marker.color``."""
    for name, inner in value.items():
        path = f"{before}{name}"
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{path}.")
        else:
            yield path, inner


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == b.dtype.kind == "f")
    return type(a) is type(b) and a == b


def _clicked(trace: Any, points: Any, on_click: Callable[[list[str]], None]) -> None:
    if not points.point_inds:
        return
    if trace.type == "heatmap":  # from down, to across
        on_click(["pair", str(points.ys[0]), str(points.xs[0])])
    elif trace.customdata is not None:
        on_click([str(word) for word in trace.customdata[points.point_inds[0]]])
