"""Figures on one page that share one copy of plotly.js, and take what changes as numbers, not as text.

A FigureWidget of plotly's carries plotly.js, 5 MB, checks each property it is given, and its page answers each change
with all that follows from it.  Here one widget carries the library for all, and a figure takes paths and values.
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
    """Brings plotly.js to the page, for every `Figure` there; it shows nothing."""

    _esm = script("shared", "library")
    code = traitlets.Unicode().tag(sync=True)

    def __init__(self) -> None:
        super().__init__(code=get_plotlyjs())


class Figure(anywidget.AnyWidget):
    """A plotly figure on display; a view that opens late begins with the figure as it is by then.

    Parameters
    ----------
    figure : plotly.graph_objects.Figure
        To begin with.
    on_click : callable, optional
        Takes the ``customdata`` of what was clicked, a list of str; of a cell ``pair``, row and column.

    Attributes
    ----------
    figure : dict
        What is shown: ``data`` and ``layout``, as plotly's JSON has them.
    """

    _esm = script("shared", "listening", "figure")
    me = traitlets.Unicode().tag(sync=True)

    def __init__(self, figure: go.Figure, on_click: Callable[[list[str]], None] | None = None):
        super().__init__()
        self.me = self.model_id
        self.figure = {
            "data": [trace.to_plotly_json() for trace in figure.data],
            "layout": figure.layout.to_plotly_json(),
        }
        self._on_click, self._changing = on_click, threading.Lock()
        self.on_msg(lambda _, message, __: self.hear(message))

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take a page's word: it wants the whole figure, or something was clicked."""
        if message.get("want") == "whole":
            with self._changing:
                self._tell({"whole": self.figure})
        elif "clicked" in message and self._on_click:
            self._on_click([str(word) for word in message["clicked"]])

    def change(self, traces: Mapping[int, Mapping[Path, Any]], layout: Mapping[Path, Any]) -> None:
        """Set properties.

        Parameters
        ----------
        traces : mapping
            Paths and values by the number of the trace.
        layout : mapping
        """
        with self._changing:
            for number, changes in traces.items():
                _put(self.figure["data"][number], changes)
            _put(self.figure["layout"], layout)
            told = [
                [number, {_written(path): value for path, value in changes.items()}]
                for number, changes in traces.items()
            ]
            self._tell({"traces": told, "layout": {_written(path): value for path, value in layout.items()}})

    def _tell(self, content: Mapping[str, Any]) -> None:
        buffers: list[bytes] = []
        self.send(packed(content, buffers), buffers)


def _written(path: Path) -> str:
    """Return a path as plotly.js writes it: ``shapes[3].line.color``."""
    return "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in path).lstrip(".")


def _put(target: Any, changes: Mapping[Path, Any]) -> None:
    for path, value in changes.items():
        inner = target
        for name in path[:-1]:
            inner = inner[name] if isinstance(name, int) else inner.setdefault(name, {})
        inner[path[-1]] = value
