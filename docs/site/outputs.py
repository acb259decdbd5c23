"""A notebook that was run, as Markdown; its outputs are HTML that needs no network.

A plotly figure is kept as JSON, without its template: `static/figures.js` draws it in the reader's theme, with the
site's one copy of plotly.js.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs
from plotly.utils import PlotlyJSONEncoder

from cmonlab.plot import template

#: What a page with figures loads, in this order.
SCRIPTS = ("plotly.min.js", "templates.js", "figures.js")
_PLOTLY = "application/vnd.plotly.v1+json"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def markdown(notebook: Any) -> str:
    """Return a notebook (an ``nbformat`` node) as Markdown, its outputs as raw HTML."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code" and cell.source.strip():
            parts.append(_fenced("ipython3", cell.source))
            parts += [_fenced("{raw} html", content) for content in map(_html, cell.outputs) if content]
    return "\n\n".join(parts) + "\n"


def _fenced(language: str, text: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _html(output: Any) -> str:
    """Return one output as HTML, in the richest form that it has; empty if it has none."""
    if output.output_type == "stream":
        return _text(output.text)
    data = output.get("data", {})
    if _PLOTLY in data:
        return _figure(data[_PLOTLY])
    for kind in ("text/html", "image/svg+xml"):
        if kind in data:
            return f'<div class="output">{data[kind]}</div>'
    if "image/png" in data:
        return f'<div class="output"><img alt="" src="data:image/png;base64,{data["image/png"]}"></div>'
    return _text(data.get("text/plain", ""))


def _text(text: str) -> str:
    return f'<div class="output"><pre>{html.escape(_ANSI.sub("", text))}</pre></div>' if text else ""


def _figure(figure: dict[str, Any]) -> str:
    """Return a figure as data; its template is one of the page's."""
    layout = {name: value for name, value in figure["layout"].items() if name != "template"}
    content = json.dumps({"data": figure["data"], "layout": layout}, separators=(",", ":")).replace("</", "<\\/")
    height = layout.get("height", 450)
    return (
        f'<div class="figure"><div class="plot" style="min-height: {height}px">'
        f'<script type="application/json">{content}</script></div></div>'
    )


def write_scripts(folder: Path) -> None:
    """Write plotly.js of the installed package, and the templates of cmonlab's themes."""
    (folder / "plotly.min.js").write_text(get_plotlyjs(), encoding="utf-8")
    themes = {theme: template(theme).to_plotly_json() for theme in ("light", "dark")}
    text = json.dumps(themes, cls=PlotlyJSONEncoder)
    (folder / "templates.js").write_text(f"window.cmonlabTemplates = {text};\n", encoding="utf-8")
