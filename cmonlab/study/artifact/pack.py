"""Pack a project folder into an artifact."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cmonlab.data.store.directory import EVENTS, MANIFEST
from cmonlab.errors import ArtifactError
from cmonlab.session.session import open as open_session
from cmonlab.system.files import check_absent

from . import archive, environment
from .frozen import freeze
from .results import declared, stored
from .sessions import tables

_LEFT_OUT = {"__pycache__", "node_modules"}

_README = """# {name}

An artifact of cmonlab: {sessions} session(s), {notebooks} notebook(s), {results} declared result(s).

To check whether it gives the same results on your machine (no root, no Docker and no eBPF needed):

    cmonlab artifact reproduce {name}.tar.gz

Add `--live` to also record new sessions, on a host where `cmonlab doctor` finds no problem. `cmonlab artifact check`
does the same and keeps no files; with `--no-notebooks` it executes nothing of the archive.

* `project/`: the packed files, unchanged.
* `expected.json`: the tables of each session, and the results that the notebooks declared (`cm.artifact.result`).
* `environment.json`, `requirements.txt`: the software it was made with; `pip install -r requirements.txt` installs it.
* `artifact.json`: size and sha256 of each file.
"""


def pack(directory: str | Path, out: str | Path | None = None, *, notify: Callable[[str], None] | None = None) -> Path:
    """Pack a project folder into one archive: sessions, notebooks, data, expected results and the software versions.

    Parameters
    ----------
    directory : str or Path
        The project folder, with sessions at any depth. Hidden files and caches are left out.
    out : str or Path, optional
        The archive, ``.tar.gz``; by default next to the folder, with its name.
    notify : callable, optional
        Called with a sentence (str) for each step.

    Returns
    -------
    Path
        The archive. The same content, packed with the same software, gives the same bytes.

    Raises
    ------
    ArtifactError
        The folder holds no session and no notebook, or files that cannot be packed.
    SessionError
        A session is damaged.
    ExportError
        The archive exists or cannot be written.

    Notes
    -----
    The archive stores the expected tables of each session, and the results that each notebook declared (`result`) when
    it was last saved. A notebook that packs its own folder need not be saved first: the results that its process has
    declared count.
    """
    say, directory = notify or (lambda sentence: None), Path(directory).resolve()
    out = Path(out) if out is not None else directory.with_name(f"{directory.name}.tar.gz")
    if not out.name.endswith(archive.SUFFIXES):
        raise ArtifactError(f"{out.name} cannot be the name of an artifact", fix="choose a name that ends in .tar.gz")
    check_absent(out)
    files = _files(directory)
    found = [path.parent for path in files.values() if path.name == MANIFEST and path.with_name(EVENTS).exists()]
    notebooks = [path for path in files.values() if path.suffix == ".ipynb"]
    if not found and not notebooks:
        fix = "name the folder with the sessions that `cmonlab record --out` or `session.save` wrote"
        raise ArtifactError(f"{directory} holds no session and no notebook", fix=fix)
    expected: dict[str, Any] = {"sessions": {}, "results": {}}
    manifests = []
    for path in found:
        say(f"session {path.relative_to(directory)}")
        session = open_session(path)
        manifests.append(session.manifest)
        expected["sessions"][_name(path, directory)] = {name: freeze(table) for name, table in tables(session).items()}
    expected["results"] = _results(directory, notebooks, say)
    locked = environment.lock(manifests)
    name = directory.name
    readme = _README.format(name=name, sessions=len(found), notebooks=len(notebooks), results=len(expected["results"]))
    content = {f"{archive.PROJECT}/{path}": file for path, file in files.items()} | {
        archive.README: readme.encode(),
        archive.ENVIRONMENT: _json(locked),
        archive.EXPECTED: _json(expected),
        archive.REQUIREMENTS: environment.requirements(locked).encode(),
    }
    archive.write(out, name, content)
    say(f"{len(found)} sessions, {len(notebooks)} notebooks, {len(expected['results'])} results, {len(files)} files")
    return out


def _json(content: object) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _name(path: Path, directory: Path) -> str:
    return path.relative_to(directory).as_posix()


def _files(directory: Path) -> dict[str, Path]:
    """Return the files to pack by their names."""
    if not directory.is_dir():
        raise ArtifactError(f"{directory} is not a folder", fix="name the folder of a project")
    found = {}
    for path in sorted(directory.rglob("*")):
        parts = path.relative_to(directory).parts
        if any(part.startswith(".") or part in _LEFT_OUT for part in parts):
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            why = "links and special files have another meaning on another machine"
            raise ArtifactError(
                f"{path} cannot be packed", why=why, fix="put the file itself there, or hide it (.name)"
            )
        if path.is_file():
            found["/".join(parts)] = path
    for name in found:
        if not archive.is_safe(name):
            raise ArtifactError(
                f"{name!r} cannot be packed", why="its name has another meaning on other systems", fix="rename it"
            )
    return found


def _results(directory: Path, notebooks: list[Path], say: Callable[[str], None]) -> dict[str, Any]:
    """Return the declared results by name: table, and the notebook that declares it."""
    every: dict[str, Any] = {}
    for path in notebooks:
        name = _name(path, directory)
        mine = _declared_in(path)
        if not mine:
            say(f"{name} declares no result: call `cm.artifact.result(name, table)` in it, run it and save it")
        for key, content in mine.items():
            other = every.setdefault(key, {"notebook": name, "table": content})
            if other["notebook"] != name:
                raise ArtifactError(f"{other['notebook']} and {name} both declare {key!r}", fix="rename one of the two")
    return dict(sorted(every.items()))


def _declared_in(path: Path) -> dict[str, Any]:
    """Return the results that a notebook's outputs declare, updated by this process if it runs that notebook."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
        mine = stored(notebook)
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is not a notebook", why=str(error), fix="repair it or remove it") from error
    return mine | {name: content for name, content in declared().items() if f'"{name}"' in code or f"'{name}'" in code}
