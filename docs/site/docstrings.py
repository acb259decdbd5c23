"""How docstrings are shown: names that link, signatures, values and sections."""

from __future__ import annotations

import re
from typing import ClassVar

from docutils import nodes
from pydantic import BaseModel
from sphinx.addnodes import desc_addname, desc_annotation, pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.ext.napoleon import NumpyDocstring
from sphinx.transforms import SphinxTransform

import cmonlab

#: A table's name where a docstring or a page says how to get its columns.
_DESCRIBED = re.compile(r"""(?:cm\.|cmonlab\.)?schema\.describe\("(\w+)"\)""")
#: Modules that are public as a whole.
_PUBLIC_MODULES = [name for name, place in cmonlab._PLACES.items() if ":" not in place]


class Domain(PythonDomain):
    """Resolve `name` in a docstring to what is near or public, never to any name that happens to end so."""

    def find_obj(self, env, modname, classname, name, type, searchmode=0):
        """Return (full name, entry) of the definitions that a name can mean, at most one for a name in a docstring."""
        if searchmode == 0:
            return super().find_obj(env, modname, classname, name, type, searchmode)
        name = name.removesuffix("()")
        for full in (f"{modname}.{classname}.{name}", f"{modname}.{name}", name, f"cmonlab.{name}"):
            if full in self.objects:
                return [(full, self.objects[full])]
        owner, dot, member = name.partition(".")
        found = [one + dot + member for one in self._classes().get(owner, [])]
        return [(found[0], self.objects[found[0]])] if len(found) == 1 and found[0] in self.objects else []

    def _classes(self) -> dict[str, list[str]]:
        """Return the full names of classes by their last part."""
        if self._counted != len(self.objects):
            self._counted, self._by_name = len(self.objects), {}
            for full, entry in self.objects.items():
                if entry.objtype in ("class", "exception") and not entry.aliased:
                    self._by_name.setdefault(full.rpartition(".")[2], []).append(full)
        return self._by_name

    _counted = 0
    _by_name: ClassVar[dict[str, list[str]]] = {}


class Polish(SphinxTransform):
    """Show public names as ``cm.name`` and short values; link tables to their columns; fix words of napoleon."""

    default_priority = 500

    def apply(self, **kwargs) -> None:
        """Go through the definitions of one page."""
        for node in list(self.document.findall(desc_addname)):
            place = node.astext().rstrip(".")
            if place == "cmonlab" or place.removeprefix("cmonlab.") in _PUBLIC_MODULES:
                node.children[:] = [type(node.children[0])("cm" + place.removeprefix("cmonlab") + ".")]
            elif place.startswith("cmonlab."):
                node.parent.remove(node)
        for value in list(self.document.findall(desc_annotation)):
            text = value.astext()
            if text.startswith(" = ") and (len(text) > 80 or "Path(" in text):
                value.parent.remove(value)  # too long to read, or of the machine that builds the site
        for literal in list(self.document.findall(nodes.literal)):
            if (match := _DESCRIBED.fullmatch(literal.astext())) and isinstance(literal.parent, nodes.TextElement):
                place = {"refdomain": "std", "reftype": "ref", "reftarget": f"table-{match[1]}"}
                literal.replace_self(pending_xref("", literal.deepcopy(), refexplicit=True, **place))
        for name in self.document.findall(nodes.field_name):
            if name.astext() == "Variables":
                name.children[:] = [nodes.Text("Attributes")]
        for text in list(self.document.findall(nodes.Text)):
            if text == " -- ":  # between a parameter and its description
                text.parent.replace(text, nodes.Text(" – "))


def _read_attribute(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Keep napoleon from reading the first words of an attribute, up to a colon, as its type."""
    if what in ("attribute", "data", "property"):
        lines[:] = ["..", "", *NumpyDocstring(lines, app.config, app, "method", name, thing, options).lines()]


def _sign_model(app: Sphinx, what: str, name: str, thing: object, *rest: object) -> tuple[str, str] | None:
    """Return a short signature for a pydantic model: its fields with their defaults; the types follow below."""
    if what != "class" or not issubclass(thing, BaseModel):
        return None
    fields = [
        field if information.is_required() else f"{field}={information.get_default(call_default_factory=True)!r}"
        for field, information in thing.model_fields.items()
    ]
    return f"(*, {', '.join(fields)})", ""


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", _read_attribute, priority=400)
    app.connect("autodoc-process-signature", _sign_model)
    app.add_domain(Domain, override=True)
    app.add_transform(Polish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
