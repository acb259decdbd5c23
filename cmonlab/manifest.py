"""Provenance: what a session must say about the machine, the software and the run."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

PYTHON_PACKAGES = ("cmonlab", "numpy", "pandas", "pyarrow", "plotly", "docker", "pyroute2")


def _first_line(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace").strip().splitlines()[0]
    except (OSError, IndexError):
        return None


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)


def git_revision(directory: Path) -> str | None:
    """Return the checkout's revision, ``-dirty`` when files differ from it; None outside one."""
    try:
        git = ["git", "-C", str(directory), "-c", f"safe.directory={directory}"]
        told = subprocess.run(
            [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() or None if told.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def host() -> dict:
    """Return what describes this machine and its software; no names, no addresses."""
    uname = os.uname()
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    return {
        "kernel": uname.release,
        "kernel_build": uname.version,
        "machine": uname.machine,
        "distribution": release.get("PRETTY_NAME"),
        "cpu": _cpu_model(),
        "cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "clocksource": _first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "python": platform.python_version(),
        "python_packages": {name: _version(name) for name in PYTHON_PACKAGES},
        "git_revision": git_revision(Path(__file__).parents[1]),
    }


def clock() -> dict:
    """Return how the events' clock relates to the wall clock.

    The offset is taken from the closest of several paired readings; half the width
    of that pair bounds its error.
    """
    pairs = []
    for _ in range(16):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        pairs.append((after - before, wall - (before + after) // 2))
    width, offset = min(pairs)
    return {"name": "CLOCK_MONOTONIC", "realtime_offset_ns": offset, "realtime_offset_error_ns": (width + 1) // 2}


def drop_reasons(enum: Mapping[int, str]) -> dict[str, str]:
    """Return the running kernel's drop reasons by their number in the records.

    Parameters
    ----------
    enum : mapping of int to str
        ``enum skb_drop_reason`` of the kernel's BTF; empty before Linux 5.17, which
        tells no reason.
    """
    enum = enum or {0: "SKB_DROP_REASON_NOT_SPECIFIED"}
    return {
        str((value >> 16 & 0xF) << 12 | value & 0xFFF): name.removeprefix("SKB_DROP_REASON_")
        for value, name in enum.items()
    }


def symbols(low_addresses: Iterable[int]) -> dict[str, str]:
    """Name the kernel functions that hold these addresses (their low 32 bits).

    Kernel text lies in the top 2 GiB of the address space, so the low half is enough.
    Nothing is named where ``/proc/kallsyms`` hides addresses.
    """
    wanted = sorted(set(low_addresses))
    if not wanted:
        return {}
    import numpy as np

    starts, names = [], []
    try:
        with open("/proc/kallsyms") as file:
            for line in file:
                address, kind, name, *_ = line.split()
                if kind in "tTwW" and address.startswith("ffffffff"):
                    starts.append(int(address[8:], 16))
                    names.append(name)
    except OSError:
        return {}
    if not any(starts):
        return {}
    order = np.argsort(starts, kind="stable")
    at = np.searchsorted(np.array(starts)[order], wanted, side="right") - 1
    return {str(low): names[order[i]] for low, i in zip(wanted, at, strict=True) if i >= 0}


def now() -> str:
    """Return the wall clock as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
