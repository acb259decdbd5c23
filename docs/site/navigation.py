"""The order of the site's pages. Its front page is README.md, as ``index.html``."""

from __future__ import annotations

import shutil

from sphinx.application import Sphinx

#: Pages of the reference that are written by hand, and one that is generated.
REFERENCE = ["index", "sessions", "tables", "recording", "rules", "labs", "studies", "plot", "exchange", "live"]
REFERENCE += ["errors", "internals"]
#: Caption in the sidebar → its pages; ``*`` stands for all names, in order.
PARTS = {
    "Notebooks": ["Overview <notebooks/README>", "notebooks/*"],
    "Guides": [f"docs/{name}" for name in ("rules", "points", "topologies", "comparing", "truth-and-cost")],
    "Datasets": ["datasets/*/card"],
    "Reference": [f"docs/reference/{name}" for name in REFERENCE],
    "Project": [
        *("docs/performance", "docs/kernels", "tests/guests/README"),
        *("ARCHITECTURE", "bpf/README", "CONTRIBUTING", "CHANGELOG"),
    ],
}
_TREE = "```{{toctree}}\n:hidden:\n:caption: {caption}\n:glob:\n\n{pages}\n```\n"


def _add_tree(app: Sphinx, docname: str, content: list[str]) -> None:
    """Add the list of pages to the front page, which as a file of the repository has none."""
    if docname == app.config.root_doc:
        trees = [_TREE.format(caption=caption, pages="\n".join(pages)) for caption, pages in PARTS.items()]
        content[0] = "\n\n".join([content[0], *trees])


def _rename_front_page(app: Sphinx) -> None:
    """Let the builder write the front page to ``index.html``, and link it there."""
    builder, front = app.builder, app.config.root_doc
    uri, path = builder.get_target_uri, builder.get_output_path

    def name(page: str) -> str:
        return "index" if page == front else page

    builder.get_target_uri = lambda docname, typ=None: uri(name(docname), typ)
    builder.get_output_path = lambda page: path(name(page))


def _copy_front_page(app: Sphinx, error: Exception | None) -> None:
    """Write the front page a second time, under its own name: the search knows no other."""
    if error is None:
        shutil.copy(app.outdir / "index.html", app.outdir / f"{app.config.root_doc}.html")


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("source-read", _add_tree)
    app.connect("builder-inited", _rename_front_page)
    app.connect("build-finished", _copy_front_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
