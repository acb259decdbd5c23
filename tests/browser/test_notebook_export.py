"""nbconvert makes a page of a notebook, and the page shows the notebook's figures without a network."""

import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from plotly.offline import get_plotlyjs_version

from .lab import figures
from .servers import ROOT, wait_until
from .watch import open_pages

NOTEBOOK = ROOT / "notebooks/01_first_session.ipynb"
#: The start of plotly.js, of which a page needs one.
LIBRARY = f"* plotly.js v{get_plotlyjs_version()}"


@pytest.fixture(scope="module")
def executed():
    """The first notebook with its outputs."""
    content = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(content, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    return content


@pytest.fixture(scope="module")
def page(executed, browser, tmp_path_factory):
    """The exported notebook in a browser that has no network."""
    folder = tmp_path_factory.mktemp("export")
    nbformat.write(executed, folder / "executed.ipynb")
    subprocess.run([sys.executable, "-m", "nbconvert", "--to", "html", "executed.ipynb"], cwd=folder, check=True)
    visit = browser.new_context(viewport={"width": 1280, "height": 800}, offline=True)
    page = visit.new_page()
    page.log = []
    page.on("pageerror", lambda error: page.log.append(str(error)))
    open_pages.append(page)
    page.goto((folder / "executed.html").as_uri(), wait_until="domcontentloaded")
    yield page
    open_pages.remove(page)
    visit.close()


def _bundles(notebook):
    """Return the data of every output that is a figure."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return [one.data for one in outputs if "application/vnd.plotly.v1+json" in one.get("data", {})]


def test_each_figure_is_one_output_for_editors_and_for_pages(executed):
    bundles = _bundles(executed)
    assert len(bundles) == 3
    assert all("text/html" in bundle for bundle in bundles)


def test_the_notebook_has_plotly_js_once(executed):
    assert nbformat.writes(executed).count(LIBRARY) == 1
    assert LIBRARY in _bundles(executed)[0]["text/html"]


def test_the_page_draws_every_figure_without_a_network(executed, page):
    count = len(_bundles(executed))
    wait_until(lambda: [figure["drawn"] > 0 for figure in figures(page)] == [True] * count, 30, "figures are drawn")
    assert page.locator(".js-plotly-plot svg.main-svg").count() >= count
    assert all(figure["width"] > 400 and figure["height"] > 150 for figure in figures(page))
    assert page.log == []


def test_the_page_draws_the_data_of_the_notebook(executed, page):
    for drawn, bundle in zip(figures(page), _bundles(executed), strict=True):
        traces = bundle["application/vnd.plotly.v1+json"]["data"]
        assert [trace["type"] for trace in drawn["traces"]] == [trace["type"] for trace in traces]
