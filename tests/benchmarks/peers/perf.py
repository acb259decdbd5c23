"""perf: ``perf record`` and ``perf trace`` of the same tracepoints. They have no filter for the packet's ports."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .tracer import Program, perf_events

_EVENTS = re.compile(r"^\s*(SAMPLE|LOST_SAMPLES|LOST) events:\s+(\d+)", re.MULTILINE)
_LOST = re.compile(r"LOST (\d+) events")


def _attached(points: Sequence[str]):
    wanted = len(points) * len(os.sched_getaffinity(0))
    return lambda process, _said: perf_events(process) >= wanted and "[perf_event]" in _maps(process)


def _maps(process: subprocess.Popen) -> str:
    return Path(f"/proc/{process.pid}/maps").read_text()


def _events(points: Sequence[str]) -> list[str]:
    return ["-e", ",".join(f"net:{point}" for point in points)]


def record(points: Sequence[str], scratch: Path) -> Program:
    """Return ``perf record``, which writes every packet of the host at these points into a file."""
    file = scratch / "perf.data"

    def read(_said: list[str]) -> tuple[int, int]:
        words = ["perf", "report", "--stats", "-i", str(file)]
        return stats(subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout)

    command = ["perf", "record", "-a", "-N", "-B", *_events(points), "-o", str(file)]
    return Program([command], _attached(points), read)


def stats(said: str) -> tuple[int, int]:
    """Return events and lost events from ``perf report --stats``."""
    found = {what: int(count) for what, count in _EVENTS.findall(said)}
    return found.get("SAMPLE", 0), found.get("LOST_SAMPLES", 0)


def trace(points: Sequence[str], scratch: Path) -> Program:
    """Return ``perf trace``, which prints every packet of the host at these points into a file."""
    file = scratch / "traced"

    def read(said: list[str]) -> tuple[int, int]:
        with open(file, "rb") as printed:
            lines = sum(b"net:" in line for line in printed)
            printed.seek(0)
            lost = sum(int(found[1]) for line in printed if (found := _LOST.search(line.decode(errors="replace"))))
        return lines, lost + sum(map(int, _LOST.findall(said[0])))

    return Program([["perf", "trace", "-a", *_events(points), "-o", str(file)]], _attached(points), read)
