"""The tracer: compiles once, attaches programs for rules that may change, and reads until it is stopped."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from cmonlab.errors import NotTraceable
from cmonlab.points.catalogue import BY_NAME, CATALOGUE, Point
from cmonlab.points.probe import Probe
from cmonlab.rules import Plan

from .active_rules import ActiveRules, Ledger
from .aggregate_reader import CellReader, OnCells
from .constants import map_constants
from .kernel import bpf, loader, programs
from .kernel.maps import possible_cpus
from .kernel.probes import compile_points, probe_points
from .kernel.splice import splice
from .result import ReadCounts, Recording
from .ring import Ring, per_cpu, slots_in

RING_BYTES = 16 << 20
POLL_S = 0.01
MOST_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4  # a quarter of the machine's memory
CELLS_S = 1.0
_NICE = -10
_FLUSH_S = 10.0

OnRecords = Callable[[int, np.ndarray], None]


class Tracer:
    """Records what active rules take, from `start` to `stop`.

    A context manager; leaving it detaches everything.

    Parameters
    ----------
    probes : sequence of Probe
        Custom probes, whose points rules may name.
    ring_bytes : int
        Size of each CPU's ring in bytes, a power of two.
    poll_s : float
        Time between two readings of the rings, in seconds.
    max_bytes : int
        Limit of the records in memory. When it is reached, `full` is set and nothing more is read, which then counts
        as lost. 0: a quarter of the machine's memory.
    on_records : callable, optional
        Called with ``(cpu, records)`` as they are read; by default they are kept in `Recording.chunks`.
    on_cells : callable, optional
        Called with ``(start_ns, end_ns, cells)`` of each window; by default they are kept in `Recording.cells`.

    Attributes
    ----------
    active : ActiveRules
        The active rules.
    probe_points : list of Point
        Points of the custom probes.
    record : numpy.dtype
        Of ``struct hop``.
    recording : Recording
        What was read so far; complete after `stop`.
    events : int
        Number of records that were read.
    full : bool
        Whether `max_bytes` was reached.
    error : BaseException or None
        Why reading broke off.
    cells_s : callable
        Returns the length of the next window of cells, in seconds.
    switch_program : int
        fd of the program at ``sched_switch``, which finds trace gaps; -1 before `start`.

    Raises
    ------
    NotTraceable
        This host cannot trace, or lacks memory for the rings.
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
        on_records: OnRecords | None = None,
        on_cells: OnCells | None = None,
    ):
        cpus = possible_cpus()
        self._rings: list[Ring] = []
        self._probe_rings: list[Ring] = []
        self._switch_link = self.switch_program = -1
        self.probes, self.probe_points = list(probes), probe_points(probes)
        self._module = compile_points(self.probes, self.probe_points, cpus, slots_in(ring_bytes))
        self.record = self._module.maps["slots"].value["hop"]
        self._poll_s, self._max_bytes = poll_s, max_bytes or MOST_BYTES
        self.full, self.events = False, 0
        self.error: BaseException | None = None
        self.recording = Recording()
        self._read_counts = ReadCounts()
        self._on_records = on_records or self._keep_records
        self._on_cells = on_cells or (lambda *window: self.recording.cells.append(window))
        self.cells_s: Callable[[], float] = lambda: CELLS_S
        self._stopping = threading.Event()
        self._drained, self._drains = threading.Condition(), 0
        self._threads = [
            threading.Thread(target=work, name=f"cmonlab-{name}", daemon=True)
            for name, work in (("reader", self._read_until_stopped), ("cells", self._read_cells))
        ]
        try:
            self._rings = per_cpu(self._module.maps["rings"], self._module.maps["slots"])
            if self.probe_points:
                self._probe_rings = per_cpu(self._module.maps["probe_rings"], self._module.maps["probe_slots"])
            self.active = ActiveRules(self._module, self.probe_points)
            self._cells = CellReader(self._module, self.active, self._wait_for_programs)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def start(self, plans: Sequence[Plan] = (), members: Mapping[str, Iterable[int]] | None = None) -> None:
        """Start reading, and make rules active, if there are any.

        Parameters
        ----------
        plans : sequence of Plan
            As in `apply`.
        members : mapping of str to iterable of int
            As in `apply`.

        Raises
        ------
        RuleError, NotTraceable, ProbeError
            As `apply`.
        """
        point = BY_NAME["sched_switch"]
        code = splice(self._module.instructions(point.program), map_constants(self._module))
        self.switch_program = self._module.load(code, f"on_{point.name}", programs.target(point))
        self._switch_link = loader.attach(self.switch_program, programs.target(point))
        for thread in self._threads:
            thread.start()
        if plans:
            self.apply(plans, members)

    def apply(self, plans: Sequence[Plan], members: Mapping[str, Iterable[int]] | None = None) -> int:
        """Replace the active rules; see `ActiveRules.apply`. The current window of cells ends.

        Parameters
        ----------
        plans : sequence of Plan
            The rules to make active.
        members : mapping of str to iterable of int
            By name of the rule: addresses of its containers, from
            `cmonlab.tracing.kernel.addresses.address_key`.

        Returns
        -------
        int
            The new epoch.

        Raises
        ------
        RuleError
            There are too many rules.
        NotTraceable, ProbeError
            The kernel refuses a program. The rules that were active stay active.
        """
        return self._cells.take(self._on_cells, lambda: self.active.apply(plans, members))

    @property
    def window_ns(self) -> int:
        """When the current window of cells began, CLOCK_MONOTONIC."""
        return self._cells.since_ns

    @property
    def points(self) -> list[Point]:
        """The points of all rules so far, in the order of the catalogue."""
        named = {name for rule in self.active.history for name in rule.plan.points}
        return [point for point in (*CATALOGUE, *self.probe_points) if point.name in named]

    def flush(self) -> None:
        """Return when everything recorded or aggregated before this call was passed to the callbacks.

        Raises
        ------
        NotTraceable
            Reading broke off.
        """
        self.active.wait_until_retired()
        self._wait_for_programs()
        with self._drained:
            after_next = self._drains + 2
            if not self._drained.wait_for(lambda: self._drains >= after_next, _FLUSH_S):
                raise NotTraceable("the events are no longer read", why=repr(self.error), fix="start again")
        self._cells.take(self._on_cells, self.active.flip)

    @property
    def cells_layout(self) -> np.dtype:
        """The dtype of cells."""
        return self._cells.layout

    def stop(self) -> Recording:
        """Detach the programs, read what is left and return the recording."""
        self.active.detach()
        self._wait_for_programs()
        self._stopping.set()
        self._join()
        self._cells.take(self._on_cells, self.active.flip)
        self.recording.ledgers = self.ledgers()
        self.recording.tallies = self.tallies()
        self.recording.rules = list(self.active.history)
        self.recording.addresses6 = self.addresses6()
        return self.recording

    def _wait_for_programs(self) -> None:
        """Return when all programs that are running now have ended."""
        bpf.update_fd(self._module.maps["barrier"].fd, 0, self._module.maps["barrier_shape"].fd)

    def _join(self) -> None:
        for thread in self._threads:
            if thread.ident:
                thread.join()

    def _read_until_stopped(self) -> None:
        # A reader that waits for a CPU loses events: it gets priority over the workload.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        try:
            while not self._stopping.wait(self._poll_s):
                self._drain()
                with self._drained:
                    self._drains += 1
                    self._drained.notify_all()
            self._drain()
        except BaseException as error:  # the caller reports it; what is not read counts as lost
            self.error = error
        self.recording.reader_cpu_s = time.thread_time()

    def _read_cells(self) -> None:
        due_s = time.monotonic()
        try:
            while not self._stopping.wait(max(0.0, due_s + self.cells_s() - time.monotonic())):
                due_s = time.monotonic()  # before reading, which takes some time too
                if any(rule.plan.mode == "aggregate" for rule in self.active.history):
                    self._cells.take(self._on_cells, self.active.flip)
        except BaseException as error:
            self.error = error

    def _drain(self) -> None:
        for cpu, ring in enumerate(self._rings):
            if self._is_full():
                return
            self._take(cpu, self.recording.without_gaps(cpu, ring.read()))
        for cpu, ring in enumerate(self._probe_rings):
            if self._is_full():
                return
            values = ring.read()
            if len(values):
                self._take(cpu, np.ascontiguousarray(values["hop"]))
                self.recording.probe_values.append((cpu, values))

    def _is_full(self) -> bool:
        if self.events * self.record.itemsize > self._max_bytes and self._on_records == self._keep_records:
            self.full = True
        return self.full

    def _take(self, cpu: int, records: np.ndarray) -> None:
        if len(records):
            self.events += len(records)
            self._read_counts.add(records)
            self._on_records(cpu, records)

    def _keep_records(self, cpu: int, records: np.ndarray) -> None:
        self.recording.chunks.append((cpu, records))

    def ledgers(self) -> dict[int, Ledger]:
        """Return what became of every packet at the rules' points.

        These are the kernel's counters, summed over CPUs. In an epoch that has ended, a record that was not read
        counts as lost, whatever the reason.

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
            for name, row in found[epoch].items():
                read = self._read_counts.of(epoch, names[name])
                row["lost"] += row["recorded"] - read
                row["recorded"] = read
        return found

    def tallies(self) -> list[dict[str, int | str]]:
        """Return what each rule did with the packets at each of its points.

        Returns
        -------
        list of dict
            rule, slot, point, packets, bytes, sampled_out, limited, overflowed; without rules whose slot another rule
            has now.
        """
        rows: list[dict[str, int | str]] = []
        ids = {point.name: point.id for point in self.points}
        latest = {rule.slot: rule for rule in self.active.history}
        for slot, rule in latest.items():
            for name in rule.plan.points:
                tally = self.active.counters.tally(slot, ids[name])
                rows.append({"rule": rule.plan.name, "slot": slot, "point": name, **tally})
        return rows

    def addresses6(self) -> dict[int, bytes]:
        """Return the IPv6 addresses seen so far (16 bytes), by their key in the records."""
        keys, addresses = self._module.maps["addresses"].items()
        return {key: address.tobytes() for key, address in zip(keys.tolist(), addresses, strict=True)}

    def close(self) -> None:
        """Detach and free everything; idempotent."""
        self._stopping.set()
        self._join()
        if hasattr(self, "active"):
            self.active.close()
        if hasattr(self, "_cells"):
            self._cells.close()
        if self._switch_link >= 0:
            os.close(self._switch_link)
            self._switch_link = -1
        self._rings.clear()
        self._probe_rings.clear()
        self._module.close()
