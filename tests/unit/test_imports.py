"""The rooms of the house: which folder may import which, and who may import the heavy packages.

`ROWS` is the order of the house. A room imports rooms of earlier rows only; rooms of one row do not know each other.
Within a room, its folders have an order of their own, in `INSIDE`. ARCHITECTURE.md's table is written from these lists:
``python -m tests.unit.test_imports``.
"""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import cmonlab
from tests.support import ROOT

PACKAGE = Path(cmonlab.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
PAGE = ROOT / "ARCHITECTURE.md"

#: A room imports rooms of earlier rows only; rooms of one row do not import each other.
ROWS = (
    ("errors", "progress"),
    ("system", "schema", "points", "filters"),
    ("rules", "lab", "data", "plot"),
    ("tracing", "session"),
    ("recording",),
    ("live", "study"),
    ("widgets",),
    ("page",),
    ("cli",),
)
#: The folders of a room in their order, by the same rule.
INSIDE = {
    "lab": (("lab",), ("lab/docker", "lab/workload"), ("lab/inventory", "lab/topology"), ("lab/topology/templates",)),
    "data": (("data/correlation", "data/store"), ("data/analysis",), ("data/tables",)),
    "tracing": (("tracing/kernel",), ("tracing",)),
    "session": (("session/export",), ("session",), ("session/report",)),
    "live": (("live/transport",), ("live/agent",)),
    "study": (
        ("study/testbed", "study/compare", "study/datasets"),
        ("study/calibrate", "study/experiment", "study/artifact"),
        ("study/calibrate/groups",),
    ),
}
#: The wings do not know each other: rooms that a room must not import, although they are in earlier rows.
APART = {
    "tracing": {"lab", "data", "plot"},
    "session": {"rules", "lab", "filters"},
}
#: These use the public names on purpose, as a user's notebook would: ``import cmonlab as cm``.
AS_USERS = {"study/datasets/recipes.py", "page/visit.py"}

#: Who may import what, whatever the rows say.
OWNERS = {
    "bcc": ("tracing/kernel/compiler.py",),
    "nats": ("live/transport/",),
    "ipywidgets": ("widgets/",),
    "anywidget": ("widgets/",),
    "tornado": ("page/",),
    "voila": ("page/",),
    "docker": ("lab/docker/",),
    "scapy": ("study/testbed/packets.py", "session/export/headers.py"),
    "pcapng": ("session/export/pcapng.py",),
    "perfetto": ("session/export/trace.py",),
    "nbclient": ("study/artifact/run.py",),
    "plotly": ("plot/", "widgets/", "session/report/page.py", "session/figures.py"),
}
#: Rooms that know nothing of tracing and of live systems: a saved session opens and is drawn without them.
OFFLINE = ("errors", "progress", "system", "schema", "points", "data", "plot", "session")
LIVE = {"bcc", "docker", "nats", "pyroute2"}


def _folder(module: Path) -> str:
    """Return the folder that a module is in, a lone file counts as one."""
    return module.parent.as_posix() if len(module.parts) > 1 else module.stem


def _room(folder: str) -> str:
    return folder.split("/")[0]


@cache
def _imports(module: Path) -> tuple[frozenset[str], frozenset[str], bool]:
    """Return the folders that a file imports anywhere, other packages, and whether it imports cmonlab as a whole."""
    own, foreign, whole = set(), set(), False
    here = ["cmonlab", *module.parts[:-1]]
    for node in ast.walk(ast.parse((PACKAGE / module).read_text())):
        if isinstance(node, ast.Import):
            names = [(alias.name.split("."), False) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            names = [([*base, *(node.module or "").split("."), alias.name], True) for alias in node.names]
        else:
            continue
        for parts, is_from in names:
            first, *rest = [part for part in parts if part]
            if first != "cmonlab":
                foreign.add(first)
            elif (folder := _folder_of(rest)) is not None:
                own.add(folder)
            elif not is_from:
                whole = True
    return frozenset(own), frozenset(foreign), whole


def _folder_of(names: list[str]) -> str | None:
    """Return the folder of what is imported by these names; None where that is the package itself."""
    for end in range(len(names), 0, -1):
        path = PACKAGE.joinpath(*names[:end])
        if path.is_dir():
            return "/".join(names[:end])
        if path.with_suffix(".py").is_file():
            return "/".join(names[: end - 1]) or names[0]
    return None


RANK = {room: rank for rank, row in enumerate(ROWS) for room in row}
RANK_INSIDE = {folder: rank for rows in INSIDE.values() for rank, row in enumerate(rows) for folder in row}


def _refused(folder: str, other: str) -> bool:
    """Return whether a file of a folder must not import another folder."""
    if folder == other:
        return False
    if _room(folder) != _room(other):
        return _room(other) in APART.get(_room(folder), ()) or RANK[_room(other)] >= RANK[_room(folder)]
    return RANK_INSIDE.get(other, -1) >= RANK_INSIDE.get(folder, -1)


def test_imports_are_read():
    own, foreign, whole = _imports(Path("tracing/active_rules.py"))
    assert own >= {"errors", "filters", "points", "rules", "tracing/kernel"} and "numpy" in foreign and not whole
    assert _imports(Path("study/datasets/recipes.py"))[2]


@pytest.mark.parametrize(
    "folder, other, refused",
    [
        ("errors", "system", True),
        ("system", "errors", False),
        ("data/tables", "data/analysis", False),
        ("data/analysis", "data/tables", True),
        ("data/correlation", "data/store", True),
        ("data/analysis", "lab/docker", True),
        ("tracing", "rules", False),
        ("session", "tracing", True),
        ("session/report", "rules", True),
        ("tracing/kernel", "lab", True),
        ("lab/docker", "lab", False),
    ],
)
def test_the_rule_refuses_what_it_should(folder, other, refused):
    assert _refused(folder, other) == refused


def test_every_folder_is_a_room():
    folders = {_folder(module) for module in MODULES} - {"__main__"}
    assert {_room(folder) for folder in folders} == RANK.keys(), "put it into ROWS in this file"
    inner = {folder for folder in folders if _room(folder) in INSIDE}
    assert inner - RANK_INSIDE.keys() <= {"data", "live", "study"}, "put it into INSIDE in this file"
    assert RANK_INSIDE.keys() <= folders, "INSIDE names a folder that is not there"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_go_one_way(module):
    folder = _folder(module)
    if folder == "__main__":
        return
    own, _, whole = _imports(module)
    against = sorted(other for other in own if _refused(folder, other))
    assert not against, f"cmonlab/{module} must not import {', '.join(against)}"
    if whole and module.name != "packaged.py":
        assert module.as_posix() in AS_USERS, f"cmonlab/{module} must not import the package as a whole"


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_heavy_packages_have_one_owner(module):
    foreign = _imports(module)[1]
    for package, owners in OWNERS.items():
        if not module.as_posix().startswith(owners):
            assert package not in foreign, f"only {', '.join(owners)} may import {package}"
    if _room(_folder(module)) in OFFLINE:
        assert not foreign & LIVE


def _python(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_import_needs_none_of_the_live_path():
    loaded = _python("import sys, cmonlab; print(*sys.modules)").split()
    assert "cmonlab" in loaded
    assert not (LIVE | {"numpy", "pandas", "plotly"}) & set(loaded)


@pytest.mark.parametrize("room", OFFLINE)
def test_offline_rooms_load_where_the_live_packages_are_missing(room):
    names = [".".join(["cmonlab", *path.with_suffix("").parts]) for path in MODULES if _room(_folder(path)) == room]
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in sorted(LIVE))
    out = _python(
        f"import sys, importlib; {blocked}\nfor n in {names}: importlib.import_module(n)\nprint(len({names}))"
    )
    assert int(out) == len(names) > 0


def test_public_names_exist_and_are_the_only_ones():
    public = cmonlab.__all__
    assert len(public) == len(set(public))
    for name in public:
        assert not name.startswith("_")
        assert getattr(cmonlab, name) is not None
    extra = {name for name in vars(cmonlab) if not name.startswith("_")} - set(public) - RANK.keys() - {"annotations"}
    assert not extra, f"name these in __all__ or make them private: {sorted(extra)}"


# ---- ARCHITECTURE.md ---------------------------------------------------------


def _what(folder: str) -> str:
    """Return the first sentence of a room's docstring."""
    path = PACKAGE / folder
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    line = (ast.get_docstring(ast.parse(source.read_text())) or "").split("\n\n")[0].replace("\n", " ")
    return re.match(r".*?[.](?=\s|$)", line + " ")[0].strip().rstrip(".")


def table() -> str:
    """Return the table of rooms, row by row; the rooms above may be imported by those below."""
    lines = ["| row | room | what is in it |", "|---|---|---|"]
    for number, row in enumerate(ROWS, 1):
        for room in row:
            lines.append(f"| {number} | **`{room}`** | {_what(room)} |")
            for inner in INSIDE.get(room, ()):
                lines += [f"| | `{folder}` | {_what(folder)} |" for folder in inner if folder != room]
    return "\n".join(lines)


_MARKS = ("<!-- rooms: written by tests/unit/test_imports.py -->", "<!-- rooms: end -->")


def written(page: str) -> str:
    """Return the page with the table as it is now."""
    before, _, rest = page.partition(_MARKS[0])
    _, _, after = rest.partition(_MARKS[1])
    return f"{before}{_MARKS[0]}\n{table()}\n{_MARKS[1]}{after}"


def test_the_table_of_rooms_is_as_the_rule_says():
    assert written(PAGE.read_text()) == PAGE.read_text(), "run python -m tests.unit.test_imports"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
