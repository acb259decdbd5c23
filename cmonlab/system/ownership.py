"""Which process something belongs to, and whether that process still lives.

A pid is reused; together with the start time and the boot it is not.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def _here() -> str:
    """Return what tells this boot and this pid namespace from others."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"


def _start_time(pid: int) -> int:
    """Return when a process started, in clock ticks since boot; 0 when it is gone."""
    try:
        # The command name, in parentheses, may hold spaces and parentheses itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def me() -> str:
    """Return the owner label of this process."""
    return f"{os.getpid()}/{_start_time(os.getpid())}/{_here()}"


def alive(label: str) -> bool:
    """Tell whether the process that wrote this owner label still runs.

    An owner in another pid namespace cannot be seen; it counts as alive unless the
    machine has been booted since.
    """
    pid, _, rest = label.partition("/")
    start, _, there = rest.partition("/")
    if not (pid.isdigit() and start.isdigit() and "/" in there):
        return False
    if there != _here():
        return there.split("/")[0] == _here().split("/")[0]
    return _start_time(int(pid)) == int(start)
