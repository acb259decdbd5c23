"""Temporary directories whose names say which process made them, so that those of killed processes can be found.

The name holds the process id, its start time, the boot and the pid namespace (`ownership`): a process id alone is
reused, and a user's own folder may be called ``cmonlab-2024-results``. Numbers are in base 36, because the path of a
Unix socket in such a directory has at most 107 bytes.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from . import ownership

_NAME = re.compile(r"\.?cmonlab-(\d+)-([0-9a-z]+)-([0-9a-f]{8})-([0-9a-z]+)-\w+")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def prefix(pid: int | None = None) -> str:
    """Return the beginning of the names of a process's temporary directories; of this process's by default."""
    owner, start, boot, namespace = ownership.label_of(pid or os.getpid()).split("/")
    return f"cmonlab-{owner}-{_base36(int(start))}-{boot[:8]}-{_base36(int(namespace))}-"


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"


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
    here = ownership.me().split("/")[2]
    if not here.startswith(boot):
        return elsewhere_too
    return not ownership.alive(f"{pid}/{int(start, 36)}/{here}/{int(namespace, 36)}")


def _ours(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.geteuid()
