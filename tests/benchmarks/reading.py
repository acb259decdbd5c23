"""Cost of reading an event: the tracer's own drain loop compared with bcc's callback."""

from __future__ import annotations

import ctypes
import struct
import time
from collections.abc import Callable

import numpy as np

from cmonlab.data.analysis.stats import interleave, ratios
from cmonlab.tracing.kernel import bpf, loader, programs
from cmonlab.tracing.kernel.maps import possible_cpus
from cmonlab.tracing.tracer import Tracer

from .bccobject import compiled
from .outcome import Outcome
from .programs import EVENTS_PAGES

BATCH = 10_000  # events per poll at a million events per second
BATCHES = 12


def repeat(program: int, times: int) -> None:
    """Run a classifier on an empty packet (BPF_PROG_TEST_RUN)."""
    packet = ctypes.create_string_buffer(64)
    attr = struct.pack("<IIIIQQII", program, 0, len(packet), 0, ctypes.addressof(packet), 0, times, 0)
    bpf.call(bpf.PROG_TEST_RUN, attr)


def _cpu_ns(read: Callable[[], None]) -> int:
    before = time.thread_time_ns()
    read()
    return time.thread_time_ns() - before


class Batches:
    """The first of the tracer's rings, filled as a program does it, read as the tracer reads it."""

    def __init__(self, tracer: Tracer):
        self._tracer = tracer
        maps = tracer._module.maps
        self._ring = maps["rings"].memory()[0]
        self._slots = maps["slots"].memory()[: maps["slots"].entries // maps["rings"].entries]

    def _fill(self) -> None:
        sequences = self._ring["taken"] + np.arange(1, BATCH + 1, dtype=np.uint64)
        at = (sequences - np.uint64(1)) % np.uint64(len(self._slots))
        self._slots["hop"]["ts_ns"][at] = sequences
        self._slots["sequence"][at] = sequences
        self._ring["taken"] = sequences[-1]

    def sample(self) -> float:
        """Return nanoseconds of CPU time per event; all events are stored, as in a recording."""
        tracer, spent = self._tracer, 0
        tracer.events = 0
        for _ in range(BATCHES):
            self._fill()
            spent += _cpu_ns(tracer._drain)
        if tracer.events != BATCH * BATCHES:
            raise RuntimeError(f"{tracer.events} events came of {BATCH * BATCHES}")
        return spent / tracer.events


class Callbacks:
    """bcc's ring buffer of the same size and records, decoded event by event."""

    def __init__(self, bench):
        self._bpf = bench
        self._program = bench.load_func(b"fill_events", bench.SCHED_CLS).fd
        self._table = bench[b"events"]
        self._table.open_ring_buffer(self._on_event)
        self.events = 0

    def _on_event(self, _cpu, data, _size) -> None:
        self._table.event(data)
        self.events += 1

    def sample(self) -> float:
        """Return nanoseconds of CPU time per event; nothing is stored."""
        self.events, spent = 0, 0
        for _ in range(BATCHES):
            repeat(self._program, BATCH)
            spent += _cpu_ns(self._bpf.ring_buffer_consume)
        if self.events != BATCH * BATCHES:
            raise RuntimeError(f"{self.events} events came of {BATCH * BATCHES}")
        return spent / self.events


def run(rounds: int, budget_s: float) -> Outcome:
    """Fill both rings with as many equal records and read them."""
    macros = programs.macros(possible_cpus()) | {"EVENTS_PAGES": EVENTS_PAGES}
    bench = compiled(loader.SOURCES / "bench.c", macros)
    try:
        with Tracer() as tracer:
            readers = {"numpy": Batches(tracer), "bcc callback": Callbacks(bench)}
            found = interleave(
                {name: reader.sample for name, reader in readers.items()}, rounds, budget_s, min(rounds, 10)
            )
    finally:
        bench.cleanup()
    outcome = Outcome()
    for name, values in found.items():
        outcome.add("reading", "CPU an event", name, "ns", values)
    outcome.judge("reading", ratios(found["bcc callback"], found["numpy"]))
    return outcome
