"""From events to the breakdown: time beside one sort of as many keys, and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from cmonlab.analysis.stats import interleave, ratios

from .targets import Outcome, judge

GOAL = 3.0
EVENT_BYTES = 56
MEMORY_ROUNDS = 3


def _session(columns, manifest):
    from cmonlab.session import Session

    return Session(columns, manifest)


def _load(directory: Path):
    """Return (columns, manifest), with every module loaded and every cache of the libraries warm."""
    from cmonlab import store

    columns, manifest, *_ = store.load(directory)
    _session({name: values[:2000].copy() for name, values in columns.items()}, manifest).breakdown()
    return columns, manifest


def measure_time(directory: Path, rounds: int, budget_s: float) -> dict[str, list[float]]:
    """Return seconds of CPU per round: breakdown of a fresh session, and one stable argsort."""
    import time

    import numpy as np

    columns, manifest = _load(directory)
    keys = np.random.default_rng(0).integers(0, 1 << 63, len(columns["ts_ns"]), np.uint64)

    def spent(work) -> float:
        before = time.process_time()
        work()
        return time.process_time() - before

    calls = {
        "breakdown": lambda: spent(lambda: _session(columns, manifest).breakdown()),
        "argsort": lambda: spent(lambda: np.argsort(keys, kind="stable")),
    }
    return interleave(calls, rounds, budget_s, min(rounds, 10))


def measure_memory(directory: Path) -> dict[str, float]:
    """Return the peak of memory beyond the loaded events, in bytes, while one breakdown is made."""
    columns, manifest = _load(directory)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew (proc_pid_clear_refs(5))
    before = _status_bytes("VmRSS")
    table = _session(columns, manifest).breakdown()
    return {"peak_bytes": _status_bytes("VmHWM") - before, "events": len(columns["ts_ns"]), "rows": len(table)}


def _status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _in_fresh_process(what: str, directory: Path, *words: str) -> dict:
    command = [sys.executable, "-m", "tests.benchmarks.pipeline", what, str(directory), *words]
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_NUM_THREADS"), "1")
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | one_thread)
    return json.loads(found.stdout)


def run(recordings: dict[str, Path], rounds: int, budget_s: float) -> Outcome:
    """Measure each recording in processes of its own, on one core.

    Parameters
    ----------
    recordings : dict of str to Path
        Session directories by workload.
    """
    outcome = Outcome()
    for workload, directory in recordings.items():
        times = _in_fresh_process("time", directory, str(rounds), str(budget_s / len(recordings)))
        peaks = [_in_fresh_process("memory", directory) for _ in range(MEMORY_ROUNDS)]
        events = peaks[0]["events"]
        memory = [peak["peak_bytes"] / (EVENT_BYTES * events) for peak in peaks]
        outcome.samples |= {f"pipeline {workload} {name} s": values for name, values in times.items()}
        outcome.samples[f"pipeline {workload} memory / events"] = memory
        slower = ratios(times["breakdown"], times["argsort"])
        outcome.targets += [
            judge(f"pipeline: breakdown / argsort, {workload}", "at most", GOAL, slower),
            judge(f"pipeline: memory / size of the events, {workload}", "at most", GOAL, memory),
        ]
        outcome.notes.append(f"pipeline: {workload}, {events:,} events, {peaks[0]['rows']} rows of breakdown")
    return outcome


if __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    kind, path, *rest = sys.argv[1:]
    result = measure_time(Path(path), int(rest[0]), float(rest[1])) if kind == "time" else measure_memory(Path(path))
    json.dump(result, sys.stdout)
