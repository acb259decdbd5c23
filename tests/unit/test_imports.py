"""Imports go one way, and the heavy ones stay where they belong."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import cmonlab

PACKAGE = Path(cmonlab.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")

#: A module may import those of earlier lines, and its own folder. The last two lines
#: put everything together and may import along the line.
LAYERS = [
    {"bpfcall", "errors", "interrupt", "owner", "progress", "scratch"},
    {"probe", "schema"},
    {"kernel", "topology", "engine"},
    {"rules"},
    {"workload", "analysis"},
    {"plot"},
    {
        "session",
        "budgets",
        "facts",
        "cells",
        "columnar",
        "recording",
        "overhead",
        "rescue",
        "store",
        "extras",
        "manifest",
        "provenance",
        "report",
        "figures",
        "summary",
        "export",
        "artifact",
        "datasets",
        "caveats",
        "comparison",
        "experiment",
        "metrics",
        "agent",
        "transport",
    },
    {"calibrate", "cli", "demo", "magic", "page", "widgets"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
TOGETHER = len(LAYERS) - 2

#: Who may import what, whatever the layers say.
OWNERS = {
    "bcc": ("kernel/compiler.py",),
    "nats": ("transport/",),
    "ipywidgets": ("widgets/",),
    "anywidget": ("widgets/",),
    "tornado": ("page/",),
    "voila": ("page/",),
    "docker": ("topology/",),
    "scapy": ("calibrate/packets.py", "export/headers.py"),
    "pcapng": ("export/pcapng.py",),
    "perfetto": ("export/trace.py",),
    "nbclient": ("artifact/run.py",),
    "plotly": ("plot/", "widgets/", "report.py"),
}
#: Tables and figures know nothing of the live path.
OFFLINE = ("analysis/", "plot/", "engine/", "schema.py")
LIVE = {"bcc", "docker", "nats", "pyroute2"}


def _layer(path: Path) -> str:
    return path.parts[0].removesuffix(".py")


def _imports(path: Path) -> tuple[set[str], set[str]]:
    """Return (modules of cmonlab by first name, other packages) that a file imports anywhere."""
    own, foreign = set(), set()
    here = ["cmonlab", *path.with_suffix("").parts][:-1]
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{prefix}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first != "cmonlab":
                foreign.add(first)
            elif rest:
                own.add(rest[0])
    return own & RANK.keys(), foreign


def test_imports_are_read():
    assert _imports(Path("kernel/loader.py"))[0] >= {"errors", "kernel"}
    assert "numpy" in _imports(Path("kernel/loader.py"))[1]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_go_one_way(path):
    layer = _layer(path)
    if layer.startswith("__"):
        return
    assert layer in RANK, f"put {layer!r} into LAYERS in this file"
    rank = RANK[layer]
    upward = {
        name for name in _imports(path)[0] - {layer} if RANK[name] > rank or (RANK[name] == rank and rank < TOGETHER)
    }
    assert not upward, f"cmonlab/{path} must not import {sorted(upward)}"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_heavy_packages_have_one_owner(path):
    foreign = _imports(path)[1]
    for package, owners in OWNERS.items():
        if not str(path).startswith(owners):
            assert package not in foreign, f"only {', '.join(owners)} may import {package}"
    if str(path).startswith(OFFLINE):
        assert not foreign & LIVE


def _python(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, timeout=120)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_import_needs_none_of_the_live_path():
    loaded = _python("import sys, cmonlab; print(*sys.modules)").split()
    assert "cmonlab" in loaded
    assert not LIVE & set(loaded)


def test_offline_modules_load_where_the_live_packages_are_missing():
    names = [".".join(["cmonlab", *path.with_suffix("").parts]) for path in MODULES if str(path).startswith(OFFLINE)]
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
    folders = {_layer(path) for path in MODULES}
    extra = {name for name in vars(cmonlab) if not name.startswith("_")} - set(public) - folders - {"annotations"}
    assert not extra, f"name these in __all__ or make them private: {sorted(extra)}"
