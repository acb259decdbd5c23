"""Files and directories that appear atomically: complete under their name, or not at all.

What is being written lies in a temporary directory next to its place, whose name says which process made it
(`tempdirs`), and gets its name by one rename. An error, an interrupt or a full disk leaves nothing behind; what a killed
process left is removed by the next writer there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cmonlab.errors import ExportError

from . import tempdirs


@contextmanager
def atomic_file(path: Path, *, replace: bool = True, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Open a file that gets its name when the block has succeeded.

    Parameters
    ----------
    path : Path
        In a directory that exists.
    replace : bool
        Whether a file of that name may be there, and is then replaced.
    mode : int
        Its permissions, less the umask.

    Raises
    ------
    FileExistsError
        Something of that name is there and is not to be replaced.
    OSError
        It cannot be written.
    """
    tempdirs.remove_scratch(path.parent)
    with tempfile.TemporaryDirectory(prefix=f".{tempdirs.prefix()}", dir=path.parent) as folder:
        draft = Path(folder) / "draft"
        with open(draft, "xb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not replace and is_there(path):
            raise FileExistsError(f"{path} exists")
        draft.replace(path)


def write_text(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a text file (UTF-8) in place of an older one; see `atomic_file`."""
    with atomic_file(path, mode=mode) as file:
        file.write(text.encode())


@contextmanager
def atomic_directory(path: Path, mark: str = "") -> Iterator[Path]:
    """Fill a directory that gets its name when the block has succeeded; missing parents are made.

    Parameters
    ----------
    path : Path
    mark : str
        The file by which an older result is recognised. A directory that has it is replaced (`replacing`); any other
        must be empty or absent.

    Yields
    ------
    Path
        The directory to write to.

    Raises
    ------
    OSError
        It cannot be written.
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
    """Let a block write a directory that may hold an older result, which stays unless the block succeeds.

    Parameters
    ----------
    path : Path
    mark : str
        The file by which an older result is known; without it nothing is replaced.
    """
    aside = path.with_name(f".{path.name}.replaced")
    if aside.exists():  # from a process that was killed in the block
        if path.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(path)
    if not (mark and (path / mark).is_file()):
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
        A file of that name is there, or the folder cannot be written.
    """
    check_absent(path)
    try:
        with atomic_file(path, replace=False) as file:
            yield file
    except FileExistsError:
        check_absent(path)
        raise
    except OSError as error:
        why = error.strerror or str(error)
        raise ExportError(
            f"{path} cannot be written", why=why, fix="choose a folder that is there and is yours"
        ) from error


def check_absent(path: Path) -> None:
    """Check that nothing of this name is there.

    Raises
    ------
    ExportError
        Something is.
    """
    if is_there(path):
        raise ExportError(f"{path} exists", fix="choose another name, or remove it first")


def is_there(path: Path) -> bool:
    """Return whether there is anything of this name, a dangling symbolic link included."""
    return path.exists() or path.is_symlink()


def _sync(file: Path) -> None:
    """Flush a file to the disk: some file systems report only now that they are full."""
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
