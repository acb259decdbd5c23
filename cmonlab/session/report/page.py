"""One self-contained HTML page that shows runs: their figures, tables and notes.

The page loads nothing from elsewhere: it contains plotly.js once, and a content security policy forbids all requests.
"""

from __future__ import annotations

import errno
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from string import Template

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from plotly.offline import get_plotlyjs

from cmonlab import plot
from cmonlab.errors import SessionError
from cmonlab.schema import TABLES
from cmonlab.system.files import write_text

MOST_ROWS = 500
# Numbers that identify something: they get no separators of thousands.
NAMES = frozenset({"journey", "sport", "dport", "seq", "ident", "tcp_flags", "netns", "ifindex", "master", "peer"})
# Columns of sentences, whose lines are wrapped.
PROSE = frozenset({"note", "why"})

#: errno → what the user can do.
FIXES = {
    errno.ENOSPC: "free space on that file system, or write elsewhere",
    errno.EDQUOT: "free some of your quota, or write elsewhere",
    errno.EACCES: "write to a directory that is yours, or change its permissions",
    errno.EPERM: "write to a directory that is yours, or change its permissions",
    errno.EROFS: "write to a file system that is not read-only",
    errno.EISDIR: "name a file, not a directory",
    errno.ENOTDIR: "name a path whose parents are directories",
    errno.EEXIST: "name a path whose parents are directories",
}


@dataclass(frozen=True)
class RunReport:
    """One run in the report.

    Attributes
    ----------
    title : str
        Heading, for instance ``"memcached"``.
    summary : list of (str, str)
        Labels and values. ``kernel`` and ``machine`` are also shown at the top of the page if all runs share them.
    figures : dict of str to Figure
        Headings and figures, in the order of the page.
    tables : dict of str to DataFrame
        Headings and tables. If the heading is a table of `cmonlab.schema`, the columns have their meaning as tooltip.
    notes : list of str
        Paragraphs, for instance on the limits of this run.
    """

    title: str
    summary: list[tuple[str, str]] = field(default_factory=list)
    figures: dict[str, go.Figure] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def write_report(path: Path, sections: Sequence[RunReport], *, title: str = "cmonlab report") -> Path:
    """Write runs as one HTML file, atomically.

    Parameters
    ----------
    path : Path
        The file; missing directories are created, an older file is replaced.
    sections : sequence of RunReport
        The runs, in the order of the page.
    title : str
        Heading of the page.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    SessionError
        The file cannot be written: the disk is full, permission is missing, and so on.
    """
    path = Path(path)
    page = _page(title, sections, datetime.now().astimezone())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, page)
    except OSError as error:
        fix = FIXES.get(error.errno or 0, "write the report to another path")
        raise SessionError(f"cannot write the report {path}", why=error.strerror or str(error), fix=fix) from error
    return path


def _page(title: str, sections: Sequence[RunReport], now: datetime) -> str:
    themes = {theme: plot.template(theme).to_plotly_json() for theme in ("light", "dark")}
    runs = [_run(run, number) for number, run in enumerate(sections, 1)]
    body = _header(title, sections, now) + _contents(sections)
    body += f"<main id='runs'>{''.join(runs) or '<p>This report holds no run.</p>'}</main>"
    return _PAGE.substitute(
        title=_text(title),
        style=_STYLE,
        body=body,
        plotly=get_plotlyjs() if any(s.figures for s in sections) else "",
        themes=_json(json.dumps(themes)),
        script=_SCRIPT,
    )


def _header(title: str, sections: Sequence[RunReport], now: datetime) -> str:
    facts = [(label, value) for label, value in _shared(sections) if label.lower() in ("kernel", "machine")]
    facts.append(("written", now.strftime("%Y-%m-%d %H:%M %Z")))
    return f"<header><h1>{_text(title)}</h1>{_pairs(facts)}</header>"


def _shared(sections: Sequence[RunReport]) -> list[tuple[str, str]]:
    """Return the pairs of label and value that all runs have in common."""
    first, *others = [[(str(a), str(b)) for a, b in run.summary] for run in sections] or [[]]
    return [pair for pair in first if all(pair in other for other in others)]


