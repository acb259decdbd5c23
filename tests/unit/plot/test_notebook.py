"""Figures in notebooks: HTML next to plotly's JSON, with plotly.js once, and only where the user chose nothing else."""

import sys
from types import SimpleNamespace

import plotly.graph_objects as go
import plotly.io as pio
import pytest
from plotly.offline import get_plotlyjs_version

from cmonlab.plot import notebook

LIBRARY = f"* plotly.js v{get_plotlyjs_version()}"
JSON, HTML = "application/vnd.plotly.v1+json", "text/html"


class Kernel:
    """A kernel that runs cells: the request of a cell has what JupyterLab sends."""

    def __init__(self):
        self.runs = 0
        self.request = {}

    def run(self, cell=None, figures=1):
        """Run a cell that shows figures; return their outputs."""
        self.runs += 1
        self.request = {"header": {"msg_id": str(self.runs)}, "metadata": {"cellId": cell} if cell else {}}
        return [go.Figure(go.Bar(x=[1], y=["a"]))._repr_mimebundle_() for _ in range(figures)]

    def get_parent(self):
        return self.request


@pytest.fixture
def kernel(monkeypatch):
    """A kernel in which plotly has chosen its renderer."""
    before, kernel = pio.renderers.default, Kernel()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: kernel))
    monkeypatch.delenv("PLOTLY_RENDERER", raising=False)
    pio.renderers.default = "plotly_mimetype"
    yield kernel
    pio.renderers.default = before


def carried(outputs):
    return [LIBRARY in output[HTML] for output in outputs]


@pytest.mark.parametrize("default", ["plotly_mimetype", "vscode"])
def test_figures_have_html_next_to_json_and_plotly_js_once(kernel, default):
    pio.renderers.default = default
    notebook.show_in_exports()
    outputs = [*kernel.run("a", figures=2), *kernel.run("b")]
    assert [sorted(output) for output in outputs] == [[JSON, HTML]] * 3
    assert carried(outputs) == [True, False, False]
    assert not any("<script src=" in output[HTML] for output in outputs)


def test_plotly_js_is_written_again_when_its_cell_runs_again(kernel):
    notebook.show_in_exports()
    assert carried(kernel.run("a", figures=2)) == [True, False]
    assert carried(kernel.run("b")) == [False]
    assert carried(kernel.run("a", figures=2)) == [True, False]


def test_plotly_js_is_written_once_if_cells_have_no_id(kernel):
    notebook.show_in_exports()
    assert [carried(kernel.run()) for _ in range(3)] == [[True], [False], [False]]


@pytest.mark.parametrize("default", ["png", "browser", "notebook", "plotly_mimetype+notebook", ""])
def test_a_renderer_that_the_user_chose_stays(kernel, default):
    pio.renderers.default = default
    notebook.show_in_exports()
    assert pio.renderers.default == default


def test_a_renderer_from_the_environment_stays(kernel, monkeypatch):
    monkeypatch.setenv("PLOTLY_RENDERER", "plotly_mimetype")
    notebook.show_in_exports()
    assert pio.renderers.default == "plotly_mimetype"


@pytest.mark.parametrize("ipython", [None, SimpleNamespace(get_ipython=lambda: None)])
def test_nothing_changes_outside_ipython(kernel, monkeypatch, ipython):
    if ipython is None:
        monkeypatch.delitem(sys.modules, "IPython")
    else:
        monkeypatch.setitem(sys.modules, "IPython", ipython)
    notebook.show_in_exports()
    assert pio.renderers.default == "plotly_mimetype"
