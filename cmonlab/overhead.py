"""Observer overhead: what looking at a workload does to it, measured by looking and not looking in turn."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .analysis import overhead as _overhead
from .analysis.overhead import OBSERVER_CPU, UNTRACED
from .analysis.stats import interleave
from .errors import UnknownName, WorkloadError
from .progress import Progress, shown

if TYPE_CHECKING:
    import pandas as pd

    from .probe import Probe
    from .recording import Capture
    from .rules import Rule

#: A context manager that looks on while its block runs; it yields the ids of the processes that do so beside this
#: one, or None.
Observer = Callable[[], AbstractContextManager[Iterable[int] | None]]

#: With fewer than five there are no intervals.
ROUNDS = 6
ROUND_S = 1.0
_LATENCIES = {"p50": "latency_p50_ns", "p99": "latency_p99_ns", "p99.9": "latency_p999_ns"}


@dataclass(frozen=True)
class Overhead:
    """What a workload did with and without observers, round by round.

    Attributes
    ----------
    workload : dict
        Its description.
    round_s : float
        How long it ran in each round for each observer.
    warmup : int
        Rounds that were made before and left out.
    order : list of list of str
        Who looked on in each round, one after the other.
    units : dict of str to str
        Metric → unit.
    samples : dict of str to dict of str to list of float
        Observer, ``"untraced"`` among them → metric → one sample a round.
    programs : dict of str to dict of str to (float, int)
        Observer → point → mean time of a run of its program (ns), and runs, of observers that have programs; from a
        run of the workload that is not among the rounds, as counting the time takes some itself.
    """

    workload: dict
    round_s: float
    warmup: int
    order: list[list[str]]
    units: dict[str, str]
    samples: dict[str, dict[str, list[float]]]
    programs: dict[str, dict[str, tuple[float, int]]] = field(default_factory=dict)

    @classmethod
    def read(cls, told: Mapping) -> Overhead:
        """Return what `describe` described."""
        return cls(**{name: told[name] for name in cls.__dataclass_fields__ if name in told})

    def table(self) -> pd.DataFrame:
        """Return what each observer changed; columns of ``schema.describe("overhead")``."""
        return _overhead.table(self.samples, self.units)

    def describe(self) -> dict:
        """Return what JSON can hold: every sample, and the table's rows."""
        rows = json.loads(self.table().to_json(orient="records", double_precision=15))
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"table": rows}


@dataclass(frozen=True)
class Traced:
    """The observer that cmonlab is: the capture of a recording, with these rules.

    Parameters
    ----------
    rules : sequence of Rule
        Active for as long as the block lasts.
    containers : callable, optional
        Returns the containers known; rules with selectors need it.
    probes : sequence of Probe, optional
        Custom points.
    """

    rules: Sequence[Rule]
    containers: Callable[[], Sequence] = tuple
    probes: Sequence[Probe] = ()

    @contextmanager
    def _capture(self) -> Iterator[Capture]:
        from .recording import Capture

        with Capture(self.rules, list, self.containers, probes=self.probes) as capture:
            yield capture
            capture.check()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._capture():
            yield

    @contextmanager
    def weighed(self) -> Iterator[dict[str, tuple[float, int]]]:
        """Look on and count how long the programs run; see `cmonlab.kernel.meter.weighed`."""
        with self._capture() as capture, capture.weighed() as programs:
            yield programs


def measure(
    lab,
    workload,
    observers: Mapping[str, Observer],
    rounds: int = ROUNDS,
    round_s: float = ROUND_S,
    warmup: int = 1,
    progress: Progress = None,
) -> Overhead:
    """Run a workload again and again, in each round once untraced and once for each observer, in random order.

    Parameters
    ----------
    lab : Lab
        Deployed containers.
    workload : Workload
        Its servers are started once, its client in each round.
    observers : mapping of str to callable
        Name → a callable that returns a context manager: it looks on while its block
        runs. It may yield ids of processes, whose CPU counts as the observer's beside
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
        the time that all processors of the machine were busy, per piece of work; observer
        CPU, processors that this process and the observer's took while the workload ran.

    Raises
    ------
    CmonlabError
        The workload or an observer failed, or a number is out of range.
    """
    check_rounds(rounds, warmup)
    if not observers or UNTRACED in observers:
        raise UnknownName("observer", UNTRACED if observers else "", ["any other name"])
    ways: dict[str, Observer] = {UNTRACED: nullcontext, **observers}
    order: list[str] = []

    own = {name: observer for name, observer in observers.items() if isinstance(observer, Traced)}
    turns = len(ways) * (rounds + warmup) + len(own)
    programs: dict[str, dict[str, tuple[float, int]]] = {}

    def tell(name: str) -> None:
        say(f"observer overhead: {name}", (len(order) + len(programs)) / turns)

    def run(name: str) -> dict[str, float]:
        tell(name)
        order.append(name)
        return _run(lab, workload, ways[name], round_s)

    calls = {name: partial(run, name) for name in ways}
    with shown(progress, workload.name) as say:
        workload.prepare(lab)
        interleave(calls, warmup)
        found = interleave(calls, rounds)
        for name, observer in own.items():
            tell(name)
            with observer.weighed() as programs[name]:
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
            f"observer overhead cannot be measured in {rounds} rounds after {warmup}",
            fix="give 1 round or more, and 0 or more for warming up",
        )


def _units(workload) -> dict[str, str]:
    piece = workload.work[1]
    return {"throughput": f"{piece}/s", **dict.fromkeys(_LATENCIES, "ns"), "CPU": f"ns/{piece}", OBSERVER_CPU: "CPUs"}


def _run(lab, workload, observer: Observer, round_s: float) -> dict[str, float]:
    """Run the workload once under an observer's eyes; return its metrics."""
    with observer() as pids:
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
        OBSERVER_CPU: own_s / elapsed_s,
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
