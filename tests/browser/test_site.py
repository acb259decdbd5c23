"""A page of the documentation draws a notebook's figures without a network, in the reader's theme."""

import json
import shutil

import nbformat.v4 as nb
import plotly.graph_objects as go
import pytest

from cmonlab import plot
from tests.support.site import SITE, site_module

from .watch import open_pages

outputs = site_module("outputs")


@pytest.fixture
def page(browser, tmp_path):
    """A page with one figure, as the site has it, in a browser without a network."""
    figure = plot.light(go.Figure(go.Bar(x=[1, 2, 3], y=["a", "b", "c"], orientation="h"), layout={"title": "Title"}))
    bundle = {"application/vnd.plotly.v1+json": json.loads(figure.to_json())}
    cell = nb.new_code_cell("figure", outputs=[nb.new_output("display_data", data=bundle)])
    content = outputs.markdown(nb.new_notebook(cells=[cell])).split("```{raw} html\n")[1].rpartition("\n```")[0]
    outputs.write_scripts(tmp_path)
    shutil.copy(SITE / "static/figures.js", tmp_path)
    scripts = "".join(f'<script defer src="{name}"></script>' for name in outputs.SCRIPTS)
    (tmp_path / "page.html").write_text(f'<meta charset="utf-8">{scripts}<body data-theme="auto">{content}</body>')
    visit = browser.new_context(offline=True, color_scheme="light")
    page = visit.new_page()
    page.log = []
    page.on("pageerror", lambda error: page.log.append(str(error)))
    open_pages.append(page)
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector(".js-plotly-plot .point path")
    yield page
    open_pages.remove(page)
    visit.close()


def _text_color(page) -> str:
    return page.locator(".gtitle").evaluate("title => title.style.fill")


def test_figure_is_drawn_and_follows_the_theme(page):
    assert page.locator(".point path").count() == 3
    light = _text_color(page)
    page.evaluate("document.body.dataset.theme = 'dark'")
    page.wait_for_function("light => document.querySelector('.gtitle').style.fill !== light", arg=light)
    page.evaluate("document.body.dataset.theme = 'auto'")
    page.wait_for_function("light => document.querySelector('.gtitle').style.fill === light", arg=light)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("light => document.querySelector('.gtitle').style.fill !== light", arg=light)
    assert page.log == []
