"""Figures as HTML for notebooks that are exported: no network needed, plotly.js once per notebook.

Plotly puts a figure into a notebook as JSON (``application/vnd.plotly.v1+json``). JupyterLab and VS Code draw the JSON,
but nbconvert does not know it, so its pages have no figures. With `Html`, an output has HTML next to the JSON.
nbconvert takes the HTML; editors prefer the JSON and still draw each figure once. The first figure of a notebook
carries plotly.js (4.8 MB), the others use it.
"""

from __future__ import annotations

import sys
from typing import Any

from plotly.io import to_html
from plotly.io.base_renderers import MimetypeRenderer


class Html(MimetypeRenderer):
    """Renders figures as HTML; one output of a notebook carries plotly.js.

    Attributes
    ----------
    carrier : dict of str to str
        ``cell``: the cell whose output has plotly.js; ``run``: the execution that put it there. Empty before the first
        figure. Plotly renders with copies of this object, which share the dict.
    """

    def __init__(self) -> None:
        self.carrier: dict[str, str] = {}

    def to_mimebundle(self, fig_dict: dict[str, Any]) -> dict[str, str]:
        """Return a figure as ``text/html``."""
        html = to_html(
            fig_dict,
            include_plotlyjs=self._must_carry(*_execution()),
            include_mathjax=False,
            full_html=False,
            default_width="100%",
            validate=False,
        )
        return {"text/html": html}

    def _must_carry(self, cell: str, run: str) -> bool:
        """Return whether this output needs plotly.js: the first one does, and the first after its cell ran again."""
        again = cell != "" and cell == self.carrier.get("cell") and run != self.carrier.get("run")
        if self.carrier and not again:
            return False
        self.carrier.update(cell=cell, run=run)
        return True


def _execution() -> tuple[str, str]:
    """Return the ids of the running cell (empty where the editor does not send it) and of its execution."""
    get_parent = getattr(sys.modules["IPython"].get_ipython(), "get_parent", dict)  # only kernels have it
    request: dict[str, dict[str, str]] = get_parent()
    return str(request.get("metadata", {}).get("cellId", "")), str(request.get("header", {}).get("msg_id", ""))
