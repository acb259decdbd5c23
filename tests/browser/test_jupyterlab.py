"""JupyterLab opens a notebook, runs it, and shows the figure that its table says."""

import json

import pytest

from cmonlab.session import Session
from tests.unit.events import bulk, manifest

from .lab import errors, figures, run_all

CELLS = ["import cmonlab as cm\nsession = cm.open('session')", "session.plot.breakdown()"]


@pytest.fixture(scope="module")
def session(jupyterlab):
    session = Session(bulk(2000), manifest())
    session.save(jupyterlab.directory / "session")
    return session


@pytest.fixture(scope="module")
def notebook(jupyterlab):
    cells = [
        {"cell_type": "code", "id": f"c{n}", "source": text, "metadata": {}, "outputs": [], "execution_count": None}
        for n, text in enumerate(CELLS)
    ]
    kernel = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    whole = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    (jupyterlab.directory / "first.ipynb").write_text(json.dumps(whole))
    return jupyterlab.notebook("first.ipynb")


def test_a_notebook_runs_and_its_figure_is_right(session, notebook, visit):
    page = visit(notebook)
    run_all(page)
    assert errors(page) == []
    page.locator(".js-plotly-plot .point path").first.wait_for()
    (figure,) = figures(page)
    assert figure["axes"][0].endswith("(µs)")
    table = session.breakdown()
    table = table[table["n"] > 0]
    passed = table["n"] / table.groupby("direction", observed=True)["n"].transform("max")
    want = sorted((table["mean_ns"] * passed / 1e3).tolist())
    assert figure["drawn"] == len(want) > 4
    assert sorted(trace["x"][0] for trace in figure["traces"]) == pytest.approx(want)