def _contents(sections: Sequence[RunReport]) -> str:
    """Return the table of contents."""
    if not sections:
        return ""
    items = []
    for number, run in enumerate(sections, 1):
        links = [(f"run-{number}-figure-{i}", name) for i, name in enumerate(run.figures, 1)]
        links += [(f"run-{number}-table-{i}", f"{name} (table)") for i, name in enumerate(run.tables, 1)]
        inner = "".join(f"<li><a href='#{anchor}'>{_text(name)}</a></li>" for anchor, name in links)
        items.append(f"<li><a href='#run-{number}'>{_text(run.title)}</a>{f'<ul>{inner}</ul>' if inner else ''}</li>")
    return f"<nav aria-label='Contents'><h2>Contents</h2><ol>{''.join(items)}</ol></nav>"


def _run(run: RunReport, number: int) -> str:
    """Return the section of one run."""
    anchor = f"run-{number}"
    parts = [f"<section id='{anchor}' aria-labelledby='{anchor}-title'><h2 id='{anchor}-title'>{_text(run.title)}</h2>"]
    parts.append(_pairs(run.summary))
    if run.notes:
        notes = "".join(f"<li>{_text(note)}</li>" for note in run.notes)
        parts.append(f"<aside aria-label='Notes'><ul>{notes}</ul></aside>")
    parts += [_figure(f"{anchor}-figure-{i}", *item) for i, item in enumerate(run.figures.items(), 1)]
    parts += [_table(f"{anchor}-table-{i}", *item) for i, item in enumerate(run.tables.items(), 1)]
    return "".join(parts) + "</section>"


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<div><dt>{_text(label)}</dt><dd>{_text(value)}</dd></div>" for label, value in pairs)
    return f"<dl>{rows}</dl>" if rows else ""


def _figure(anchor: str, name: str, figure: go.Figure) -> str:
    """Return a figure: an element to draw in, and its data for the script at the end of the page."""
    height = int(figure.layout.height or 450)
    return (
        f"<figure id='{anchor}'><figcaption><h3>{_text(name)}</h3></figcaption>"
        f"<div class='plot' role='img' aria-label='{_text(name)}' style='height:{height}px'></div>"
        f"<script type='application/json'>{_json(figure.to_json())}</script></figure>"
    )


def _table(anchor: str, name: str, table: pd.DataFrame) -> str:
    """Return a table; numbers are aligned right, the tooltip of each heading explains its column."""
    meaning = {column.name: column.meaning for column in TABLES.get(name, ())}
    kinds = [_kind(table[column]) for column in table.columns]
    head = "".join(
        f"<th scope='col'{kind} title='{_text(meaning.get(column, ''))}'>{_text(column)}</th>"
        for column, kind in zip(map(str, table.columns), kinds, strict=True)
    )
    shown = table.head(MOST_ROWS).astype(object)
    texts = shown.apply(lambda column: column.map(str if column.name in NAMES else _cell))
    rows = (
        "".join(f"<td{kind}>{_text(cell)}</td>" for cell, kind in zip(row, kinds, strict=True))
        for row in texts.itertuples(index=False, name=None)
    )
    marks = [" class='failed'" if failed else "" for failed in _failed(shown)]
    body = "".join(f"<tr{mark}>{row}</tr>" for mark, row in zip(marks, rows, strict=True))
    size = f"{len(table):,} row{'' if len(table) == 1 else 's'}"
    if len(table) > MOST_ROWS:
        size = f"the first {MOST_ROWS:,} of {size}"
    return (
        f"<div class='table' id='{anchor}' role='region' tabindex='0' aria-label='{_text(name)}'><table>"
        f"<caption><h3>{_text(name)}</h3> {size}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
        "</table></div>"
    )


def _kind(column: pd.Series) -> str:
    """Return the class attribute of a column's cells."""
    if is_numeric_dtype(column.dtype) and not is_bool_dtype(column.dtype):
        return " class='number'"
    return " class='prose'" if column.name in PROSE else ""


def _failed(table: pd.DataFrame) -> list[bool]:
    """Return for each row whether it is a failed check: its column ``pass`` is false."""
    return [not passed for passed in table["pass"]] if "pass" in table else [False] * len(table)


def _cell(value: object) -> str:
    """Return the text of a cell: counts with separators of thousands, other numbers with four digits or more."""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if not np.isfinite(number):
            return "–"
        return f"{number:,.1f}" if abs(number) >= 1000 else f"{number:.4g}"
    return str(value)


