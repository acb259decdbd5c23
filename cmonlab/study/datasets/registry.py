"""The registry of datasets: their files, and by what it is known that they are whole."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cmonlab.errors import SessionError, UnknownName
from cmonlab.system.files import write_text
from cmonlab.system.packaged import packaged

FORMAT = 1
REGISTRY = "registry.json"
#: In an installed wheel beside the package's modules, else at the top of the checkout.
FOLDER = packaged("datasets")

_FIX = "restore it with `git checkout datasets`, or install cmonlab again"


def entries(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Return what the registry tells of each dataset.

    Returns
    -------
    dict of str to dict
        Name → ``what``, ``runs`` (what was run → folders of its sessions), ``journeys``
        (how many there were when it was recorded) and ``files`` (path → ``bytes``,
        ``sha256``).

    Raises
    ------
    SessionError
        It is missing, damaged, or of a newer version.
    """
    path = folder / REGISTRY
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if read["format"] != FORMAT:
            raise SessionError(
                "the datasets are of another version of cmonlab",
                why=f"format {read['format']}, this one reads {FORMAT}",
                fix=_FIX,
            )
        for entry in read["datasets"].values():
            entry["what"], entry["runs"], entry["journeys"], entry["files"]
        return read["datasets"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SessionError("the registry of datasets cannot be read", why=f"{path}: {error}", fix=_FIX) from error


def verified(name: str, folder: Path = FOLDER) -> tuple[Path, dict[str, Any]]:
    """Return a dataset's folder and entry, after a look at every byte of it.

    Raises
    ------
    UnknownName
        There is no such dataset.
    SessionError
        A file is missing or is not what was recorded.
    """
    known = entries(folder)
    if name not in known:
        raise UnknownName("dataset", name, known)
    for file, told in known[name]["files"].items():
        _check(name, file, folder / name / file, told["sha256"])
    return folder / name, known[name]


def _check(name: str, file: str, path: Path, sha256: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise SessionError(
            f"dataset {name}: {file} cannot be read", why=error.strerror or str(error), fix=_FIX
        ) from error
    if found != sha256:
        raise SessionError(
            f"dataset {name}: {file} is not what was recorded", why="its sha256 is not the registry's", fix=_FIX
        )


def register(folder: Path, name: str, what: str, runs: dict[str, list[str]], journeys: int) -> None:
    """Write a dataset's entry, from the files that are there.

    Parameters
    ----------
    folder : Path
        That of all datasets.
    name, what : str
    runs : dict of str to list of str
        What was run → folders of its sessions, in order of time.
    journeys : int
        How many there are.
    """
    known = entries(folder) if (folder / REGISTRY).exists() else {}
    files = {}
    for path in sorted((folder / name).rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            files[path.relative_to(folder / name).as_posix()] = {
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
    known[name] = {"what": what, "runs": runs, "journeys": journeys, "files": files}
    text = json.dumps({"format": FORMAT, "datasets": dict(sorted(known.items()))}, indent=1, ensure_ascii=False)
    write_text(folder / REGISTRY, text + "\n")
