"""Check whether an artifact gives the same results here as where it was packed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cmonlab.errors import ArtifactError, CmonlabError
from cmonlab.session.session import open as open_session
from cmonlab.system.files import write_text
from cmonlab.system.tempdirs import prefix

from . import archive, environment
from .difference import differences
from .frozen import freeze, thaw
from .report import AGREES, DIFFERS, FAILED, NOTED, Report
from .rerun import Rerun
from .results import RUN
from .sessions import tables

TIMEOUT_S = 1800.0
REPORT_TEXT, REPORT_JSON, RERUN = "report.txt", "report.json", "reproduced"
Notify = Callable[[str], None]


def check(
    path: str | Path,
    *,
    notebooks: bool = True,
    live: bool = False,
    timeout_s: float = TIMEOUT_S,
    notify: Notify | None = None,
) -> Report:
    """Verify an artifact, compute its sessions' tables again, run its notebooks again, and compare.

    Parameters
    ----------
    path : str or Path
        The archive, or a folder that it was unpacked to.
    notebooks : bool
        Run the notebooks. Otherwise, and if a file has changed, nothing of the archive is executed.
    live : bool
        Also run each notebook with CMONLAB_LIVE=1, and report how its new recordings differ.
    timeout_s : float
        Time limit for each cell of a notebook, in seconds.
    notify : callable, optional
        Called with a sentence (str) for each step.

    Returns
    -------
    Report

    Raises
    ------
    ArtifactError
        The path is not an artifact, is too damaged to be read, or is unsafe to unpack.
    """
    with _unpacked(Path(path)) as root, tempfile.TemporaryDirectory(prefix=prefix()) as kept:
        rerun = Rerun(live, timeout_s, Path(kept)) if notebooks else None
        return _examine(root, _digest(Path(path)), rerun, notify)


def reproduce(
    path: str | Path,
    out: str | Path | None = None,
    *,
    live: bool = False,
    timeout_s: float = TIMEOUT_S,
    notify: Notify | None = None,
) -> Report:
    """Unpack an artifact, check it completely, and keep the outputs.

    Parameters
    ----------
    path : str or Path
        The archive.
    out : str or Path, optional
        A new folder; by default in the current directory, with the artifact's name. It will hold the executed
        notebooks and their sessions in ``reproduced/``, report.txt and report.json.
    live : bool
        As in `check`.
    timeout_s : float
        As in `check`.
    notify : callable, optional
        As in `check`.

    Returns
    -------
    Report

    Raises
    ------
    ArtifactError
        As in `check`, or the folder exists.
    """
    path = Path(path)
    if path.is_dir():
        raise ArtifactError(
            f"{path} is a folder", fix="name the archive, or run `cmonlab artifact check` on the folder"
        )
    name = next((path.name.removesuffix(end) for end in archive.SUFFIXES if path.name.endswith(end)), path.stem)
    out = Path(out) if out is not None else Path(name)
    if out.exists():
        raise ArtifactError(f"{out} exists", fix="choose another --out, or remove it first")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{prefix()}", dir=out.parent) as folder:
        archive.unpack(path, Path(folder)).rename(out)
    report = _examine(out, _digest(path), Rerun(live, timeout_s, out / RERUN), notify)
    write_text(out / REPORT_TEXT, report.text() + "\n")
    write_text(out / REPORT_JSON, report.to_json() + "\n")
    return report


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix=prefix()) as folder:
        yield archive.unpack(path, Path(folder))


def _digest(path: Path) -> str:
    if path.is_dir():
        return ""
    with open(path, "rb") as file:
        return archive.sha256_of(file)


def _examine(root: Path, digest: str, rerun: Rerun | None, notify: Notify | None) -> Report:
    say = notify or (lambda sentence: None)
    try:
        manifest = archive.read_manifest((root / archive.MANIFEST).read_bytes())
    except OSError as error:
        fix = "name a file that `cmonlab artifact pack` wrote"
        raise ArtifactError(
            f"{root} is not an artifact", why=f"{archive.MANIFEST}: {error.strerror}", fix=fix
        ) from error
    report = Report(manifest["name"], digest)
    wrong = archive.damaged(root, manifest)
    for name in manifest["files"]:
        report.add("file", name, DIFFERS if name in wrong else AGREES, wrong.get(name, ""))
    expected, packed = (_read(root / name) for name in (archive.EXPECTED, archive.ENVIRONMENT))
    if expected is not None:
        _sessions(report, root / archive.PROJECT, expected["sessions"], say)
    if packed is not None:
        for name, then, now in environment.changes(packed, environment.lock()):
            report.add("environment", name, NOTED, f"{then} → {now}")
    if expected is None or wrong:
        report.add("notebook", "all", NOTED, "not run: packed files have changed")
    elif rerun is None or os.environ.get(RUN):
        why = "left out" if rerun is None else "this is already within a check of an artifact"
        report.add("notebook", "all", NOTED, f"not run: {why}")
    else:
        notebooks = sorted(name for name in manifest["files"] if name.endswith(".ipynb"))
        rerun.run(report, root, notebooks, expected["results"], say)
    return report


def _read(file: Path) -> Any:
    """Return the content of a JSON file, or None if it cannot be read: it is then reported as a changed file."""
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None


def _sessions(report: Report, project: Path, expected: dict[str, dict[str, Any]], say: Notify) -> None:
    """Compute the tables of each session again."""
    for name, wanted in sorted(expected.items()):
        say(f"session {name}")
        try:
            found = tables(open_session(project / name))
        except CmonlabError as error:
            report.add("session", name, FAILED, f"{error.what}: {error.why}")
            continue
        for table, content in wanted.items():
            if table not in found:
                report.add("session", f"{name} {table}", FAILED, "this cmonlab has no such table")
                continue
            differ = differences(thaw(content), thaw(freeze(found[table])))
            report.add("session", f"{name} {table}", DIFFERS if differ else AGREES, differences=differ)
