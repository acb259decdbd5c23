"""The registry of datasets: their files and checksums."""

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
#: In an installed wheel inside the package, otherwise at the top of the checkout.
FOLDER = packaged("datasets")

_FIX = "restore it with `git checkout datasets`, or install cmonlab again"


def entries(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Return the registry's entry of each dataset.

    Parameters
    ----------
    folder : Path
        Folder of all datasets.

    Returns
    -------
    dict of str to dict
        Name → ``what`` (its content), ``runs`` (name of a run → folders of its sessions), ``journeys`` (their number
        when the dataset was recorded) and ``files`` (path → ``bytes``, ``sha256``).

    Raises
    ------
    SessionError
        The registry is missing, damaged, or of another version.
    """
    path = folder / REGISTRY
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if read["format"] != FORMAT:
            raise SessionError(
                "the datasets belong to another version of cmonlab",
                why=f"format {read['format']}, this one reads {FORMAT}",
                fix=_FIX,
            )
        for entry in read["datasets"].values():
            entry["what"], entry["runs"], entry["journeys"], entry["files"]
        return read["datasets"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SessionError("the registry of datasets cannot be read", why=f"{path}: {error}", fix=_FIX) from error


def verified(name: str, folder: Path = FOLDER) -> tuple[Path, dict[str, Any]]:
    """Return a dataset's folder and entry, after checking the checksums of all its files.

    Parameters
    ----------
    name : str
        Name of the dataset.
    folder : Path
        Folder of all datasets.

    Returns
    -------
    (Path, dict)
        The dataset's folder, and its entry as in `entries`.

    Raises
    ------
    UnknownName
        There is no such dataset.
    SessionError
        A file is missing or has changed.
    """
    known = entries(folder)
    if name not in known:
        raise UnknownName("dataset", name, known)
    for file, listed in known[name]["files"].items():
        _check(name, file, folder / name / file, listed["sha256"])
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
            f"dataset {name}: {file} is not what was recorded", why="its sha256 is not that of the registry", fix=_FIX
        )


def register(folder: Path, name: str, what: str, runs: dict[str, list[str]], journeys: int) -> None:
    """Write the registry entry of a dataset from its files.

    Parameters
    ----------
    folder : Path
        Folder of all datasets.
    name : str
        Name of the dataset.
    what : str
        Its content, in a phrase.
    runs : dict of str to list of str
        Name of a run → folders of its sessions, in order of time.
    journeys : int
        Number of journeys in all sessions.
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
