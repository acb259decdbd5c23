"""What our own programs cost, measured while they run.

The kernel can count the time that programs run, which costs two readings of the clock for
each run.  So it does for a short while at a time, and the packets, which our own counters
know at any time, tell how much that is of the whole interval.
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

if TYPE_CHECKING:
    from .active_rules import ActiveRules
    from .tracer import Tracer

PERIOD_S, WINDOW_S = 0.5, 0.05
_FEWEST = 200  # hops: fewer are no load worth telling
_LEAST = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")
_LIGHT = ("sampled_out", "counted")
_TURNS = "sched_switch"


@dataclass(frozen=True)
class Cost:
    """What the programs cost in an interval.

    Attributes
    ----------
    run_ns : dict of str to float
        By point: how long its program ran, on all CPUs together.
    hops : int
        Packets seen, at all points together.
    packets : int
        Those seen at the point of a packet's way that most of them pass.
    share : float
        Of the kernel's time where the packets are: the programs' run time on each CPU by the time
        that it was in the kernel, the mean over the packets; the latter is taken to be a tenth of
        the interval at least.
    unmatched, light, taken : dict of str to int
        By point: packets that no rule matched, that rules counted or sampled out, and those that
        rules recorded or aggregated.
    matched : dict of (int, str) to int
        By slot of a rule and point: the packets that it matched.
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
        """Nanoseconds that a packet cost at a point, what runs without packets laid upon them."""
        return sum(self.run_ns.values()) / self.hops

    @property
    def packet_ns(self) -> float:
        """Nanoseconds that a packet cost at all points together."""
        return sum(self.run_ns.values()) / self.packets


@dataclass(frozen=True)
class _Reading:
    epoch: int
    ts_ns: int
    kernel_ns: np.ndarray  # (CPUs,)
    run_ns: dict[str, int]
    points: tuple[str, ...]
    rows: np.ndarray  # (CPUs, points)

    @property
    def hops(self) -> int:
        return int(self.rows["seen"].sum())


class Meter:
    """Measures the programs of a tracer.

    Parameters
    ----------
    tracer : Tracer
    """

    def __init__(self, tracer: Tracer):
        self._tracer = tracer
        self._last: _Reading | None = None
        # Programs of softirqs count nothing.
        self._ids = {point.name: point.id for point in (*CATALOGUE, *tracer.own) if point.stage != "softirq"}

    def measure(self, wait: Callable[[float], object]) -> Cost | None:
        """Return what the programs cost in `PERIOD_S`, which it takes, from the end of the last one on.

        Parameters
        ----------
        wait : callable
            Waits so many seconds, or less.

        Returns
        -------
        Cost or None
            None where the rules changed meanwhile, or hardly a packet came.

        Raises
        ------
        OSError
            The kernel does not count the time of programs.
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
        run_ns[_TURNS] = run_ns.get(_TURNS, 0) + bpf.program_stats(self._tracer.turns_program)[0]
        points = tuple(name for name in run_ns if name in self._ids)
        rows = active.counters.passed(epoch, [self._ids[name] for name in points])
        return _Reading(epoch, time.monotonic_ns(), kernel_ns(len(rows)), run_ns, points, rows)


@contextmanager
def time_programs(active: ActiveRules) -> Iterator[dict[str, tuple[float, int]]]:
    """Count how long the programs of a rule set run while the block does; the counting itself slows them a little.

    Parameters
    ----------
    active : ActiveRules

    Yields
    ------
    dict of str to (float, int)
        Filled when the block is done: by point, the mean time of a run (ns), one reading of the clock included, and
        runs. Without points that did not run; empty where the kernel does not count (before Linux 5.8), or the rules
        changed meanwhile.
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
    for name, (ran, runs) in reversed(end.items()):  # programs at the end of a packet's way were loaded first
        if (times := runs - begin[name][1]) > 0:
            found[name] = ((ran - begin[name][0]) / times, times)


def kernel_ns(cpus: int) -> np.ndarray:
    """Return how long each CPU has been in the kernel since boot (ns), interrupts included, shape (cpus,)."""
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
    if hops < _FEWEST or watched < 1:
        return None
    run_ns = {name: (end.run_ns[name] - begin.run_ns[name]) * hops / watched for name in end.run_ns}
    path = [BY_NAME[name].groups if name in BY_NAME else () for name in end.points]
    on_path = np.array(["path" in groups for groups in path])
    by_point = seen.sum(axis=0)
    elapsed_ns = end.ts_ns - last.ts_ns
    in_kernel = np.maximum(end.kernel_ns - last.kernel_ns, _LEAST * elapsed_ns)
    weight = seen.sum(axis=1) / hops

    def told(*fates: str) -> dict[str, int]:
        sums = sum((end.rows[fate] - last.rows[fate]).sum(axis=0).astype(np.int64) for fate in fates)
        return dict(zip(end.points, sums.tolist(), strict=True))

    others = [name for name in end.rows.dtype.names if name not in ("seen", "unmatched", "rules", *_LIGHT)]
    matched = (end.rows["rules"]["packets"] - last.rows["rules"]["packets"]).sum(axis=0).astype(np.int64)
    return Cost(
        run_ns,
        hops,
        int(by_point[on_path].max() if on_path.any() and by_point[on_path].any() else by_point.max()),
        float((weight**2 * sum(run_ns.values()) / in_kernel).sum()),
        told("unmatched"),
        told(*_LIGHT),
        told(*others),
        {
            (slot, name): int(matched[at, slot])
            for at, name in enumerate(end.points)
            for slot in np.flatnonzero(matched[at])
        },
    )
