"""Figures on one page that share one copy of plotly.js.

Each FigureWidget carries plotly.js, 5 MB, and the browser runs each copy: four of them take so long that anywidget,
which waits two seconds for a widget to begin, gives up.  Here one widget carries it, and a figure waits for it only
where it is drawn.
"""

from __future__ import annotations

import threading
from copy import deepcopy
from typing import Any

import anywidget
import plotly.graph_objects as go
import traitlets

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

_FIGURE = f"""{_SHARED}{LISTENING}
function plotly() {{
  const link = (code) => URL.createObjectURL(new Blob([code], {{ type: "text/javascript" }}));
  return (shared().module ??= shared().code.then((code) => import(link(code))));
}}
// A kernel that is busy does not answer: then what came with the page must do.
function fresh(model) {{
  return new Promise((done) => {{
    const hear = (message) => {{
      if (!message.fresh) return;
      model.off("msg:custom", hear);
      setTimeout(done, 0);
    }};
    model.on("msg:custom", hear);
    model.send({{ want: "fresh" }});
    setTimeout(done, 3000);
  }});
}}
export default () => {{
  let widget;
  const begin = async (model) => {{
    const made = (await plotly()).default();
    await listening(model);
    await fresh(model);
    await made.initialize({{ model }});
    return made;
  }};
  return {{
    async render({{ model, el }}) {{ return (await (widget ??= begin(model))).render({{ model, el }}); }},
  }};
}};
"""


class Library(anywidget.AnyWidget):
    """Brings plotly.js to the page, for every `Figure` there; it shows nothing."""

    _esm = _LIBRARY
    code = traitlets.Unicode().tag(sync=True)

    def __init__(self) -> None:
        super().__init__(code=str(go.FigureWidget._esm))


class Figure(go.FigureWidget):
    """A FigureWidget that waits for the `Library`; the first view of it shows the figure as it is by then.

    Attributes
    ----------
    changing : threading.RLock
        To be held by who changes the figure.
    """

    _esm = _FIGURE
    me = traitlets.Unicode().tag(sync=True)

    def __init__(self, figure: go.Figure):
        super().__init__(figure)
        self.me = self.model_id
        object.__setattr__(self, "changing", threading.RLock())
        self.on_msg(self._hear)

    def _hear(self, _widget: Any, message: Any, _buffers: Any) -> None:
        if isinstance(message, dict) and message.get("want") == "fresh":
            with self.changing:
                self._widget_data, self._widget_layout = deepcopy(self._data), deepcopy(self._layout_obj._props)
                self.send({"fresh": True})
