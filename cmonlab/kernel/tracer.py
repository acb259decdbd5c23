"""Trace with one rule: compile, attach, read until stopped.

The tracer hands out what the kernel recorded and the ledger of what it did not.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import NotTraceable
from . import bpf, pcapfilter
from .btf import vmlinux
from .headers import offset_of
from .loader import SOURCES, Module
from .points import CATALOGUE, Point, select
from .ringbuf import RingBuffer

_BLIND = 255  # POINT_BLIND of records.h
RING_BYTES = 16 << 20
POLL_S = 0.01
_NICE = -10


@dataclass
class Recording:
    """What a tracer brought home.

    Attributes
    ----------
    chunks : list of (int, numpy.ndarray)
        CPU and records (dtype of ``struct hop``), as they were read.
    ledger : dict of str to dict of str to int
        Per point: seen, unmatched, sampled_out, recorded, lost.
    addresses6 : dict of int to bytes
        IPv6 addresses (16 bytes) by their key in the records.
    blind : list of (int, int, int)
        CPU, start and end (ns) of intervals in which tracepoints stayed silent.
    reader_cpu_s : float
        CPU time that reading took.
    """

    chunks: list[tuple[int, np.ndarray]] = field(default_factory=list)
    ledger: dict[str, dict[str, int]] = field(default_factory=dict)
    addresses6: dict[int, bytes] = field(default_factory=dict)
    blind: list[tuple[int, int, int]] = field(default_factory=list)
    reader_cpu_s: float = 0.0


def macros(points: Sequence[Point], cpus: int) -> dict[str, int]:
    """Return what ``points.c`` is compiled with on this kernel."""
    btf = vmlinux()
    defined = {f"POINT_{point.name.upper()}": point.id for point in points}
    defined |= {
        "POINTS": max(point.id for point in points) + 1,
        "CPUS": cpus,
        "GSO_SEGS_OFFSET": offset_of(btf, "skb_shared_info", "gso_segs"),
    }
    defined["RECEIVE_QUEUE_LENGTH"] = offset_of(btf, "sock", "sk_receive_queue.qlen")
    defined["READER_QUEUE_LENGTH"] = offset_of(btf, "udp_sock", "reader_queue.qlen")
    # Linux 5.18 had another argument before the tasks (kernel fa2c3254d7cf, undone in 9c2136be0878).
    defined["SWITCH_PREVIOUS"] = btf.arguments("sched_switch").index("task_struct")
    if len(btf.arguments("kfree_skb")) > 2:
        defined["KFREE_SKB_HAS_REASON"] = 1
    if btf.tracepoint("sock_recv_length") is None:
        defined["READS_HAVE_NO_TRACEPOINT"] = 1
    return defined


def available() -> list[Point]:
    """Return the points whose tracepoint this kernel has; those that stand in for others only where they must."""
    has = vmlinux().tracepoint
    return [p for p in CATALOGUE if has(p.tracepoint) and not (p.instead_of and has(p.instead_of))]


def missing() -> list[Point]:
    """Return the points whose tracepoint this kernel lacks, and that no other stands in for."""
    there = available()
    replaced = {point.instead_of for point in there}
    return [p for p in CATALOGUE if not p.instead_of and p not in there and p.name not in replaced]


def _usable(points: list[Point]) -> list[Point]:
    """Return `points`, all of which this kernel must have."""
    there = available()
    for point in points:
        if point not in there:
            others = [p.name for p in there if p.instead_of == point.name] or [point.instead_of]
            raise NotTraceable(
                f"this kernel has no point {point.name}",
                why=f"its tracepoint came with Linux {point.since}"
                if point.since
                else "its type information does not name it",
                fix=f"ask for {others[0]} instead" if others[0] else "leave the point out",
            )
    return points


def possible_cpus() -> int:
    """Return one more than the highest CPU number the kernel may ever use."""
    with open("/sys/devices/system/cpu/possible") as file:
        return int(file.read().strip().split("-")[-1].split(",")[-1]) + 1


class Tracer:
    """Every packet that a rule matches, at every point, from `start` to `stop`.

    A context manager; leaving it detaches everything.

    Parameters
    ----------
    rule : str
        A pcap expression (pcap-filter(7)); empty matches all IP packets.
    points : list of str, optional
        Names of the catalogue, by default all that this kernel has.
    ring_bytes : int
        Size of each CPU's ring buffer.
    max_bytes : int
        Stop reading into memory beyond this; `full` is set and what is not read
        counts as lost.

    Raises
    ------
    NotTraceable, RuleError, UnknownName
        This host, the rule, or a point is not usable.
    """

    def __init__(
        self, rule: str = "", points: list[str] | None = None, *, ring_bytes: int = RING_BYTES, max_bytes: int = 0
    ):
        self.points = available() if points is None else _usable(select(points))
        text = pcapfilter.to_c(pcapfilter.compile_expression(rule))
        cpus = possible_cpus()
        self._rings: list[RingBuffer] = []
        self._programs: dict[str, int] = {}
        self._module = Module(SOURCES / "points.c", macros(CATALOGUE, cpus), {"rule.h": text})
        self.record = self._module.layout("layout")
        self._max_bytes = max_bytes or _memory_share()
        self.full = False
        self.events = 0
        self.error: BaseException | None = None
        self.recording = Recording()
        self._stopping = threading.Event()
        self._reader = threading.Thread(target=self._read_until_stopped, name="cmonlab-reader", daemon=True)
        try:
            self._make_rings(cpus, ring_bytes)
        except BaseException:
            self.close()
            raise

    def _make_rings(self, cpus: int, ring_bytes: int) -> None:
        outer = self._module.map_fd("rings")
        try:
            for cpu in range(cpus):
                self._rings.append(RingBuffer(ring_bytes, self.record))
                bpf.update_fd(outer, cpu, self._rings[-1].fd)
        except OSError as error:
            raise NotTraceable(
                "the ring buffers cannot be made",
                why=error.strerror,
                fix="free memory, or ask for smaller ones (ring_bytes)",
            ) from error

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *_exc) -> None:
        self.close()

    def start(self) -> None:
        """Attach every point and start to read."""
        self._module.attach("on_sched_switch", "sched_switch")
        # Downstream points first: a journey must not begin before its end can be seen.
        for point in sorted(self.points, key=lambda p: -p.id):
            self._programs[point.name] = self._module.attach(f"on_{point.name}", point.tracepoint)
        self._reader.start()

    def stop(self) -> Recording:
        """Detach, read what is left and return the recording."""
        self._module.detach()
        # Returns once programs that still run elsewhere have ended (kernel/bpf/syscall.c, maybe_wait_bpf_programs).
        bpf.update_fd(self._module.map_fd("rings"), 0, self._rings[0].fd)
        self._stopping.set()
        if self._reader.ident:
            self._reader.join()
        self.recording.ledger = self._ledger()
        self.recording.addresses6 = {
            int(key.value): bytes(leaf) for key, leaf in self._module.table("addresses").items()
        }
        return self.recording

    def _read_until_stopped(self) -> None:
        # A reader that waits for its turn loses events: before the workload, not after it.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        try:
            while not self._stopping.wait(POLL_S):
                self._drain()
            self._drain()
        except BaseException as error:  # whoever stops us tells it; what is not read counts as lost
            self.error = error
        self.recording.reader_cpu_s = time.thread_time()

    def _drain(self) -> None:
        for cpu, ring in enumerate(self._rings):
            if self.events * self.record.itemsize > self._max_bytes:
                self.full = True
                return
            records = self._without_gaps(cpu, ring.read())
            if len(records):
                self.events += len(records)
                self.recording.chunks.append((cpu, records))

    def _without_gaps(self, cpu: int, records: np.ndarray) -> np.ndarray:
        """Set aside the records that tell of blind intervals."""
        gap = records["point"] == _BLIND
        if not gap.any():
            return records
        self.recording.blind += [
            (cpu, int(a), int(b)) for a, b in zip(records["ts_ns"][gap], records["skb"][gap], strict=True)
        ]
        return records[~gap]

    def _ledger(self) -> dict[str, dict[str, int]]:
        """Account for every packet that passed a point.

        The kernel's counters, summed over CPUs, with two corrections: a run that the
        kernel skipped as recursive was seen and lost; and a record that never came to
        hand is lost, whatever the reason.
        """
        held = np.zeros(256, np.int64)
        for _, records in self.recording.chunks:
            held += np.bincount(records["point"], minlength=256)
        table, ledger = self._module.table("counters"), {}
        for point in self.points:
            cpus = table[point.id]
            row = {name: sum(int(getattr(cpu, name)) for cpu in cpus) for name, _ in table.sLeaf._fields_}
            misses = bpf.program_stats(self._programs[point.name])[2] if point.name in self._programs else 0
            row["seen"] += misses
            row["lost"] += misses + row["recorded"] - int(held[point.id])
            row["recorded"] = int(held[point.id])
            ledger[point.name] = row
        return ledger

    def close(self) -> None:
        """Detach and free everything; may be called twice."""
        self._stopping.set()
        if self._reader.ident:
            self._reader.join()
        for ring in self._rings:
            ring.close()
        self._rings.clear()
        self._module.close()


def _memory_share() -> int:
    """A quarter of the machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
