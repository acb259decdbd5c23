"""The stylesheet of the dashboard without its figures, one for light and dark."""

from __future__ import annotations

from cmonlab.plot import template
from cmonlab.plot.style import WARNING

_SHEET = """
.cmonlab-dashboard { --cm-paper: PAPER; --cm-ink: INK; --cm-quiet: QUIET; --cm-line: LINE; --cm-field: FIELD;
  --jp-ui-font-color0: INK; --jp-ui-font-color1: INK; --jp-content-font-color1: INK; --jp-widgets-color: INK;
  --jp-widgets-label-color: INK; --jp-widgets-input-color: INK; --jp-widgets-input-background-color: FIELD;
  --jp-widgets-input-border-color: LINE; --jp-layout-color1: PAPER; --jp-layout-color2: FIELD;
  --jp-widgets-readout-color: INK;
  --jp-border-color1: LINE; --jp-border-color2: LINE; --jp-cell-editor-background: FIELD;
  background: PAPER; color: INK; padding: 8px 12px; box-sizing: border-box; max-width: 100%;
  font: 13px/1.45 system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'DejaVu Sans', sans-serif; }
.cmonlab-dashboard .jupyter-button, .cmonlab-dashboard .widget-button { background: FIELD; color: INK;
  border: 1px solid LINE; }
.cmonlab-dashboard .jupyter-button.mod-active, .cmonlab-dashboard .widget-toggle-button.mod-active {
  background: #0072B2; color: #fff; border-color: #0072B2; }
.cmonlab-dashboard :is(button, select, input, textarea):focus-visible { outline: 2px solid #56B4E9;
  outline-offset: 1px; }
.cmonlab-dashboard select, .cmonlab-dashboard input, .cmonlab-dashboard textarea { background: FIELD; color: INK;
  border-color: LINE; }
.cmonlab-dashboard .widget-html-content, .cmonlab-dashboard .widget-label { color: INK; }
.cmonlab-dashboard .jupyter-widget-Collapse, .cmonlab-dashboard .lm-Widget.jupyter-widget-Collapse-header,
.cmonlab-dashboard .jupyter-widget-Collapse-contents { background: PAPER; color: INK; border-color: LINE; }
.cmonlab-status-bar { display: flex; flex-wrap: wrap; gap: 6px 22px; align-items: baseline; padding: 4px 0 8px;
  border-bottom: 1px solid LINE; }
.cmonlab-group { display: flex; flex-wrap: wrap; gap: 2px 16px; align-items: baseline; }
.cmonlab-group-title { font-weight: 600; color: QUIET; text-transform: uppercase; font-size: 11px;
  letter-spacing: .05em; }
.cmonlab-item { white-space: nowrap; } .cmonlab-label { color: QUIET; margin-right: .4em; }
.cmonlab-value { font-variant-numeric: tabular-nums; font-weight: 600; }
.cmonlab-item.cmonlab-warning .cmonlab-value { color: WARNING; }
.cmonlab-item.cmonlab-warning .cmonlab-value::before { content: "\\26A0  "; }
.cmonlab-frame { margin-left: auto; color: QUIET; font-size: 11px; font-variant-numeric: tabular-nums; }
.cmonlab-message { min-height: 1.2em; } .cmonlab-message pre { margin: 0; white-space: pre-wrap; font: inherit; }
.cmonlab-error { border-left: 3px solid WARNING; padding-left: 8px; }
.cmonlab-note { color: QUIET; margin: 4px 0; line-height: 1.4; }
.cmonlab-table { border-collapse: collapse; font-size: 12px; } .cmonlab-table caption { text-align: left;
  color: QUIET; }
.cmonlab-table :is(td, th) { padding: 2px 10px 2px 0; text-align: left; border-bottom: 1px solid LINE; }
.cmonlab-yaml textarea { font-family: ui-monospace, 'DejaVu Sans Mono', monospace; font-size: 12px; }
"""


def stylesheet(theme: str) -> str:
    """Return the styles of a theme as an HTML element ``<style>``.

    Raises
    ------
    UnknownName
        There is no such theme.
    """
    layout = template(theme).layout
    colors = {
        "PAPER": layout.paper_bgcolor,
        "INK": layout.font.color,
        "QUIET": layout.xaxis.title.font.color,
        "LINE": layout.xaxis.linecolor,
        "FIELD": layout.xaxis.gridcolor if theme == "dark" else "#f6f8fa",
        "WARNING": WARNING,
    }
    text = _SHEET
    for name, color in colors.items():
        text = text.replace(name, color)
    return f"<style>{text}</style>"
