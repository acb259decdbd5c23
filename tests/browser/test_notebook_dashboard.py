"""The dashboard in a notebook: it is updated, reacts to clicks, and its cell can run again."""

import pytest

from .dashboard_page import click, detail, frame, ready
from .lab import errors, run_all
from .servers import wait_until, write_notebook
from .watch import complaints, visited

SHOW = (
    "import cmonlab as cm\nfrom tests.support.crowd import CrowdClient\n\n"
    "client = globals().get('client') or CrowdClient(6)\n"
    "dashboard = cm.dashboard(client)\n"
    "dashboard"
)


@pytest.fixture(scope="module")
def page(jupyterlab, browser):
    path = write_notebook(jupyterlab.directory / "dashboard.ipynb", SHOW)
    with visited(browser, jupyterlab.notebook(path.name)) as page:
        run_all(page)
        yield ready(page)


def _draws_frames(page) -> None:
    before = frame(page)
    wait_until(lambda: frame(page) >= before + 5, 30, "frames are drawn")


def test_the_dashboard_is_updated_below_its_cell(page):
    assert errors(page) == []
    _draws_frames(page)
    assert complaints(page) == []


def test_a_click_shows_details(page):
    click(page, "topology", "edge", "c3", "host:br-")
    wait_until(lambda: "c3 — host:br-" in detail(page), 20, "the pane is about the edge")


def test_running_the_cell_again_replaces_the_dashboard(page):
    run_all(page)
    untouched = page.locator(".cmonlab-detail", has_text="choose an edge")
    wait_until(lambda: untouched.count() == 1, 60, "a new dashboard without a selection")
    ready(page)
    assert errors(page) == []
    assert page.locator(".cmonlab-dashboard").count() == 1
    _draws_frames(page)
    assert complaints(page) == []
