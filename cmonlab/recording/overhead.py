"""Tracing overhead: what tracing does to a workload, measured in interleaved traced and untraced rounds.

In every round the workload runs once untraced and once per tracer, in random order, so that slow changes of the machine
affect all of them alike and the difference within a round is the tracer's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from cmonlab.data.analysis.overhead import TRACER_CPU, UNTRACED, Overhead
from cmonlab.data.analysis.stats import interleave
from cmonlab.errors import UnknownName, WorkloadError
from cmonlab.progress import Progress, shown

if TYPE_CHECKING:
    from cmonlab.lab.topology.deploy import Lab
    from cmonlab.lab.workload import Workload

__all__ = ["Timed", "measure"]

#: Returns a context manager: it traces while its block runs, and yields the ids of other processes that trace, or None.
TracerContext = Callable[[], AbstractContextManager[Iterable[int] | None]]


@runtime_checkable
class Timed(Protocol):
    """A tracer whose programs the kernel can time; `cmonlab.recording.traced.Traced` is one."""

    def __call__(self) -> AbstractContextManager[Iterable[int] | None]:
        """Trace while a block runs."""

    def time_programs(self) -> AbstractContextManager[dict[str, tuple[float, int]]]:
        """Trace and time the programs while a block runs: point → (mean run time in ns, runs)."""


#: Default number of rounds; with fewer than five there are no confidence intervals.
ROUNDS = 6
#: Default length of a round, in s.
ROUND_S = 1.0
_LATENCIES = {"p50": "latency_p50_ns", "p99": "latency_p99_ns", "p99.9": "latency_p999_ns"}


def measure(
    lab: Lab,
    workload: Workload,
    tracers: Mapping[str, TracerContext],
    rounds: int = ROUNDS,
    round_s: float = ROUND_S,
    warmup: int = 1,
    progress: Progress = None,
) -> Overhead:
    """Run a workload repeatedly: in each round once untraced and once per tracer, in random order.

    Parameters
    ----------
    lab : Lab
        Deployed containers.
    workload : Workload
        Its servers are started once, its client in each round.
    tracers : mapping of str to callable
        Name → a callable that returns a context manager, which traces while its block runs. It may yield the ids of
        other processes; their CPU time counts as the tracer's, together with this process's. A `Timed` tracer runs
        once more after the rounds, while the kernel times its programs.
    rounds : int
        Rounds to measure.
    round_s : float
        How long the workload runs each time, in s.
    warmup : int
        Rounds before the first that is measured.
    progress : callable or False, optional
        Called with a phrase and a fraction from 0 to 1; False: quiet; by default a bar on a terminal and in a
        notebook.

    Returns
    -------
    Overhead
        Metrics: throughput; p50, p99 and p99.9 of the latency, if the workload measures it; CPU: the time that all
        processors of the machine were busy, per operation; tracer CPU: the number of processors that this process
        and the tracer's other ones used while the workload ran.

    Raises
    ------
    CmonlabError
        The workload or a tracer failed, or a number is out of range.

    Examples
    --------
    >>> load = cm.Memcached()
    >>> tracer = Traced([Rule.from_expression(load.default_rule)])
    >>> measure(lab, load, {"traced": tracer}, rounds=6).table()
    """
    check_rounds(rounds, warmup)
    if not tracers or UNTRACED in tracers:
        raise UnknownName("tracer", UNTRACED if tracers else "", ["any other name"])
    contexts: dict[str, TracerContext] = {UNTRACED: nullcontext, **tracers}
    timed = {name: tracer for name, tracer in tracers.items() if isinstance(tracer, Timed)}
    order: list[str] = []
    programs: dict[str, dict[str, tuple[float, int]]] = {}
    runs = len(contexts) * (rounds + warmup) + len(timed)

    def report(name: str) -> None:
        say(f"tracing overhead: {name}", (len(order) + len(programs)) / runs)

    def run(name: str) -> dict[str, float]:
        report(name)
        order.append(name)
        return _run(lab, workload, contexts[name], round_s)

    calls = {name: partial(run, name) for name in contexts}
    with shown(progress, workload.name) as say:
        workload.prepare(lab)
        interleave(calls, warmup)
        found = interleave(calls, rounds)
        for name, tracer in timed.items():
            report(name)
            with tracer.time_programs() as programs[name]:
                workload.run(lab, round_s)
    order_by_round = np.reshape(order, (-1, len(contexts)))[warmup:].tolist()
    samples = {name: {metric: [one[metric] for one in some] for metric in some[0]} for name, some in found.items()}
    units = {metric: _units(workload)[metric] for metric in samples[UNTRACED]}
    return Overhead(workload.describe(), round_s, warmup, order_by_round, units, samples, programs)


def check_rounds(rounds: int, warmup: int = 1) -> None:
    """Refuse impossible numbers of rounds.

    Parameters
    ----------
    rounds : int
        Rounds to measure, at least 1.
    warmup : int
        Rounds before them, at least 0.

    Raises
    ------
    WorkloadError
        A number is too small.
    """
    if rounds < 1 or warmup < 0:
        raise WorkloadError(
            f"tracing overhead cannot be measured in {rounds} rounds after {warmup}",
            fix="give 1 round or more, and 0 or more for warming up",
        )


def _units(workload: Workload) -> dict[str, str]:
    operation = workload.work[1]
    latencies = dict.fromkeys(_LATENCIES, "ns")
    return {"throughput": f"{operation}/s", **latencies, "CPU": f"ns/{operation}", TRACER_CPU: "CPUs"}


def _run(lab: Lab, workload: Workload, tracer: TracerContext, round_s: float) -> dict[str, float]:
    """Run the workload once with a tracer; return the metrics of `measure`."""
    with tracer() as pids:
        tracing = [os.getpid(), *(pids or ())]
        began_s, busy_s, own_s = time.monotonic(), busy_seconds(), cpu_seconds(tracing)
        metrics = workload.run(lab, round_s).metrics
        busy_s, own_s = busy_seconds() - busy_s, cpu_seconds(tracing) - own_s
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
    """Return the time in s that this machine's processors have been busy since it started, summed (proc_stat(5)).

    It includes neither waiting for input and output nor the time that a hypervisor took (steal).
    """
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time in s of these processes, summed.

    Raises
    ------
    WorkloadError
        One has ended.
    """
    total_s = 0.0
    for pid in pids:
        try:
            # The clock id that clock_getcpuclockid(3) returns: all threads of the process, in ns instead of ticks.
            total_s += time.clock_gettime(~pid << 3 | 2)
        except OSError as error:
            raise WorkloadError(f"process {pid}, which traced a workload, has ended", why=str(error)) from error
    return total_s
