"""Single eBPF programs, loaded again for each sample and timed by bpf_stats."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import MappingProxyType

from cmonlab.points.catalogue import BY_NAME
from cmonlab.rules.plan import Plan
from cmonlab.tracing.active_rules import ActiveRules
from cmonlab.tracing.kernel import bpf, loader
from cmonlab.tracing.kernel import programs as kernel
from cmonlab.tracing.kernel.loader import Module
from cmonlab.tracing.kernel.maps import possible_cpus
from cmonlab.tracing.kernel.probes import compile_points
from cmonlab.tracing.ring import SLOT_BYTES, per_cpu
from cmonlab.tracing.tracer import CELLS_S, RING_BYTES

from .kernelring import KernelRing
from .traffic import until

EVENTS_PAGES = 2048
ATTEMPTS = 20
MOST = 0.9


def compile_bench() -> Module:
    """Compile ``bench.c``."""
    text = loader.expand(loader.SOURCES / "bench.c")
    return Module(text, kernel.macros(possible_cpus()) | {"EVENTS_PAGES": EVENTS_PAGES})


class Programs:
    """cmonlab's programs and those of ``bench.c``, on one set of rings.

    A context manager; leaving it unloads everything.
    """

    def __init__(self):
        cpus = possible_cpus()
        self._stats = bpf.enable_run_time_stats()
        self._bench = compile_bench()
        self._points = compile_points((), (), cpus, RING_BYTES // SLOT_BYTES)
        self._rings = per_cpu(self._points.maps["rings"], self._points.maps["slots"])
        self._kernel_rings = [KernelRing(RING_BYTES) for _ in range(cpus)]
        for cpu, ring in enumerate(self._kernel_rings):
            bpf.update_fd(self._bench.maps["rings"].fd, cpu, ring.fd)
        self._cells, self._taken_counts = (self._points.maps[name].memory() for name in ("cells", "taken_counts"))
        self._emptied_s = time.monotonic()

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_exc) -> None:
        for module in (self._bench, self._points):
            module.close()
        for ring in self._kernel_rings:
            ring.close()
        os.close(self._stats)

    def bench(self, function: str, point: str, runs: int) -> float:
        """Return nanoseconds per run of a function of ``bench.c`` at a point."""
        with self.attached(function, [point]) as program:
            return _cost_ns(program[point], runs)

    @contextmanager
    def attached(self, function: str, points: Sequence[str]) -> Iterator[dict[str, int]]:
        """Attach a function of ``bench.c`` to points for the duration of the block; yield the programs' descriptors."""
        with ExitStack() as stack:
            stack.callback(self._empty)
            made = {}
            for point in points:
                target = kernel.target(BY_NAME[point])
                made[point] = self._bench.load(self._bench.instructions(function), function, target)
                stack.callback(self._bench.unload, made[point])
                stack.callback(os.close, loader.attach(made[point], target))
            yield made

    @contextmanager
    def active(
        self, plans: Sequence[Plan], members: Mapping[str, Sequence[int]] = MappingProxyType({})
    ) -> Iterator[ActiveRules]:
        """Activate rules for the duration of the block."""
        active = ActiveRules(self._points)
        try:
            active.apply(plans, members)
            yield active
        finally:
            active.close()
            self._empty()

    def rules(
        self, plans: Sequence[Plan], members: Mapping[str, Sequence[int]], point: str, runs: int, fate: str
    ) -> float:
        """Return nanoseconds per run of cmonlab's program at a point, generated as for real rules.

        Parameters
        ----------
        fate : str
            The ledger's column in which nine of ten packets must be, else the sample is
            taken again.

        Raises
        ------
        RuntimeError
            Other traffic of the machine, or lost events, disturb every attempt.
        """
        for _ in range(ATTEMPTS):
            with self.active(plans, members) as active:
                cost_ns = _cost_ns(active.programs[BY_NAME[point]], runs)
            row = active.ledgers()[active.epoch][point]
            if row[fate] >= MOST * row["seen"]:
                return cost_ns
        raise RuntimeError(f"at {point} only {row[fate]} of {row['seen']} packets were {fate}: other traffic disturbs")

    def drain(self) -> None:
        """Read the recorded events."""
        for ring in self._rings:
            ring.read()
        for ring in self._kernel_rings:
            ring.empty()

    def _empty(self) -> None:
        """Read the recorded events and, as often as the tracer does, the aggregates."""
        self.drain()
        if time.monotonic() - self._emptied_s > CELLS_S:
            self._emptied_s = time.monotonic()
            if self._taken_counts.any():
                self._cells[self._cells["key"]["hash"] != 0] = 0
                self._taken_counts[:] = 0


def _cost_ns(program: int, runs: int) -> float:
    """Wait for a number of runs of an attached program; return nanoseconds per run."""
    until(lambda: bpf.program_stats(program)[1] >= runs, "packets at the point", 20.0)
    time_ns, count, _ = bpf.program_stats(program)
    return time_ns / count
