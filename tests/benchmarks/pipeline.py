"""From events to journeys and to the breakdown: time compared with one sort of as many keys, and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from cmonlab.data.analysis.stats import interleave, ratios

from .outcome import Outcome

CORES = 2
EVENT_BYTES = 56
MEMORY_ROUNDS = 3


def _session(columns, manifest):
    from cmonlab.session.session import Session

    return Session(columns, manifest)


def _load(directory: Path):
    """Return (columns, manifest), after loading all modules and warming the caches of the libraries."""
    from cmonlab.data.store.directory import load

    columns, manifest, *_ = load(directory)
    _session({name: values[:2000].copy() for name, values in columns.items()}, manifest).breakdown()
    return columns, manifest


def measure_time(directory: Path, rounds: int, budget_s: float) -> dict[str, list[float]]:
    """Return seconds per round of the correlation, of the breakdown of a fresh session, and of one stable argsort.

    Of each the time that has gone, and the CPU time of all threads.
    """
    import numpy as np

    columns, manifest = _load(directory)
    keys = np.random.default_rng(0).integers(0, 1 << 63, len(columns["ts_ns"]), np.uint64)
    work: dict[str, Callable[[], object]] = {
        "correlator": lambda: _session(columns, manifest).correlated,
        "breakdown": lambda: _session(columns, manifest).breakdown(),
        "argsort": lambda: np.argsort(keys, kind="stable"),
    }
    cpu_s: dict[str, list[float]] = {name: [] for name in work}

    def spent(name: str) -> float:
        began_s, before_s = time.perf_counter(), time.process_time()
        work[name]()
        cpu_s[name].append(time.process_time() - before_s)
        return time.perf_counter() - began_s

    found = interleave({name: lambda name=name: spent(name) for name in work}, rounds, budget_s, min(rounds, 10))
    return found | {f"{name}, CPU": values for name, values in cpu_s.items()}


def measure_memory(directory: Path) -> dict[str, float]:
    """Return the peak of memory beyond the loaded events, in bytes, while one breakdown is computed."""
    columns, manifest = _load(directory)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak (proc_pid_clear_refs(5))
    before = status_bytes("VmRSS")
    table = _session(columns, manifest).breakdown()
    return {"peak_bytes": status_bytes("VmHWM") - before, "events": len(columns["ts_ns"]), "rows": len(table)}


def status_bytes(field: str) -> int:
    """Return a size of this process that the kernel reports (proc_pid_status(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def in_fresh_process(what: str, directory: Path, *words: str) -> dict:
    """Run a measurement of this file in its own process, on two cores, and return its result."""
    command = [sys.executable, "-m", "tests.benchmarks.pipeline", what, str(directory), *words]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def run(recordings: dict[str, Path], rounds: int, budget_s: float) -> Outcome:
    """Measure each recording in separate processes.

    Parameters
    ----------
    recordings : dict of str to Path
        Session directories by workload.
    """
    outcome = Outcome()
    for workload, directory in recordings.items():
        times = in_fresh_process("time", directory, str(rounds), str(budget_s / len(recordings)))
        peaks = [in_fresh_process("memory", directory) for _ in range(MEMORY_ROUNDS)]
        events = peaks[0]["events"]
        for name, values in times.items():
            each_ns = [1e9 * value / events for value in values]
            outcome.add("events", f"time an event on two cores, {workload}", name, "ns", each_ns)
        outcome.judge("breakdown", ratios(times["breakdown"], times["argsort"]), workload)
        outcome.judge("memory", [peak["peak_bytes"] / (EVENT_BYTES * events) for peak in peaks], workload)
        outcome.notes.append(f"events: {workload}, {events:,} events, {peaks[0]['rows']} rows of breakdown")
    return outcome


if __name__ == "__main__":
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-CORES:]))
    kind, path, *rest = sys.argv[1:]
    result = measure_time(Path(path), int(rest[0]), float(rest[1])) if kind == "time" else measure_memory(Path(path))
    json.dump(result, sys.stdout)
