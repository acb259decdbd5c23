"""Provenance: what a session must say about the machine, the software and the run."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from .packaged import CHECKOUT

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
        "git_revision": git_revision(CHECKOUT) if CHECKOUT is not None else None,
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


def now() -> str:
    """Return the wall clock as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
