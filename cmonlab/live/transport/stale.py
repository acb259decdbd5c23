"""Servers that outlived the process that started them."""

from __future__ import annotations

import os
import select
import shutil
import signal
import tempfile
from pathlib import Path

from cmonlab.errors import TransportError
from cmonlab.system import ownership as owner

from .endpoint import remove_stale_endpoint

# Files of a server's directory.
CONFIG, OWNER, PID = "nats.json", "owner", "nats.pid"
_STOP_S = 5.0


def remove_stale() -> list[str]:
    """Remove endpoint files and servers of this user whose process is gone.

    Call it before `cmonlab.system.tempdirs.remove_scratch`, which removes such directories
    without a look at what runs in them.

    Returns
    -------
    list of str
        What was removed.

    Raises
    ------
    TransportError
        A server does not end, or a file cannot be removed.
    """
    removed = remove_stale_endpoint()
    for config in sorted(Path(tempfile.gettempdir()).glob(f"cmonlab-*/{CONFIG}")):
        directory = config.parent
        ours = not directory.is_symlink() and directory.stat().st_uid == os.geteuid()
        if not ours or _owner_lives(directory):
            continue
        if end_left_over(directory):
            removed.append(f"server in {directory}")
        shutil.rmtree(directory, ignore_errors=True)
        removed.append(f"directory {directory}")
    return removed


def end_left_over(directory: Path) -> bool:
    """End the server of a directory whose owner is gone; tell whether there was one.

    Raises
    ------
    TransportError
        Its owner lives, or it does not end.
    """
    try:
        pid = int((directory / PID).read_text())
        handle = os.pidfd_open(pid)
    except (OSError, ValueError):
        return False
    try:
        # Looked at through the handle's process: a pid from a file may be anybody's by now.
        if not _is_ours(pid, directory):
            return False
        if _owner_lives(directory):
            raise TransportError(f"a server already runs in {directory}", why=f"it is process {pid}")
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(handle, number)
            if select.select([handle], [], [], _STOP_S)[0]:
                return True
    except ProcessLookupError:
        return True
    finally:
        os.close(handle)
    raise TransportError(f"the server in {directory} does not end", fix=f"kill -9 {pid}")


def _is_ours(pid: int, directory: Path) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX" and os.fsencode(directory / CONFIG) in arguments


def _owner_lives(directory: Path) -> bool:
    try:
        return owner.alive((directory / OWNER).read_text())
    except OSError:
        return False
