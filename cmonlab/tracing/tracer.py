"""Trace with rules that may change: compile once, then attach and read until stopped; and account for what was lost."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cmonlab.errors import NotTraceable
from cmonlab.points.catalogue import BY_NAME, CATALOGUE, Point
from cmonlab.points.probe import Probe

from .active_rules import ActiveRules, Ledger, Rule, places
from .aggregate_reader import CellReader
from .kernel import bpf, loader, programs, splice
from .kernel import probes as custom
from .kernel.maps import possible_cpus
from .ring import Ring, per_cpu, slots_in

_BLIND = 255  # POINT_BLIND of records.h
RING_BYTES = 16 << 20
POLL_S = 0.01
MOST_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4  # of the machine's memory
CELLS_S = 1.0
_NICE = -10
_FLUSH_S = 10.0


@dataclass
class Recording:
    """What a tracer brought home.

    Attributes
    ----------
    chunks : list of (int, numpy.ndarray)
        CPU and records (dtype of ``struct hop``), as they were read.
    cells : list of (int, int, numpy.ndarray)
        Start and end (ns) of a window, and what was aggregated in it (the fields of
        ``struct cell_key`` and ``struct cell``).
    ledgers : dict of int to dict of str to dict of str to int
        Per epoch and point: seen, unmatched, sampled_out, counted, aggregated,
        overflowed, recorded, lost.
    tallies : list of dict
        Per rule and point: slot, point, packets, bytes, sampled_out, limited, overflowed.
    rules : list of Rule
        Those that were active, with their epochs.
    addresses6 : dict of int to bytes
        IPv6 addresses (16 bytes) by their key in the records.
    notes : list of (int, numpy.ndarray)
        CPU and what custom points took down (``struct note``), as they were read; their
        hops are among `chunks` as well.
    trace_gaps : list of (int, int, int)
        CPU, start and end (ns) of intervals in which tracepoints stayed silent.
    reader_cpu_s : float
        CPU time that reading took.
    """

    chunks: list[tuple[int, np.ndarray]] = field(default_factory=list)
    cells: list[tuple[int, int, np.ndarray]] = field(default_factory=list)
    ledgers: dict[int, Ledger] = field(default_factory=dict)
    tallies: list[dict[str, int | str]] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    addresses6: dict[int, bytes] = field(default_factory=dict)
    notes: list[tuple[int, np.ndarray]] = field(default_factory=list)
    trace_gaps: list[tuple[int, int, int]] = field(default_factory=list)
    reader_cpu_s: float = 0.0


class Tracer:
    """Every packet that a rule takes, at every point of it, from `start` to `stop`.

    A context manager; leaving it detaches everything.

    Parameters
    ----------
    probes : sequence of Probe
        Points of one's own, for rules to name.
    ring_bytes : int
        Size of each CPU's ring, a power of two.
    poll_s : float
        How long the reader waits between two looks at them.
    max_bytes : int
        Stop reading into memory beyond this; `full` is set and what is not read
        counts as lost. By default a quarter of the machine's memory.
    on_records : callable, optional
        Takes ``(cpu, records)`` as they are read, in place of the recording.
    on_cells : callable, optional
        Takes ``(start_ns, end_ns, cells)`` of each window, in place of the recording.

    Raises
    ------
    NotTraceable
        This host is not usable.
    ProbeError
        A probe does not work on this kernel, or does not compile.
    """

    def __init__(
        self,
        *,
        probes: Sequence[Probe] = (),
        ring_bytes: int = RING_BYTES,
        poll_s: float = POLL_S,
        max_bytes: int = 0,
        on_records: Callable[[int, np.ndarray], None] | None = None,
        on_cells: Callable[[int, int, np.ndarray], None] | None = None,
    ):
        cpus = possible_cpus()
        self._rings: list[Ring] = []
        self._note_rings: list[Ring] = []
        self._turns = self.turns_program = -1
        self.probes, self.own = list(probes), custom.points(probes)
        self._module = custom.compiled(self.probes, self.own, cpus, slots_in(ring_bytes))
        self.record = self._module.maps["slots"].value["hop"]
        self._poll_s, self._max_bytes = poll_s, max_bytes or MOST_BYTES
        self.full, self.events = False, 0
        self.error: BaseException | None = None
        self.recording = Recording()
        self._held: dict[int, np.ndarray] = {}
        self._on_records = on_records or self._keep_records
        self._on_cells = on_cells or (lambda *window: self.recording.cells.append(window))
        self.cells_s: Callable[[], float] = lambda: CELLS_S  # the length of the next window
        self._stopping = threading.Event()
        self._drained, self._drains = threading.Condition(), 0
        self._threads = [
            threading.Thread(target=work, name=f"cmonlab-{name}", daemon=True)
            for name, work in (("reader", self._read_until_stopped), ("cells", self._read_cells))
        ]
        try:
            self._rings = self._make_rings("")
            if self.own:
                self._note_rings = self._make_rings("note_")
            self.active = ActiveRules(self._module, self.own)
            self._cells = CellReader(self._module, self.active, self._wait_for_programs)
        except BaseException:
            self.close()
            raise

    def _make_rings(self, kind: str) -> list[Ring]:
        try:
            return per_cpu(self._module.maps[f"{kind}rings"], self._module.maps[f"{kind}slots"])
        except OSError as error:
            raise NotTraceable(
                "the rings cannot be mapped",
                why=error.strerror,
                fix="free memory, or ask for smaller ones (ring_bytes)",
            ) from error

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def start(self, plans: Sequence[Any] = (), members: Mapping[str, Sequence[int]] | None = None) -> None:
        """Start to read, and make these rules active; see `apply`."""
        point = BY_NAME["sched_switch"]
        code = splice.splice(self._module.instructions(point.program), places(self._module))
        self.turns_program = self._module.load(code, f"on_{point.name}", programs.target(point))
        self._turns = loader.attach(self.turns_program, programs.target(point))
        for thread in self._threads:
            thread.start()
        if plans:
            self.apply(plans, members)

    def apply(self, plans: Sequence[Any], members: Mapping[str, Sequence[int]] | None = None) -> int:
        """Make these the active rules; see `ActiveRules.apply`.

        A window of cells ends with the epoch before.
        """
        return self._cells.take(self._on_cells, lambda: self.active.apply(plans, members))

    @property
    def window_ns(self) -> int:
        """When the current window of cells began."""
        return self._cells.since_ns

    @property
    def points(self) -> list[Point]:
        """The points of all rules so far, in the catalogue's order."""
        named = {name for rule in self.active.history for name in rule.plan.points}
        return [point for point in (*CATALOGUE, *self.own) if point.name in named]

    def flush(self) -> None:
        """Return when all that was recorded and aggregated before this call has been handed out.

        Raises
        ------
        NotTraceable
            Nothing is read any more.
        """
        self.active.settle()
        self._wait_for_programs()
        with self._drained:
            after_next = self._drains + 2
            if not self._drained.wait_for(lambda: self._drains >= after_next, _FLUSH_S):
                raise NotTraceable("the events are not read any more", why=repr(self.error), fix="start again")
        self._cells.take(self._on_cells)

    @property
    def cells_layout(self) -> np.dtype:
        """The layout of cells."""
        return self._cells.layout

    def stop(self) -> Recording:
        """Detach, read what is left and return the recording."""
        self.active.silence()
        self._wait_for_programs()
        self._stopping.set()
        self._join()
        self._cells.take(self._on_cells)
        self.recording.ledgers = self.ledgers()
        self.recording.tallies = self.tallies()
        self.recording.rules = list(self.active.history)
        self.recording.addresses6 = self.addresses6()
        return self.recording

    def _wait_for_programs(self) -> None:
        """Return when no program runs any more that ran before."""
        bpf.update_fd(self._module.maps["barrier"].fd, 0, self._module.maps["barrier_shape"].fd)

    def _join(self) -> None:
        for thread in self._threads:
            if thread.ident:
                thread.join()

    def _read_until_stopped(self) -> None:
        # A reader that waits for its turn loses events: before the workload, not after it.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        try:
            while not self._stopping.wait(self._poll_s):
                self._drain()
                with self._drained:
                    self._drains += 1
                    self._drained.notify_all()
            self._drain()
        except BaseException as error:  # whoever stops us tells it; what is not read counts as lost
            self.error = error
        self.recording.reader_cpu_s = time.thread_time()

    def _read_cells(self) -> None:
        due_s = time.monotonic()
        try:
            while not self._stopping.wait(max(0.0, due_s + self.cells_s() - time.monotonic())):
                due_s = time.monotonic()  # taking them takes a while, too
                if any(rule.plan.mode == "aggregate" for rule in self.active.history):
                    self._cells.take(self._on_cells)
        except BaseException as error:
            self.error = error

    def _drain(self) -> None:
        for cpu, ring in enumerate(self._rings):
            if self._is_full():
                return
            self._take(cpu, self._without_gaps(cpu, ring.read()))
        for cpu, ring in enumerate(self._note_rings):
            if self._is_full():
                return
            notes = ring.read()
            if len(notes):
                self._take(cpu, np.ascontiguousarray(notes["hop"]))
                self.recording.notes.append((cpu, notes))

    def _is_full(self) -> bool:
        if self.events * self.record.itemsize > self._max_bytes and self._on_records == self._keep_records:
            self.full = True
        return self.full

    def _take(self, cpu: int, records: np.ndarray) -> None:
        if len(records):
            self.events += len(records)
            self._count(records)
            self._on_records(cpu, records)

    def _count(self, records: np.ndarray) -> None:
        epochs = records["epoch"]
        # Nearly always one; around a change they may alternate.
        for epoch in [epochs[0]] if (epochs == epochs[0]).all() else np.unique(epochs):
            points = records["point"][epochs == epoch]
            held = self._held.setdefault(int(epoch), np.zeros(256, np.int64))
            held += np.bincount(points, minlength=256)

    def _keep_records(self, cpu: int, records: np.ndarray) -> None:
        self.recording.chunks.append((cpu, records))

    def _without_gaps(self, cpu: int, records: np.ndarray) -> np.ndarray:
        """Set aside the records of trace gaps."""
        gap = records["point"] == _BLIND
        if not gap.any():
            return records
        told = records[gap]
        end = told["daddr"].astype(np.int64) << 32 | told["saddr"]
        self.recording.trace_gaps += [(cpu, int(a), int(b)) for a, b in zip(told["ts_ns"], end, strict=True)]
        return records[~gap]

    def ledgers(self) -> dict[int, Ledger]:
        """Account for every packet that passed a point of the rules, by epoch.

        The kernel's counters, summed over CPUs; once stopped, or an epoch over, a record
        that never came to hand is lost, whatever the reason.

        Returns
        -------
        dict of int to dict of str to dict of str to int
            Epoch → point → seen, unmatched, sampled_out, counted, aggregated,
            overflowed, recorded, lost.
        """
        names = {point.name: point.id for point in self.points}
        found = {}
        for epoch, rows in self.active.ledgers().items():
            found[epoch] = {name: rows[name] for name in names if name in rows}
            if epoch == self.active.epoch and not self._stopping.is_set():
                continue
            held = self._held.get(epoch & 0xFFFF, np.zeros(256, np.int64))
            for name, row in found[epoch].items():
                row["lost"] += row["recorded"] - int(held[names[name]])
                row["recorded"] = int(held[names[name]])
        return found

    def tallies(self) -> list[dict[str, int | str]]:
        """Account for what each rule, of those that hold a slot, made of the packets at each of its points."""
        rows, ids = [], {point.name: point.id for point in self.points}
        latest = {rule.slot: rule for rule in self.active.history}
        for slot, rule in latest.items():
            for name in rule.plan.points:
                tally = self.active.counters.tally(slot, ids[name])
                rows.append({"rule": rule.plan.name, "slot": slot, "point": name, **tally})
        return rows

    def addresses6(self) -> dict[int, bytes]:
        """Return the IPv6 addresses seen so far, by their key in the records."""
        keys, addresses = self._module.maps["addresses"].items()
        return {key: address.tobytes() for key, address in zip(keys.tolist(), addresses, strict=True)}

    def close(self) -> None:
        """Detach and free everything; may be called twice."""
        self._stopping.set()
        self._join()
        if hasattr(self, "active"):
            self.active.close()
        if hasattr(self, "_cells"):
            self._cells.close()
        if self._turns >= 0:
            os.close(self._turns)
            self._turns = -1
        self._rings.clear()
        self._note_rings.clear()
        self._module.close()
