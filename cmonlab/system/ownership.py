"""Owner labels: which process something belongs to, and whether that process still runs.

A process id alone is reused; with the start time, the boot and the pid namespace it is unique. A label is
``PID/START/BOOT/NAMESPACE``.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=1)
def _here() -> str:
    """Return the identifiers of this boot and this pid namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:  # a sandbox that hides them
        return "00000000-0000-0000-0000-000000000000/0"


def _start_time(pid: int) -> int:
    """Return the start time of a process, in clock ticks since boot; 0 if it does not run."""
    try:
        # The command name, in parentheses, may contain spaces and parentheses itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def label_of(pid: int) -> str:
    """Return the owner label of a process of this pid namespace."""
    return f"{pid}/{_start_time(pid)}/{_here()}"


def me() -> str:
    """Return the owner label of this process."""
    return label_of(os.getpid())


def alive(label: str) -> bool:
    """Return whether the process of this owner label still runs.

    A process in another pid namespace cannot be seen; it counts as running unless the machine has been booted since.
    """
    pid, _, rest = label.partition("/")
    start, _, there = rest.partition("/")
    if not (pid.isdigit() and start.isdigit() and "/" in there):
        return False
    if there != _here():
        return there.split("/")[0] == _here().split("/")[0]
    return _start_time(int(pid)) == int(start)
