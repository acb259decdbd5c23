"""JupyterLab runs the first notebook, and its figures show what its tables say."""

import shutil

import pytest

import cmonlab as cm

from .lab import errors, figures, run_all
from .servers import ROOT, wait_until
from .watch import visited

NOTEBOOK = ROOT / "notebooks/01_first_session.ipynb"


@pytest.fixture(scope="module")
def shown(jupyterlab, browser):
    """What the notebook's figures show, once it has run."""
    shutil.copy(NOTEBOOK, jupyterlab.directory)
    with visited(browser, jupyterlab.notebook(NOTEBOOK.name)) as page:
        run_all(page)
        assert errors(page) == []
        count = page.locator(".js-plotly-plot").count()
        wait_until(lambda: sum(figure["drawn"] > 0 for figure in figures(page)) == count > 0, 30, "figures are drawn")
        yield figures(page)


def test_the_breakdown_shows_its_table(shown):
    figure = shown[0]
    assert figure["width"] > 400 and figure["height"] > 150
    assert figure["axes"][0].endswith("(µs)")
    table = cm.datasets.load("memcached-bridge").breakdown()
    table = table[table["n"] > 0]
    passed = table["n"] / table.groupby("direction", observed=True)["n"].transform("max")
    want = sorted((table["mean_ns"] * passed / 1e3).tolist())
    assert figure["drawn"] == len(want) > 4
    assert sorted(trace["x"][0] for trace in figure["traces"]) == pytest.approx(want)


def test_each_figure_is_drawn_once(shown):
    assert len(shown) == 3


def test_the_comparison_shows_its_table(shown):
    figure = shown[-1]
    assert figure["axes"][1].endswith("(µs)")
    runs = cm.datasets.load_runs("network-modes")
    compared = cm.compare({mode: runs[mode] for mode in ("bridge", "vxlan")}, direction="c1 → c0").table()
    median = compared.set_index("statistic").loc["p50"]
    curve = figure["traces"][-1]
    assert curve["name"] == "vxlan"
    # The axis of percentiles is spread as a normal distribution spreads it: 0 is the median.
    assert curve["y"][curve["x"].index(0)] == pytest.approx(median["difference"] / 1e3, rel=0.01)
