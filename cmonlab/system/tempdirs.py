"""Temporary directories whose names say which process made them, so that those of killed processes can be found.

The name holds the process id, its start time, the boot and the pid namespace (`ownership`): a process id alone is
reused, and a user's own folder may be called ``cmonlab-2024-results``.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from uuid import UUID

from . import ownership

_NAME = re.compile(r"\.?cmonlab-(\d+)-(\d+)-([0-9a-f]{32})-(\d+)-\w+")


def prefix(pid: int | None = None) -> str:
    """Return the beginning of the names of a process's temporary directories; of this process's by default."""
    owner, start, boot, namespace = ownership.label_of(pid or os.getpid()).split("/")
    return f"cmonlab-{owner}-{start}-{boot.replace('-', '')}-{namespace}-"


def remove_scratch(parent: Path | None = None) -> list[str]:
    """Remove this user's temporary directories in `parent` whose process has ended.

    Those of another boot stay in a `parent` that is given: it may be shared with a host that is still writing there.

    Parameters
    ----------
    parent : Path, optional
        By default the system's directory for temporary files.

    Returns
    -------
    list of str
        What was removed.
    """
    removed = []
    for path in sorted((parent or Path(tempfile.gettempdir())).glob("*cmonlab-*")):
        if _has_ended(path.name, elsewhere_too=parent is None) and _ours(path):
            shutil.rmtree(path, ignore_errors=True)
            if not path.exists():
                removed.append(f"directory {path}")
    return removed


def _has_ended(name: str, elsewhere_too: bool) -> bool:
    """Return whether a name is that of a temporary directory whose process has ended."""
    named = _NAME.fullmatch(name)
    if named is None:
        return False
    pid, start, boot, namespace = named.groups()
    owner = f"{pid}/{start}/{UUID(boot)}/{namespace}"
    same_boot = str(UUID(boot)) == ownership.me().split("/")[2]
    return (same_boot or elsewhere_too) and not ownership.alive(owner)


def _ours(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.geteuid()
