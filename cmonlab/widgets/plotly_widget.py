"""Plotly figures that share one copy of plotly.js on a page and receive changes as binary numbers.

Each FigureWidget of plotly carries plotly.js (5 MB), validates every property, and its page answers each change with
everything that follows from it. Here one widget carries the library for all figures, and a figure receives paths and
values only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import anywidget
import plotly.graph_objects as go
import traitlets
from plotly.offline import get_plotlyjs

from .packed import packed
from .script import script

Path = tuple[str | int, ...]


class Library(anywidget.AnyWidget):
    """Carries plotly.js to the page, for all figures there; it shows nothing."""

    _esm = script("shared", "library")
    code = traitlets.Unicode().tag(sync=True)

    def __init__(self) -> None:
        super().__init__(code=get_plotlyjs())


class Figure(anywidget.AnyWidget):
    """A displayed plotly figure; a page that opens late gets the figure as it is by then.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        The figure at the beginning.
    on_click : callable, optional
        Called with the ``customdata`` of the clicked point, a list of str; for a cell of a heat map with
        ``pair``, its row and its column.

    Attributes
    ----------
    figure : dict
        ``data`` and ``layout`` in plotly's JSON format, with arrays.
    """

    _esm = script("shared", "listening", "figure")
    own_id = traitlets.Unicode().tag(sync=True)

    def __init__(self, figure: go.Figure, on_click: Callable[[list[str]], None] | None = None):
        super().__init__()
        self.own_id = self.model_id
        self.figure = {
            "data": [trace.to_plotly_json() for trace in figure.data],
            "layout": figure.layout.to_plotly_json(),
        }
        self._on_click, self._changing = on_click, threading.Lock()
        self.on_msg(lambda _, message, __: self.receive(message))

    def receive(self, message: Mapping[str, Any]) -> None:
        """Take a page's message: it requests the figure, or a point was clicked."""
        if message.get("request") == "figure":
            with self._changing:
                self._publish({"figure": self.figure})
        elif "clicked" in message and self._on_click:
            self._on_click([str(word) for word in message["clicked"]])

    def change(self, traces: Mapping[int, Mapping[Path, Any]], layout: Mapping[Path, Any]) -> None:
        """Set properties of traces and of the layout.

        Parameters
        ----------
        traces : mapping of int to mapping
            Number of a trace → its changes: path → value, for instance ``("marker", "size")`` → 3.
        layout : mapping
            Changes of the layout: path → value.
        """
        with self._changing:
            for number, changes in traces.items():
                _put(self.figure["data"][number], changes)
            _put(self.figure["layout"], layout)
            changed = [[number, _by_written_path(changes)] for number, changes in traces.items()]
            self._publish({"traces": changed, "layout": _by_written_path(layout)})

    def _publish(self, content: Mapping[str, Any]) -> None:
        buffers: list[bytes] = []
        self.send(packed(content, buffers), buffers)


def _by_written_path(changes: Mapping[Path, Any]) -> dict[str, Any]:
    return {_written(path): value for path, value in changes.items()}


def _written(path: Path) -> str:
    """Return a path as plotly.js writes it: ``shapes[3].line.color``."""
    return "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in path).lstrip(".")


def _put(target: Any, changes: Mapping[Path, Any]) -> None:
    for path, value in changes.items():
        inner = target
        for name in path[:-1]:
            inner = inner[name] if isinstance(name, int) else inner.setdefault(name, {})
        inner[path[-1]] = value
