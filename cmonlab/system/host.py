"""Provenance: description of the machine, the software and the clock, for manifests."""

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
    """Return the git revision of a checkout, with ``-dirty`` if files differ from it; None outside of a checkout."""
    try:
        git = ["git", "-C", str(directory), "-c", f"safe.directory={directory}"]
        result = subprocess.run(
            [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def host() -> dict[str, object]:
    """Return a description of this machine and its software, without host names and addresses."""
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


def clock() -> dict[str, str | int]:
    """Return the offset from the clock of events to the wall clock.

    The wall clock is read between two readings of CLOCK_MONOTONIC, several times; the two closest readings are used.
    Half of their distance is the largest possible error.

    Returns
    -------
    dict
        ``name`` of the clock, ``realtime_offset_ns`` (CLOCK_REALTIME minus CLOCK_MONOTONIC) and
        ``realtime_offset_error_ns``.
    """
    pairs = []
    for _ in range(16):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        pairs.append((after - before, wall - (before + after) // 2))
    width, offset = min(pairs)
    return {"name": "CLOCK_MONOTONIC", "realtime_offset_ns": offset, "realtime_offset_error_ns": (width + 1) // 2}


def now() -> str:
    """Return the time of the wall clock in UTC, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
