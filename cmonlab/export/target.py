"""The file that an export writes: whole or not at all, and never over another."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .. import scratch
from ..errors import ExportError


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Let a block write to a file that gets its name when the block has succeeded.

    Raises
    ------
    ExportError
        A file of that name is there, or the folder cannot be written.
    """
    check_absent(path)
    try:
        scratch.remove_scratch(path.parent)
        with tempfile.TemporaryDirectory(prefix=f".{scratch.prefix()}", dir=path.parent) as folder:
            draft = Path(folder) / "draft"
            with open(draft, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            check_absent(path)
            draft.rename(path)
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
    if path.exists() or path.is_symlink():
        raise ExportError(f"{path} exists", fix="choose another name, or remove it first")
