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

_SHARED = """
function shared() {
  if (!globalThis.cmonlabPlotly) {
    const made = (globalThis.cmonlabPlotly = {});
    made.code = new Promise((bring) => { made.bring = bring; });
  }
  return globalThis.cmonlabPlotly;
}
"""

#: JavaScript; anywidget 0.11 hands a widget no message any more if it took over two seconds to begin, as it may on a
#: busy machine.  So those that are drawn take their messages themselves; `me` is the id of the model.
LISTENING = """
async function listening(model) {
  const own = await model.widget_manager.get_model(model.get("me"));
  const base = Object.getPrototypeOf(Object.getPrototypeOf(own));
  own.comm?.on_msg(base._handle_comm_msg.bind(own));
}
"""

_LIBRARY = f"""{_SHARED}
export default {{
  initialize({{ model }}) {{ shared().bring(model.get("code")); }},
  render() {{}},
}};
"""

_FIGURE = (
    f"""{_SHARED}{LISTENING}"""
    + """
const BEGIN = "const module = { exports: {} }, define = undefined;", END = ";export default module.exports;";
function plotly() {
  const link = (code) => URL.createObjectURL(new Blob([BEGIN, code, END], { type: "text/javascript" }));
  return (shared().module ??= shared().code.then((code) => import(link(code))));
}
const KINDS = { f4: Float32Array, f8: Float64Array, i4: Int32Array, u1: Uint8Array };
function rows(flat, [count, width]) {
  return Array.from({ length: count }, (_, row) => flat.slice(row * width, (row + 1) * width));
}
function unpacked(value, buffers) {
  if (Array.isArray(value)) return value.map((one) => unpacked(one, buffers));
  if (value === null || typeof value !== "object") return value;
  if ("packed" in value) {
    const view = buffers[value.packed];
    const flat = new KINDS[value.kind](view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
    if (value.shape.length === 2) return rows(flat, value.shape);
    return Array.from(flat, (number) => (Number.isNaN(number) ? null : number));
  }
  if ("texts" in value) {
    const [count, width] = value.shape;
    const flat = Array(count * width).fill("");
    unpacked(value.at, buffers).forEach((at, number) => { flat[at] = value.texts[number]; });
    return rows(flat, value.shape);
  }
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, unpacked(one, buffers)]));
}
const CONFIG = { displaylogo: false };
function begin(library, el, model, { data, layout }) {
  library.newPlot(el, data, layout, CONFIG);
  el.on("plotly_click", ({ points: [point] }) => {
    const told = point.data.type === "heatmap" ? ["pair", point.y, point.x] : point.customdata;
    if (told) model.send({ clicked: told });
  });
}
function change(library, el, traces, layout) {
  const found = {};
  traces.forEach(([, values], number) => {
    for (const [path, value] of Object.entries(values))
      (found[path] ??= Array(traces.length).fill(undefined))[number] = value;
  });
  if (!traces.length) library.relayout(el, layout);
  else library.update(el, found, layout, traces.map(([number]) => number));
}
async function render({ model, el }) {
  const library = (await plotly()).default;
  const figure = document.createElement("div");
  el.append(figure);
  let drawn = false;
  const hear = (message, buffers) => {
    if (message.whole && !drawn) begin(library, figure, model, unpacked(message.whole, buffers));
    else if (message.traces && drawn) change(library, figure, ...unpacked([message.traces, message.layout], buffers));
    drawn ||= Boolean(message.whole);
  };
  await listening(model);
  model.on("msg:custom", hear);
  model.send({ want: "whole" });
  const wide = new ResizeObserver(() => { if (drawn && figure.clientWidth) library.Plots.resize(figure); });
  wide.observe(el);
  return () => {
    wide.disconnect();
    model.off("msg:custom", hear);
    library.purge(figure);
  };
}
export default { render };
"""
)

Path = tuple[str | int, ...]


class Library(anywidget.AnyWidget):
    """Brings plotly.js to the page, for every `Figure` there; it shows nothing."""

    _esm = _LIBRARY
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

    _esm = _FIGURE
    me = traitlets.Unicode().tag(sync=True)

    def __init__(self, figure: go.Figure, on_click: Callable[[list[str]], None] | None = None):
        super().__init__()
        self.me = self.model_id
        self.figure = {
            "data": [trace.to_plotly_json() for trace in figure.data], "layout": figure.layout.to_plotly_json()
        }  # fmt: skip
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
            told = [[number, {_written(path): value for path, value in changes.items()}]
                    for number, changes in traces.items()]  # fmt: skip
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
