"""The generated part of the reference: the columns of all tables, and a page for each package of cmonlab.

The pages are written to ``docs/reference/tables.rst`` and ``docs/reference/internals/``, which git ignores. The other
pages of the reference are written by hand; they document the public names, as ``cm.name``.
"""

from __future__ import annotations

import pkgutil
import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from sphinx.application import Sphinx

import cmonlab
from cmonlab import schema

HERE = Path(__file__).resolve().parents[1] / "reference"
#: What a page that is written by hand documents.
_DOCUMENTED = re.compile(r"^\.\. auto(?:class|function|data):: cmonlab\.([\w.]+)$", re.MULTILINE)
#: What begins the page of the tables.
_SCHEMA = """
.. autofunction:: cmonlab.schema.describe

.. autofunction:: cmonlab.schema.columns

.. autoclass:: cmonlab.schema.Column

.. autodata:: cmonlab.schema.TABLES

.. autodata:: cmonlab.schema.SESSION_TABLES

.. autodata:: cmonlab.schema.ROWS
"""


def _heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n"


def _tables() -> str:
    """Return the page that documents the columns of every table."""
    parts = [
        _heading("Columns of the tables", "="),
        "Every table that cmonlab returns. Times are nanoseconds of ``CLOCK_MONOTONIC``, sizes are bytes.",
        _SCHEMA,
    ]
    for table in schema.TABLES:
        method = (
            f" Returned by :py:meth:`Session.{table}() <cmonlab.Session.{table}>`."
            if table in schema.SESSION_TABLES
            else ""
        )
        parts += [f".. _table-{table}:\n", _heading(table, "-"), _escaped(schema.ROWS[table]) + method + "\n"]
        parts.append(_columns(table))
    return "\n".join(parts)


def _columns(table: str) -> str:
    lines = [".. list-table::", "   :header-rows: 1", "   :class: columns", ""]
    rows = [("column", "dtype", "unit", "meaning")]
    rows += [(f"``{one.name}``", one.dtype, one.unit, _escaped(one.meaning)) for one in schema.TABLES[table]]
    for row in rows:
        lines += [f"   {'*' if place == 0 else ' '} - {cell}".rstrip() for place, cell in enumerate(row)]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return "".join("\\" + letter if letter in "\\*|_<>" else letter for letter in text)


def _packages(name: str) -> Iterator[str]:
    """Yield the names of a package and of the packages in it."""
    yield name
    for part in pkgutil.iter_modules(import_module(name).__path__, name + "."):
        if part.ispkg:
            yield from _packages(part.name)


def _modules(package: str) -> list[str]:
    """Return the names of the modules of a package, without its packages."""
    parts = pkgutil.iter_modules(import_module(package).__path__, package + ".")
    return [part.name for part in parts if not part.ispkg and not part.name.endswith("__main__")]


def _public() -> dict[str, dict[str, str]]:
    """Return what the pages written by hand document: module → name → its public name."""
    paths = [path for page in HERE.glob("*.rst") for path in _DOCUMENTED.findall(page.read_text())]
    names: dict[str, dict[str, str]] = {}
    for path in [*paths, *(f"plot.{name}" for name in cmonlab.plot.__all__)]:
        thing = pkgutil.resolve_name(f"cmonlab.{path}")
        home, _, name = f"cmonlab.{path}".rpartition(".")
        module = thing.__module__ if callable(thing) else home
        names.setdefault(module, {})[name] = f"cmonlab.{path}"
    return names


def _module(name: str, public: dict[str, dict[str, str]]) -> str:
    """Return what documents the definitions of a module; what is public has its place elsewhere."""
    if name == "cmonlab.plot":
        return "The functions that :doc:`/docs/reference/plot` documents, and what they share.\n"
    lines = [f".. automodule:: {name}", "   :members:", "   :ignore-module-all:"]
    if any(name in names.values() for names in public.values()):
        lines.append("   :no-index:")  # a public function has the same name, cmonlab.plot.overhead for instance
    if own := public.get(name):
        links = ", ".join(f":py:obj:`{short} <{full}>`" for short, full in own.items())
        lines += [f"   :exclude-members: {', '.join(own)}", "", f"Public: {links}"]
    return "\n".join(lines) + "\n"


def _package(name: str, public: dict[str, dict[str, str]]) -> str:
    """Return the page of a package: what it is for, its packages, its modules."""
    inner = [one for one in _packages(name) if one.rpartition(".")[0] == name]
    parts = [_heading(name.removeprefix("cmonlab.").replace(".", "/"), "="), _module(name, public)]
    if inner:
        parts.append("\n".join([".. toctree::", "", *(f"   {one.removeprefix('cmonlab.')}" for one in inner)]) + "\n")
    for module in _modules(name):
        parts += [_heading(module.rpartition(".")[2], "-"), _module(module, public)]
    return "\n".join(parts)


def _generate(app: Sphinx) -> None:
    """Write the generated pages."""
    (HERE / "tables.rst").write_text(_tables())  # read again below, like the pages that are written by hand
    shutil.rmtree(HERE / "internals", ignore_errors=True)
    (HERE / "internals").mkdir()
    public = _public()
    for name in _packages("cmonlab"):
        if name != "cmonlab":
            (HERE / "internals" / f"{name.removeprefix('cmonlab.')}.rst").write_text(_package(name, public))


def setup(app: Sphinx) -> dict:
    """Register with Sphinx."""
    app.connect("builder-inited", _generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
