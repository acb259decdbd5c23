"""What reading an event costs: the tracer's own drain loop beside bcc's callback."""

from __future__ import annotations

import ctypes
import struct
import time
from collections.abc import Callable

from cmonlab.kernel import bpf
from cmonlab.kernel.loader import SOURCES, Module, bcc
from cmonlab.kernel.tracer import CATALOGUE, Tracer, macros

from .stats import Outcome, interleave, judge, ratios

BATCH = 10_000  # events a poll at a million events a second
BATCHES = 12
EVENTS_PAGES = 2048
GOAL = 15.0


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
    """The tracer's rings, filled by a program, read as the tracer reads them."""

    def __init__(self, tracer: Tracer, module: Module):
        self._tracer = tracer
        self._program = module._bpf.load_func(b"fill_batch", bcc().BPF.SCHED_CLS).fd
        bpf.update_fd(module.map_fd("rings"), 0, tracer._rings[0].fd)

    def sample(self) -> float:
        """Return nanoseconds of CPU an event; all of them are kept, as in a recording."""
        tracer, spent = self._tracer, 0
        tracer.events = 0
        for _ in range(BATCHES):
            repeat(self._program, BATCH)
            spent += _cpu_ns(tracer._drain)
        if tracer.events != BATCH * BATCHES:
            raise RuntimeError(f"{tracer.events} events came of {BATCH * BATCHES}")
        return spent / tracer.events


class Callbacks:
    """bcc's ring buffer of the same size and records, decoded event by event."""

    def __init__(self, module: Module):
        self._bpf = module._bpf
        self._program = self._bpf.load_func(b"fill_events", bcc().BPF.SCHED_CLS).fd
        self._table = module.table("events")
        self._table.open_ring_buffer(self._on_event)
        self.events = 0

    def _on_event(self, _cpu, data, _size) -> None:
        self._table.event(data)
        self.events += 1

    def sample(self) -> float:
        """Return nanoseconds of CPU an event; nothing is kept of it."""
        self.events, spent = 0, 0
        for _ in range(BATCHES):
            repeat(self._program, BATCH)
            spent += _cpu_ns(self._bpf.ring_buffer_consume)
        if self.events != BATCH * BATCHES:
            raise RuntimeError(f"{self.events} events came of {BATCH * BATCHES}")
        return spent / self.events


def run(rounds: int, budget_s: float) -> Outcome:
    """Fill both rings with as many equal records and read them."""
    with Tracer() as tracer:
        module = Module(SOURCES / "bench.c", macros(CATALOGUE, len(tracer._rings)) | {"EVENTS_PAGES": EVENTS_PAGES}, {})
        try:
            readers = {"numpy": Batches(tracer, module), "bcc callback": Callbacks(module)}
            found = interleave(
                {name: reader.sample for name, reader in readers.items()}, rounds, budget_s, min(rounds, 10)
            )
        finally:
            module.close()
    times_less = ratios(found["bcc callback"], found["numpy"])
    return Outcome(
        {f"reading {name} ns": values for name, values in found.items()},
        [judge("reading: CPU of bcc's callback / of the numpy reader, an event", "at least", GOAL, times_less)],
    )
