"""Stale servers: those that still run after the process that started them has ended."""

from __future__ import annotations

import os
import select
import shutil
import signal
import tempfile
from pathlib import Path

from cmonlab.errors import TransportError
from cmonlab.system import ownership

from .endpoint import remove_stale_endpoint

# Files in the directory of a server.
CONFIG, OWNER, PID = "nats.json", "owner", "nats.pid"
_STOP_S = 5.0


def remove_stale() -> list[str]:
    """Remove endpoint files and servers of this user whose process has ended.

    Call it before `cmonlab.system.tempdirs.remove_scratch`, which removes such directories without ending the servers
    in them.

    Returns
    -------
    list of str
        What was removed, for messages.

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
        if stop_stale_server(directory):
            removed.append(f"server in {directory}")
        shutil.rmtree(directory, ignore_errors=True)
        removed.append(f"directory {directory}")
    return removed


def stop_stale_server(directory: Path) -> bool:
    """End the server of a directory if its owner has ended; return whether there was one.

    Raises
    ------
    TransportError
        The owner still runs, or the server does not end.
    """
    try:
        pid = int((directory / PID).read_text())
        handle = os.pidfd_open(pid)
    except (OSError, ValueError):
        return False
    try:
        # Checked after the handle was opened: the pid from the file may belong to another process by now.
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
        return ownership.alive((directory / OWNER).read_text())
    except OSError:
        return False
