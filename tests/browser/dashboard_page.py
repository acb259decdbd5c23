"""Reads the dashboard in a page, and clicks on it."""

from __future__ import annotations

import re

_READY_MS = 180_000  # a busy machine needs long for the kernel, the libraries and the first window
_PLACE = """([pane, kind, a, b]) => {
    const figure = document.querySelector(`.cmonlab-${pane} .js-plotly-plot`);
    const { xaxis, yaxis } = figure._fullLayout, { left, top } = figure.getBoundingClientRect();
    const at = (x, y) => ({ x: left + xaxis._offset + xaxis.c2p(x), y: top + yaxis._offset + yaxis.c2p(y) });
    if (kind === 'pair') return at(xaxis._categories.indexOf(b), yaxis._categories.indexOf(a));
    for (const trace of figure._fullData)
        for (const [n, data] of (trace.customdata ?? []).entries())
            if (data[0] === kind && data[1] === a && data[2].startsWith(b)) return at(trace.x[n], trace.y[n]);
}"""
_HOVERED = """([pane, kind, a, b]) => {
    const [point] = document.querySelector(`.cmonlab-${pane} .js-plotly-plot`)._hoverdata ?? [];
    const data = point && (kind === 'pair' ? ['pair', point.y, point.x] : point.customdata);
    return data && data[0] === kind && data[1] === a && data[2].startsWith(b);
}"""
_LINES = """() => [...document.querySelectorAll('.cmonlab-detail .js-plotly-plot')].map(figure => figure._fullData
    .filter(trace => trace.visible === true && trace.x?.length).map(trace => ({
        name: trace.name ?? '', x: Array.from(trace.x), y: Array.from(trace.y) })))"""


def ready(page):
    """Wait until a page shows a network; return it."""
    page.locator(".cmonlab-topology .js-plotly-plot .scatterlayer .points").first.wait_for(timeout=_READY_MS)
    return page


def frame(page) -> int:
    """Return the number of the frame that is shown."""
    return int(page.locator(".cmonlab-frame").inner_text().split()[1])


def status_item(page, name: str) -> float:
    """Return a value of the status bar, without its unit."""
    text = page.locator(f'.cmonlab-item[data-name="{name}"] .cmonlab-value').inner_text()
    return float(re.search(r"[\d.,]+", text)[0].replace(",", ""))


def click(page, pane: str, kind: str, a: str, b: str = "") -> None:
    """Click on an edge, a node or a pair; `b` may be the beginning of a name."""
    page.locator(f".cmonlab-{pane}").scroll_into_view_if_needed()
    at = page.evaluate(_PLACE, [pane, kind, a, b])
    assert at, f"there is no {kind} {a} {b}"
    page.mouse.move(at["x"] + 3, at["y"] + 3)
    page.mouse.move(at["x"], at["y"])
    # A click selects what plotly has found below the pointer, so wait until it has found the point.
    page.wait_for_function(_HOVERED, arg=[pane, kind, a, b])
    page.mouse.down()
    page.mouse.up()


def detail(page) -> str:
    """Return the text of the detail pane."""
    return page.locator(".cmonlab-detail").inner_text()


def lines(page) -> tuple[list[dict], list[dict]]:
    """Return the lines of the detail pane's series, and its segments: name, x and y of each."""
    series, segments = page.evaluate(_LINES)
    return series, segments