def _text(value: object) -> str:
    """Return text escaped for HTML elements and attributes."""
    return html.escape(str(value), quote=True)


def _json(text: str) -> str:
    """Return JSON for a script element, escaped so that no text in it can end the element."""
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; \
style-src 'unsafe-inline'; img-src data: blob:; form-action 'none'; base-uri 'none'">
<title>$title</title>
<style>$style</style>
</head>
<body>
<a class="skip" href="#runs">Skip to the runs</a>
$body
<noscript><p>The figures need JavaScript; the tables hold their numbers.</p></noscript>
<script id="themes" type="application/json">$themes</script>
<script>$plotly</script>
<script>$script</script>
</body>
</html>
""")

_STYLE = """
:root { --paper: #fff; --ink: #1c2330; --quiet: #59636f; --line: #dde2e9; --band: #f6f8fa; --link: #00609a;
  --failed: #b3123a }
@media screen and (prefers-color-scheme: dark) {
  :root { --paper: #14181f; --ink: #e8ecf2; --quiet: #a3adba; --line: #2a313c; --band: #1b2029; --link: #6cc0f0;
    --failed: #ff7d92 }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem; max-width: 80rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif }
a { color: var(--link) }
h1, h2, h3 { line-height: 1.25; overflow-wrap: anywhere }
h1 { font-size: 1.7rem; margin: 0 0 .5rem }
h2 { font-size: 1.35rem; margin: 0 0 .75rem }
h3 { font-size: 1.05rem; margin: 0; display: inline }
header, section { border-bottom: 1px solid var(--line); padding-bottom: 1.25rem; margin-bottom: 1.5rem }
nav { margin-bottom: 2rem } nav h2 { font-size: 1.05rem; margin-bottom: .25rem }
nav ol { margin: 0; padding-left: 1.5rem } nav ul { padding: 0; display: flex; flex-wrap: wrap; gap: 0 1.25rem }
nav ul li { list-style: none }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .6rem 1.5rem; margin: 0 0 1rem }
dt { color: var(--quiet); font-size: .85rem } dd { margin: 0; overflow-wrap: anywhere }
aside { border-left: 4px solid #d55e00; background: var(--band); padding: .5rem 1rem; margin: 1rem 0 }
aside ul { margin: 0; padding-left: 1rem }
figure { margin: 2rem 0 } .plot { width: 100%; min-width: 0; margin-top: .25rem }
.table { overflow-x: auto; margin: 2rem 0; max-height: 40rem; overflow-y: auto }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums }
caption { text-align: left; color: var(--quiet); padding-bottom: .4rem; white-space: nowrap }
caption h3 { color: var(--ink) }
th, td { padding: .3rem .75rem; text-align: left; white-space: nowrap; border-bottom: 1px solid var(--line) }
thead th { position: sticky; top: 0; background: var(--band) } th[title]:not([title=""]) { cursor: help }
td.prose { white-space: normal; min-width: 24rem; max-width: 44rem }
.number { text-align: right } .failed td { color: var(--failed); font-weight: 600 }
.skip { position: absolute; left: -999rem } .skip:focus { position: static }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px }
@media print {
  body { max-width: none; padding: 0; font-size: 11px } nav, .skip, .modebar { display: none !important }
  section { break-before: page } figure { break-inside: avoid } h2, h3 { break-after: avoid }
  .table { overflow: visible; max-height: none } thead th { position: static }
  th, td { white-space: normal; padding: .15rem .4rem }
}
"""

# Figures follow the theme of the page; in print they are light and as wide as the paper.
_SCRIPT = """
"use strict";
const themes = JSON.parse(document.getElementById("themes").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)"), print = matchMedia("print");
const theme = () => themes[dark.matches && !print.matches ? "dark" : "light"];
const plots = [...document.querySelectorAll(".plot")];
for (const place of plots) {
  const figure = JSON.parse(place.nextElementSibling.textContent);
  figure.layout.template = theme();
  Plotly.newPlot(place, figure.data, figure.layout,
    { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "sendChartToCloud"] });
}
const restyle = () => plots.forEach(place => Plotly.relayout(place, { template: theme(), autosize: true }));
dark.addEventListener("change", restyle);
print.addEventListener("change", restyle);
"""
