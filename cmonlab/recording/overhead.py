"""Tracing overhead: what looking at a workload does to it, measured by looking and not looking in turn."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from cmonlab.data.analysis.overhead import TRACER_CPU, UNTRACED, Overhead
from cmonlab.data.analysis.stats import interleave
from cmonlab.errors import UnknownName, WorkloadError
from cmonlab.progress import Progress, shown

#: A context manager that looks on while its block runs; it yields the ids of the processes that do so beside this
#: one, or None.
TracerContext = Callable[[], AbstractContextManager[Iterable[int] | None]]


@runtime_checkable
class Timed(Protocol):
    """A tracer whose programs' run time the kernel can count; `cmonlab.recording.traced.Traced` is one."""

    def __call__(self) -> AbstractContextManager[Iterable[int] | None]:
        """Observe for as long as a block runs."""

    def time_programs(self) -> AbstractContextManager[dict[str, tuple[float, int]]]:
        """Observe, and count for how long the programs run: point → (mean in ns, runs)."""


#: With fewer than five there are no intervals.
ROUNDS = 6
ROUND_S = 1.0
_LATENCIES = {"p50": "latency_p50_ns", "p99": "latency_p99_ns", "p99.9": "latency_p999_ns"}


def measure(
    lab,
    workload,
    tracers: Mapping[str, TracerContext],
    rounds: int = ROUNDS,
    round_s: float = ROUND_S,
    warmup: int = 1,
    progress: Progress = None,
) -> Overhead:
    """Run a workload again and again, in each round once untraced and once for each tracer, in random order.

    Parameters
    ----------
    lab : Lab
        Deployed containers.
    workload : Workload
        Its servers are started once, its client in each round.
    tracers : mapping of str to callable
        Name → a callable that returns a context manager: it looks on while its block
        runs. It may yield ids of processes, whose CPU counts as the tracer's beside
        this process's. A `Traced` one looks on once more after the rounds, while the
        kernel counts how long its programs run.
    rounds : int
        Rounds to measure.
    round_s : float
        How long the workload runs each time.
    warmup : int
        Rounds before the first that is measured.
    progress : callable or False, optional
        Called with a phrase and a fraction from 0 to 1; False: quiet; by default a bar on a
        terminal and in a notebook.

    Returns
    -------
    Overhead
        Metrics: throughput; p50, p99 and p99.9 where the workload measures delays; CPU,
        the time that all processors of the machine were busy, per piece of work; tracer
        CPU, processors that this process and the tracer's took while the workload ran.

    Raises
    ------
    CmonlabError
        The workload or a tracer failed, or a number is out of range.
    """
    check_rounds(rounds, warmup)
    if not tracers or UNTRACED in tracers:
        raise UnknownName("tracer", UNTRACED if tracers else "", ["any other name"])
    ways: dict[str, TracerContext] = {UNTRACED: nullcontext, **tracers}
    order: list[str] = []

    own = {name: tracer for name, tracer in tracers.items() if isinstance(tracer, Timed)}
    turns = len(ways) * (rounds + warmup) + len(own)
    programs: dict[str, dict[str, tuple[float, int]]] = {}

    def tell(name: str) -> None:
        say(f"tracing overhead: {name}", (len(order) + len(programs)) / turns)

    def run(name: str) -> dict[str, float]:
        tell(name)
        order.append(name)
        return _run(lab, workload, ways[name], round_s)

    calls = {name: partial(run, name) for name in ways}
    with shown(progress, workload.name) as say:
        workload.prepare(lab)
        interleave(calls, warmup)
        found = interleave(calls, rounds)
        for name, tracer in own.items():
            tell(name)
            with tracer.time_programs() as programs[name]:
                workload.run(lab, round_s)
    in_turn = np.reshape(order, (-1, len(ways)))[warmup:].tolist()
    samples = {name: {metric: [r[metric] for r in runs] for metric in runs[0]} for name, runs in found.items()}
    units = {metric: _units(workload)[metric] for metric in samples[UNTRACED]}
    return Overhead(workload.describe(), round_s, warmup, in_turn, units, samples, programs)


def check_rounds(rounds: int, warmup: int = 1) -> None:
    """Refuse what are no numbers of rounds.

    Raises
    ------
    WorkloadError
        There are none to measure.
    """
    if rounds < 1 or warmup < 0:
        raise WorkloadError(
            f"tracing overhead cannot be measured in {rounds} rounds after {warmup}",
            fix="give 1 round or more, and 0 or more for warming up",
        )


def _units(workload) -> dict[str, str]:
    piece = workload.work[1]
    return {"throughput": f"{piece}/s", **dict.fromkeys(_LATENCIES, "ns"), "CPU": f"ns/{piece}", TRACER_CPU: "CPUs"}


def _run(lab, workload, tracer: TracerContext, round_s: float) -> dict[str, float]:
    """Run the workload once under a tracer's eyes; return its metrics."""
    with tracer() as pids:
        watched = [os.getpid(), *(pids or ())]
        began_s, busy_s, own_s = time.monotonic(), busy_seconds(), cpu_seconds(watched)
        metrics = workload.run(lab, round_s).metrics
        busy_s, own_s = busy_seconds() - busy_s, cpu_seconds(watched) - own_s
        elapsed_s = time.monotonic() - began_s
    rate = metrics[workload.work[0]]
    if not rate:
        raise WorkloadError(f"{workload.name} did nothing while its overhead was measured")
    return {
        "throughput": rate,
        **{name: metrics[key] for name, key in _LATENCIES.items() if key in metrics},
        "CPU": 1e9 * busy_s / (rate * metrics["load_s"]),
        TRACER_CPU: own_s / elapsed_s,
    }


def busy_seconds() -> float:
    """Return for how long this machine's processors have been busy, summed, since it started (proc_stat(5)).

    Neither waiting for input and output counts, nor what a hypervisor took.
    """
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return for how long these processes have run on a processor, summed.

    Raises
    ------
    WorkloadError
        One has ended.
    """
    total_s = 0.0
    for pid in pids:
        try:
            # The id that clock_getcpuclockid(3) gives: of all threads, in ns and not in ticks.
            total_s += time.clock_gettime(~pid << 3 | 2)
        except OSError as error:
            raise WorkloadError(f"process {pid}, which observed a workload, has ended", why=str(error)) from error
    return total_s
