"""Temporary directories that say whose they are, so that those of killed processes can be found."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

_NAME = re.compile(r"\.?cmonlab-(\d+)-\w+")


def prefix() -> str:
    """Return how the name of a temporary directory of this process begins."""
    return f"cmonlab-{os.getpid()}-"


def remove_scratch(parent: Path | None = None) -> list[str]:
    """Remove this user's temporary directories in `parent` whose process has gone.

    Parameters
    ----------
    parent : Path, optional
        By default where the system keeps such directories.

    Returns
    -------
    list of str
        What was removed.
    """
    removed = []
    for path in sorted((parent or Path(tempfile.gettempdir())).glob("*cmonlab-*")):
        named = _NAME.fullmatch(path.name)
        if named and not Path("/proc", named[1]).exists() and _ours(path):
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                removed.append(f"directory {path}")
    return removed


def _ours(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.geteuid()
