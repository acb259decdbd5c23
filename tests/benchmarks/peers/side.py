"""Side by side on the same containers and the same traffic: cmonlab and other tracers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cmonlab
from cmonlab.errors import CmonlabError
from cmonlab.points.catalogue import CATALOGUE
from cmonlab.recording.overhead import measure

from ..outcome import Outcome
from . import callback, dump, ours, perf, script
from .tracer import Program, Tracer
from .verdict import AGGREGATE, ALL, ANY, CAPTURE, OURS, judged

POINTS = [point.name for point in CATALOGUE if "path" in point.groups]
WORKLOADS = {
    "sockperf TCP": partial(cmonlab.Sockperf, protocol="tcp"),
    "sockperf UDP": partial(cmonlab.Sockperf, protocol="udp"),
    "memcached": cmonlab.Memcached,
    "iperf3 TCP": partial(cmonlab.Iperf, protocol="tcp"),
    # More than it can send, so as fast as possible.
    "iperf3 UDP, 64 B": partial(cmonlab.Iperf, protocol="udp", length_bytes=64, bitrate_bps=10_000_000_000),
}
EACH = "tcpdump on each interface"
#: In a quick run, every tracer traces these workloads, and these tracers trace every workload.
QUICK_WORKLOADS, QUICK_WAYS = ("sockperf TCP",), (ALL, AGGREGATE, ANY)
Maker = Callable[[object, str, Path], Program]


def _ours(mode: str, points: Sequence[str], keep: bool, _lab, expression: str, scratch: Path) -> Program:
    return ours.program(expression, mode, points, str(scratch / "session") if keep else "")


def _of_port(make: Callable[..., Program], _lab, expression: str, *scratch: Path) -> Program:
    protocol, _, port = expression.split()
    return make(protocol, int(port), *scratch)


#: Tracers: each function takes a lab, an expression of the form "tcp port 80" and a directory, and returns a program.
WAYS: dict[str, Maker] = {
    CAPTURE: partial(_ours, "capture", ["path"], True),
    ALL: partial(_ours, "capture", ["all"], False),
    AGGREGATE: partial(_ours, "aggregate", ["default"], False),
    ANY: dump.everywhere,
    EACH: dump.on_each,
    "bpftrace": partial(_of_port, partial(script.program, POINTS)),
    "bcc's callback": lambda lab, expression, _: _of_port(callback.program, lab, expression),
    "perf record": lambda _lab, _expression, scratch: perf.record(POINTS, scratch),
    "perf trace": lambda _lab, _expression, scratch: perf.trace(POINTS, scratch),
}


class Side:
    """One workload, traced by every tracer.

    Parameters
    ----------
    lab : Lab
    name : str
        Of `WORKLOADS`.
    ways : mapping of str to callable
        Of `WAYS`.
    """

    def __init__(self, lab, name: str, ways: dict[str, Maker]):
        self.lab, self.name, self.ways = lab, name, ways
        self.workload = WORKLOADS[name](server="c0", client="c1")
        self.values: dict[str, dict[str, list[float]]] = {way: {} for way in ways}

    @contextmanager
    def look(self, way: str) -> Iterator[list[int]]:
        """Run a tracer for the duration of the block, then the analysis that it leaves to its user."""
        with tempfile.TemporaryDirectory(prefix="cmonlab-bench-") as folder:
            scratch = Path(folder)
            tracer = Tracer(self.ways[way](self.lab, self.workload.default_rule, scratch), scratch)
            with tracer as pids:
                yield pids
            account = tracer.account
            if account.events is not None:
                self._tell(way, "events", account.events)
                self._tell(way, "lost", 100 * account.lost / max(1, account.lost + account.events))
            elif way in OURS:
                raise CmonlabError(f"{way} does not end")
            if way in (CAPTURE, ANY, EACH) and account.events:
                self._tell(way, "offline", offline(scratch))

    def _tell(self, way: str, what: str, value: float) -> None:
        self.values[way].setdefault(what, []).append(float(value))

    def outcome(self, rounds: int) -> Outcome:
        """Measure; return samples and targets."""
        found = measure(self.lab, self.workload, {way: partial(self.look, way) for way in self.ways}, rounds, 1.0, 0)
        outcome = Outcome()
        units = {"lost": "% of the events", "events": "events", "offline": "events/s"}
        for way, metrics in found.samples.items():
            for metric, values in metrics.items():
                outcome.add("peers", f"{self.name}: {metric}", way, *_readable(found.units[metric], values))
        for way, metrics in self.values.items():
            for what, values in metrics.items():
                outcome.add("peers", f"{self.name}: {what}", way, units[what], values)
        outcome.merge(judged(self.name, found))
        return outcome


def _readable(unit: str, values: list[float]) -> tuple[str, list[float]]:
    """Return latencies in microseconds, other values unchanged."""
    return ("us", [value / 1000 for value in values]) if unit == "ns" else (unit, values)


def offline(scratch: Path) -> float:
    """Return how many events per second of CPU time become segments, of a session or of captures of tcpdump."""
    command = [sys.executable, "-m", "tests.benchmarks.peers.offline", str(scratch)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run(rounds: int, quick: bool) -> Outcome:
    """Measure every workload with every tracer that runs here."""
    outcome = Outcome()
    with cmonlab.templates.bridge(containers=2).deploy() as lab:
        ways, missing = available(lab)
        outcome.notes += [f"side by side: {way} does not run here: {why}" for way, why in missing.items()]
        for name in WORKLOADS:
            print(f"cmonlab: side by side, {name} …", file=sys.stderr)
            some = {way: ways[way] for way in ways if not quick or name in QUICK_WORKLOADS or way in QUICK_WAYS}
            with keeping_to(first_cpu() if name.startswith("sockperf") else everywhere(), lab):
                outcome.merge(Side(lab, name, some).outcome(rounds))
    return outcome


def first_cpu() -> str:
    """Return the first CPU, for both ends of one message at a time.

    Which of them wakes the other on which CPU, and how long that CPU takes to wake, would decide more than tracing.
    """
    return str(min(os.sched_getaffinity(0)))


def everywhere() -> str:
    """Return all CPUs."""
    return ",".join(map(str, sorted(os.sched_getaffinity(0))))


@contextmanager
def keeping_to(cpus: str, lab) -> Iterator[None]:
    """Restrict the lab's containers to some CPUs for the duration of the block; tracers may use all."""

    def let(allowed: str) -> None:
        for container in lab.containers.values():
            lab.client.api.update_container(container.id, cpuset_cpus=allowed)

    let(cpus)
    try:
        yield
    finally:
        let(everywhere())


def available(lab) -> tuple[dict[str, Maker], dict[str, str]]:
    """Try every tracer on a quiet network; return those that run, and why others do not.

    Raises
    ------
    CmonlabError
        One of cmonlab's own does not.
    """
    ways, missing = {}, {}
    for way, make in WAYS.items():
        with tempfile.TemporaryDirectory(prefix="cmonlab-bench-") as folder:
            try:
                with Tracer(make(lab, "tcp port 9", Path(folder)), Path(folder)):
                    pass
                ways[way] = make
            except (CmonlabError, OSError, ValueError, TimeoutError, subprocess.SubprocessError) as error:
                if way in OURS:
                    raise
                missing[way] = str(error).replace("\n", " ")
    return ways, missing
