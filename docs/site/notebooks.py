"""Notebooks as pages: each is run when the site is built, and read as Markdown like any page."""

from __future__ import annotations

from logging import WARNING, getLogger
from pathlib import Path
from subprocess import DEVNULL

import nbformat
from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from outputs import SCRIPTS, markdown, write_scripts
from sphinx.application import Sphinx
from sphinx.util import logging

_LOG = logging.getLogger(__name__)


class NotebookParser(MystParser):
    """Run a notebook and read it as Markdown."""

    supported = ("ipynb",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Add the notebook's content to a document; a cell that fails is a warning."""
        env = document.settings.env
        notebook = nbformat.reads(inputstring, as_version=4)
        try:
            _run(notebook, Path(env.doc2path(env.docname)).parent)
        except CellExecutionError as error:
            _LOG.warning("a cell fails: %s: %s", error.ename, error.evalue, location=env.docname)
        super().parse(markdown(notebook), document)


def _run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run a notebook in place, in its folder; what it prints is in its outputs, not on the kernel's stderr."""
    getLogger("traitlets").setLevel(WARNING)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute(stderr=DEVNULL)


def _add_scripts(app: Sphinx, page: str, _template: str, context: dict, _document: nodes.document | None) -> None:
    """Let the pages of notebooks, and no others, load plotly.js."""
    if page.startswith("notebooks/"):
        for name in SCRIPTS:
            app.add_js_file(name, defer="defer")


def _write_scripts(app: Sphinx, error: Exception | None) -> None:
    if error is None:
        write_scripts(Path(app.outdir) / "_static")


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_source_suffix(".ipynb", "ipynb")
    app.add_source_parser(NotebookParser)
    app.connect("html-page-context", _add_scripts)
    app.connect("build-finished", _write_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
