"""The archive of an artifact: a .tar.gz with deterministic bytes, and safe unpacking."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

from cmonlab.errors import ArtifactError
from cmonlab.system.files import export_file

FORMAT = 1
MANIFEST, README, ENVIRONMENT, REQUIREMENTS, EXPECTED = (
    "artifact.json",
    "README.md",
    "environment.json",
    "requirements.txt",
    "expected.json",
)
PROJECT = "project"
SUFFIXES = (".tar.gz", ".tgz")
_CHUNK, _LARGEST_MANIFEST = 1 << 20, 64 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


def sha256_of(file: BinaryIO) -> str:
    """Return the sha256, in hex, of the rest of an open file."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def write(out: Path, name: str, files: Mapping[str, bytes | Path]) -> None:
    """Write an archive with its manifest as the first member; the same content gives the same bytes.

    Parameters
    ----------
    out : Path
        The archive, a new file.
    name : str
        Name of the folder that the archive unpacks to.
    files : mapping of str to bytes or Path
        Name within that folder → content, or the file that holds it.

    Raises
    ------
    ExportError
        The file exists or cannot be written.
    """
    listed = {}
    for path, content in sorted(files.items()):
        with _opened(content) as (file, size):
            listed[path] = {"bytes": size, "sha256": sha256_of(file)}
    manifest = json.dumps({"format": FORMAT, "name": name, "files": listed}, indent=1, ensure_ascii=False) + "\n"
    whole = {MANIFEST: manifest.encode(), **dict(sorted(files.items()))}
    with (
        export_file(out) as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path, content in whole.items():
            with _opened(content) as (file, size):
                entry = tarfile.TarInfo(f"{name}/{path}")  # owner, group and time are 0, the mode is 0644
                entry.size = size
                tar.addfile(entry, file)


@contextmanager
def _opened(content: bytes | Path) -> Iterator[tuple[BinaryIO, int]]:
    if isinstance(content, bytes):
        yield io.BytesIO(content), len(content)
        return
    with open(content, "rb") as file:
        yield file, content.stat().st_size


def unpack(archive: Path, to: Path) -> Path:
    """Unpack an archive into a directory.

    Only regular files that the manifest lists are written, below the archive's folder, and only if they have the listed
    size. `damaged` checks their content.

    Parameters
    ----------
    archive : Path
        The archive.
    to : Path
        An existing directory.

    Returns
    -------
    Path
        The unpacked folder.

    Raises
    ------
    ArtifactError
        The file is not an artifact, is damaged, or is unsafe: it holds paths outside of its folder, links or devices.
    """
    try:
        with tarfile.open(archive, mode="r|gz") as tar:
            first = tar.next()
            if first is None or PurePosixPath(first.name).name != MANIFEST or first.size > _LARGEST_MANIFEST:
                why = f"it does not begin with {MANIFEST}"
                raise ArtifactError(
                    f"{archive} is not an artifact", why=why, fix="name a file that `cmonlab artifact pack` wrote"
                )
            text = _content(tar, first).read()
            manifest = read_manifest(text)
            if first.name != f"{manifest['name']}/{MANIFEST}":
                raise ArtifactError(f"{archive} is unsafe", why=f"it begins with {first.name!r}", fix=_UNSAFE)
            root = to / manifest["name"]
            root.mkdir()
            (root / MANIFEST).write_bytes(text)
            while (entry := tar.next()) is not None:
                _unpack(tar, entry, manifest, root)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeError) as error:
        raise ArtifactError(f"{archive} is damaged", why=str(error), fix="fetch it again") from error
    except OSError as error:
        why = error.strerror or str(error)
        raise ArtifactError(
            f"{archive} cannot be unpacked", why=why, fix="check that it exists and that there is room"
        ) from error
    return root


_UNSAFE = "do not unpack it by hand: `cmonlab artifact pack` did not make it, or it was changed since"


def _unpack(tar: tarfile.TarFile, entry: tarfile.TarInfo, manifest: Mapping[str, Any], root: Path) -> None:
    path = entry.name.removeprefix(f"{manifest['name']}/")
    listed = manifest["files"].get(path)
    if listed is None or not entry.isreg() or not is_safe(path):
        why = "the manifest does not list this file" if entry.isreg() else "it is not a regular file"
        raise ArtifactError(f"the artifact is unsafe: {entry.name!r}", why=why, fix=_UNSAFE)
    if entry.size != listed["bytes"]:
        return  # it is not the packed file: `damaged` reports it
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    source = _content(tar, entry)
    with open(target, "xb") as file:
        while chunk := source.read(_CHUNK):
            file.write(chunk)


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(entry)
    if file is None:
        raise ArtifactError(f"the artifact is unsafe: {entry.name!r}", why="it is not a regular file", fix=_UNSAFE)
    return file


def is_safe(path: str) -> bool:
    """Return whether a path, with ``/`` between its parts, stays below the folder that it is relative to."""
    parts = path.split("/")
    return bool(path) and "\\" not in path and "\0" not in path and not {"", ".", ".."} & set(parts)


def read_manifest(text: bytes) -> dict[str, Any]:
    """Return the checked manifest of an artifact.

    Raises
    ------
    ArtifactError
        The manifest is damaged, is unsafe, or was written by a newer version.
    """
    try:
        manifest = json.loads(text)
        newer = manifest["format"] > FORMAT
        name, files = manifest["name"], manifest["files"]
        good = is_safe(name) and "/" not in name and all(is_safe(path) and path != MANIFEST for path in files)
        good &= all(isinstance(one["bytes"], int) and bool(_SHA256.fullmatch(one["sha256"])) for one in files.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError("the artifact's manifest is damaged", why=str(error), fix="fetch it again") from error
    if newer:
        raise ArtifactError(
            "a newer cmonlab wrote the artifact", why=f"format {manifest['format']}", fix="upgrade cmonlab"
        )
    if not good:
        raise ArtifactError("the artifact is unsafe", why="its manifest lists paths outside of its folder", fix=_UNSAFE)
    return manifest


def damaged(root: Path, manifest: Mapping[str, Any]) -> dict[str, str]:
    """Return the files that are not as they were packed.

    Parameters
    ----------
    root : Path
        The unpacked folder.
    manifest : mapping
        From `read_manifest`.

    Returns
    -------
    dict of str to str
        Name of the file → what is wrong with it.
    """
    wrong = {}
    for path, listed in manifest["files"].items():
        file = root / path
        if not file.is_file():
            wrong[path] = "missing, or of another size"
            continue
        with open(file, "rb") as content:
            if sha256_of(content) != listed["sha256"]:
                wrong[path] = "its content has changed (sha256)"
    return wrong
