"""Files and directories that appear atomically: complete under their name, or not at all.

New content is written to a temporary directory next to its final place, and gets its final name by one rename. The name
of the temporary directory says which process made it (`tempdirs`). After an error, an interrupt or with a full disk,
nothing is left. What a killed process left is removed by the next writer there, unless the host has been restarted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cmonlab.errors import ExportError

from . import tempdirs


@contextmanager
def atomic_file(path: Path, *, replace: bool = True, private: bool = False) -> Iterator[BinaryIO]:
    """Open a file that gets its name when the block has succeeded.

    An older file of that name is replaced; the new one has its permissions and, for root, its owner. A symbolic link
    stays, and the file that it points to is replaced.

    Parameters
    ----------
    path : Path
        In a directory that exists.
    replace : bool
        Whether a file of that name may be there.
    private : bool
        Readable by its owner alone from the first byte on, whatever was there before; a symbolic link is replaced.

    Raises
    ------
    FileExistsError
        Something of that name is there and is not to be replaced.
    OSError
        It cannot be written.
    """
    target = path.resolve() if replace and not private else path
    older = target.stat() if replace and not private and target.is_file() else None
    tempdirs.remove_scratch(target.parent)
    with tempfile.TemporaryDirectory(prefix=f".{tempdirs.prefix()}", dir=target.parent) as folder:
        draft = Path(folder) / "draft"
        with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, 0o600 if private else 0o666)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if older is not None:
            draft.chmod(stat.S_IMODE(older.st_mode))
            if os.geteuid() == 0:
                os.chown(draft, older.st_uid, older.st_gid)
        if not replace and is_there(target):
            raise FileExistsError(f"{path} exists")
        draft.replace(target)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Write a text file (UTF-8).

    Parameters
    ----------
    path : Path
        As of `atomic_file`.
    text : str
        The content.
    private : bool
        As of `atomic_file`.

    Raises
    ------
    OSError
        It cannot be written.
    """
    with atomic_file(path, private=private) as file:
        file.write(text.encode())


@contextmanager
def atomic_directory(path: Path, mark: str = "") -> Iterator[Path]:
    """Fill a directory that gets its name when the block has succeeded; missing parents are created.

    Parameters
    ----------
    path : Path
        Final name.
    mark : str
        Name of a file that identifies an older result. If `path` is a directory with this file, it is replaced
        (`replacing`); otherwise, or if `mark` is empty, `path` must be an empty directory or not exist.

    Yields
    ------
    Path
        Directory to write to.

    Raises
    ------
    OSError
        The directory cannot be written.
    """
    target, folder = path.resolve(), None
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        tempdirs.remove_scratch(target.parent)
        folder = Path(tempfile.mkdtemp(prefix=f".{tempdirs.prefix()}", dir=target.parent))
        folder.chmod(0o755)
        yield folder
        for file in folder.rglob("*"):
            if file.is_file():
                _sync(file)
        with replacing(target, mark):
            folder.rename(target)
        made = []
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):
                parent.rmdir()


@contextmanager
def replacing(path: Path, mark: str) -> Iterator[None]:
    """Let a block write a directory in place of an older result, which is restored unless the block succeeds.

    Parameters
    ----------
    path : Path
        Directory that the block writes.
    mark : str
        Name of a file that identifies an older result. If `path` does not contain it, or `mark` is empty, nothing is
        replaced.
    """
    if not mark:  # a directory that is aside may belong to a block around this one
        yield
        return
    aside = path.with_name(f".{path.name}.replaced")
    if aside.exists():  # left by a process that was killed in the block
        if path.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(path)
    if not (path / mark).is_file():
        yield
        return
    path.rename(aside)
    try:
        yield
    except BaseException:
        aside.rename(path)
        raise
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def export_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file for an export; see `atomic_file`.

    Raises
    ------
    ExportError
        A file of that name exists, or the file cannot be written.
    """
    check_absent(path)
    try:
        with atomic_file(path, replace=False) as file:
            yield file
    except OSError as error:
        check_absent(path)  # it may have appeared meanwhile
        why = error.strerror or str(error)
        raise ExportError(
            f"{path} cannot be written", why=why, fix="choose an existing folder that you may write to"
        ) from error


def check_absent(path: Path) -> None:
    """Check that no file of this name exists.

    Raises
    ------
    ExportError
        A file of this name exists.
    """
    if is_there(path):
        raise ExportError(f"{path} exists", fix="choose another name, or remove it first")


def is_there(path: Path) -> bool:
    """Return whether a file of any kind has this name, a dangling symbolic link included."""
    return path.exists() or path.is_symlink()


def _sync(file: Path) -> None:
    """Flush a file to the disk; some file systems report only then that they are full."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
