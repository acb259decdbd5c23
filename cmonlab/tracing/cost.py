"""What cmonlab's own programs cost, measured while they run.

The kernel can count the run time of programs (``bpf_stats``), but this adds two readings of the clock to each run. So
it counts only during a short window at the end of each interval. cmonlab's own counters always count packets; the
packets in the window and in the interval give the factor for the whole interval.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cmonlab.points.catalogue import BY_NAME, CATALOGUE

from .kernel import bpf
from .kernel.maps import names_of

if TYPE_CHECKING:
    from .active_rules import ActiveRules
    from .tracer import Tracer

PERIOD_S, WINDOW_S = 0.5, 0.05
_MIN_HOPS = 200  # with fewer, nothing is reported
_MIN_SHARE = 0.1  # of the interval, that a CPU counts as having been in the kernel
_TICKS = os.sysconf("SC_CLK_TCK")
_LIGHT = ("sampled_out", "counted")
_SWITCH = "sched_switch"


@dataclass(frozen=True)
class Cost:
    """What the programs cost in an interval.

    Attributes
    ----------
    run_ns : dict of str to float
        By point: run time of its program in ns, on all CPUs together.
    hops : int
        Packets seen, added up over all points.
    packets : int
        Packets seen at the point of the group ``path`` that most packets pass.
    share : float
        The programs' share of the CPU time spent in the kernel, 0 to 1, on the CPUs where the packets are: for each
        CPU the run time divided by its time in the kernel, at least a tenth of the interval; then the mean over
        packets.
    unmatched, light, taken : dict of str to int
        By point: packets that no rule matched, packets that rules only counted or sampled out, and packets that rules
        recorded or aggregated.
    matched : dict of (int, str) to int
        By slot of a rule and point: packets that the rule matched.
    """

    run_ns: dict[str, float]
    hops: int
    packets: int
    share: float
    unmatched: dict[str, int]
    light: dict[str, int]
    taken: dict[str, int]
    matched: dict[tuple[int, str], int]

    @property
    def hop_ns(self) -> float:
        """CPU time in ns per packet and point; that of programs without packets is distributed over all packets."""
        return sum(self.run_ns.values()) / self.hops

    @property
    def packet_ns(self) -> float:
        """CPU time in ns per packet, at all points together."""
        return sum(self.run_ns.values()) / self.packets


@dataclass(frozen=True)
class _Reading:
    epoch: int
    ts_ns: int
    kernel_ns: np.ndarray  # shape (cpus,)
    run_ns: dict[str, int]
    points: tuple[str, ...]
    rows: np.ndarray  # shape (cpus, points)

    @property
    def hops(self) -> int:
        return int(self.rows["seen"].sum())


class Meter:
    """Measures what the programs of a tracer cost.

    Parameters
    ----------
    tracer : Tracer
        A tracer that was started.
    """

    def __init__(self, tracer: Tracer):
        self._tracer = tracer
        self._last: _Reading | None = None
        # The program of softirqs counts no packets.
        self._ids = {point.name: point.id for point in (*CATALOGUE, *tracer.probe_points) if point.stage != "softirq"}

    def measure(self, wait: Callable[[float], object]) -> Cost | None:
        """Return what the programs cost since the last call, or in `PERIOD_S`; takes `PERIOD_S` seconds.

        Parameters
        ----------
        wait : callable
            Called with a number of seconds; may return earlier.

        Returns
        -------
        Cost or None
            None if the rules changed meanwhile, or there were too few packets.

        Raises
        ------
        OSError
            The kernel cannot count the run time of programs.
        """
        last, self._last = self._last, None
        if last is None or last.epoch != self._tracer.active.epoch:
            last = self._read()
        wait(PERIOD_S - WINDOW_S)
        stats = bpf.enable_run_time_stats()
        try:
            begin = self._read()
            wait(WINDOW_S)
            end = self._read()
        finally:
            os.close(stats)
        self._last = end
        if not last.epoch == begin.epoch == end.epoch:
            return None
        return _cost(last, begin, end)

    def _read(self) -> _Reading:
        active = self._tracer.active
        epoch, times = active.run_times()
        run_ns = {name: ran for name, (ran, _) in times.items()}
        run_ns[_SWITCH] = run_ns.get(_SWITCH, 0) + bpf.program_stats(self._tracer.switch_program)[0]
        points = tuple(name for name in run_ns if name in self._ids)
        rows = active.counters.passed(epoch, [self._ids[name] for name in points])
        return _Reading(epoch, time.monotonic_ns(), kernel_ns(len(rows)), run_ns, points, rows)


@contextmanager
def time_programs(active: ActiveRules) -> Iterator[dict[str, tuple[float, int]]]:
    """Measure the run time of the programs of a rule set during a block, which makes them a little slower.

    Parameters
    ----------
    active : ActiveRules
        The rules.

    Yields
    ------
    dict of str to (float, int)
        Filled when the block ends. By point: the mean run time in ns, including one reading of the clock, and the
        number of runs. Without points that did not run; empty if the kernel cannot count (see `differences`) or the
        rules changed meanwhile.
    """
    found: dict[str, tuple[float, int]] = {}
    try:
        stats = bpf.enable_run_time_stats()
    except OSError:
        yield found
        return
    try:
        epoch, begin = active.run_times()
        yield found
        last, end = active.run_times()
    finally:
        os.close(stats)
    if last != epoch:
        return
    for name, (ran, runs) in reversed(end.items()):  # programs at the end of the path were loaded first
        if (count := runs - begin[name][1]) > 0:
            found[name] = ((ran - begin[name][0]) / count, count)


def kernel_ns(cpus: int) -> np.ndarray:
    """Return how long each CPU has been in the kernel since boot, including interrupts (proc_stat(5)).

    Parameters
    ----------
    cpus : int
        Highest CPU number + 1.

    Returns
    -------
    numpy.ndarray of int64, shape (cpus,)
        ns.
    """
    found = np.zeros(cpus, np.int64)
    with open("/proc/stat") as file:
        for line in file:
            name, *ticks = line.split()
            if name.startswith("cpu") and name != "cpu" and int(name[3:]) < cpus:
                _user, _nice, system, _idle, _iowait, irq, softirq, *_ = map(int, ticks)
                found[int(name[3:])] = (system + irq + softirq) * (10**9 // _TICKS)
    return found


def _cost(last: _Reading, begin: _Reading, end: _Reading) -> Cost | None:
    seen = (end.rows["seen"] - last.rows["seen"]).astype(np.int64)
    hops, watched = int(seen.sum()), end.hops - begin.hops
    if hops < _MIN_HOPS or watched < 1:
        return None
    run_ns = {name: (end.run_ns[name] - begin.run_ns[name]) * hops / watched for name in end.run_ns}
    path = [BY_NAME[name].groups if name in BY_NAME else () for name in end.points]
    on_path = np.array(["path" in groups for groups in path])
    by_point = seen.sum(axis=0)
    elapsed_ns = end.ts_ns - last.ts_ns
    in_kernel = np.maximum(end.kernel_ns - last.kernel_ns, _MIN_SHARE * elapsed_ns)
    weight = seen.sum(axis=1) / hops

    def counted(*fates: str) -> dict[str, int]:
        rows = [(end.rows[fate] - last.rows[fate]).sum(axis=0) for fate in fates]
        return {name: int(sum(row[at] for row in rows)) for at, name in enumerate(end.points)}

    others = [name for name in names_of(end.rows) if name not in ("seen", "unmatched", "rules", *_LIGHT)]
    matched = (end.rows["rules"]["packets"] - last.rows["rules"]["packets"]).sum(axis=0).astype(np.int64)
    return Cost(
        run_ns,
        hops,
        int(by_point[on_path].max() if on_path.any() and by_point[on_path].any() else by_point.max()),
        float((weight**2 * sum(run_ns.values()) / in_kernel).sum()),
        counted("unmatched"),
        counted(*_LIGHT),
        counted(*others),
        {
            (slot, name): int(matched[at, slot])
            for at, name in enumerate(end.points)
            for slot in np.flatnonzero(matched[at]).tolist()
        },
    )
