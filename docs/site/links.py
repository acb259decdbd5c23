"""Links of pages to files of the package become links to the reference of that module."""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx.addnodes import download_reference, pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class LinkModules(SphinxTransform):
    """Replace what Markdown links to: a Python file or a folder of the package is a module of the reference."""

    default_priority = 200

    def apply(self, **kwargs) -> None:
        """Go through the links of one page."""
        for node in [*self.document.findall(download_reference), *self.document.findall(pending_xref)]:
            is_path = node.get("reftype") == "myst" and node.get("refdomain") is None
            if is_path and (name := self._module(node["reftarget"])):
                place = {"refdomain": "py", "reftype": "mod", "reftarget": name, "refdoc": self.env.docname}
                node.replace_self(pending_xref("", nodes.inline("", node.astext()), refexplicit=True, **place))

    def _module(self, target: str) -> str:
        """Return the name of the module that a link means, empty if it means something else."""
        _, path = self.env.relfn2path(target, self.env.docname)
        try:
            parts = Path(path).resolve().relative_to(self.env.srcdir).with_suffix("").parts
        except ValueError:
            return ""
        is_module = Path(path).is_dir() or path.endswith(".py")
        return ".".join(parts) if is_module and parts[:1] == ("cmonlab",) else ""


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.add_transform(LinkModules)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
