"""Drives JupyterLab like a user."""

from __future__ import annotations

import re

IDLE = re.compile(r"Python 3 \(ipykernel\) \| Idle")
#: What a plotly figure shows, read from plotly.js.
_FIGURES = """() => [...document.querySelectorAll('.js-plotly-plot')].map(figure => ({
    width: figure.getBoundingClientRect().width,
    height: figure.getBoundingClientRect().height,
    axes: ['xaxis', 'yaxis'].map(name => figure._fullLayout[name]?.title?.text ?? ''),
    drawn: figure.querySelectorAll('.point path, .scatterlayer .js-line').length,
    traces: figure._fullData.map(trace => ({
        type: trace.type, name: trace.name, visible: trace.visible !== false,
        x: Array.from(trace.x ?? []), y: Array.from(trace.y ?? []),
    })),
}))"""


def run_all(page, timeout_s: float = 120.0) -> None:
    """Run all cells of the open notebook and wait until the kernel has nothing left to do."""
    from playwright.sync_api import expect

    idle = page.locator(".jp-StatusBar-TextItem", has_text=IDLE)
    # The toolbar says idle before the kernel is connected, but cells that run then are lost.
    expect(idle).to_be_visible(timeout=timeout_s * 1000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    expect(waiting(page)).to_have_count(0, timeout=timeout_s * 1000)
    expect(idle).to_be_visible(timeout=timeout_s * 1000)


def waiting(page):
    """Return the code cells that have not finished: their prompt has no number yet, or a star."""
    return page.locator(".jp-CodeCell .jp-InputPrompt").filter(has_text=re.compile(r"\[[ *\u00a0]?\]:"))


def errors(page) -> list[str]:
    """Return the errors that cells show."""
    return page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]').all_inner_texts()


def figures(page) -> list[dict]:
    """Return the plotly figures of a page: size, titles of axes, traces with their data, marks drawn."""
    return page.evaluate(_FIGURES)
