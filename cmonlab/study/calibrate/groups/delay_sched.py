"""Waiting for a CPU: a reader that shares its CPU with a busy process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import pandas as pd

from cmonlab.errors import WorkloadError
from cmonlab.session.session import Session

from ...testbed.testbed import Testbed
from ...testbed.traffic import ADDRESS, free_port, payload, recording, udp_socket
from ..check import Check, Unavailable, repeat_over_trace_gaps
from ..score import GROUP, compared, hops_of, known, leaked

SIZE = 400
_DEADLINE_S = 20
_BUSY_TICKS = 20  # of user time, 10 ms each
# It ends when its parent has ended.
_HOG = "import os\nwhile os.getppid() == {parent}: pass"


def run(bed: Testbed, quick: bool) -> Iterator[list[Check] | Unavailable]:
    """Yield the checks.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    quick : bool
        Fewer packets.
    """
    if not Path("/proc/self/schedstat").exists():
        yield Unavailable(GROUP, "delay: a starved reader", "the kernel has no /proc/self/schedstat")
        return
    yield repeat_over_trace_gaps(partial(_starved, bed, 30 if quick else 200))


def _starved(bed: Testbed, count: int) -> Iterator[Check]:
    cpu = max(os.sched_getaffinity(0))
    plain, _, _ = _read(bed, cpu, count, nullcontext())
    session, truth, port = _read(bed, cpu, count, _hog(cpu))
    hops = hops_of(session, port, SIZE, count)
    rows = hops[hops["kind"] == "scheduling"].groupby("number")["segment_ns"].sum()
    reported = rows.reindex(sorted(set(hops["number"]))).fillna(0)
    note = (
        "At least the time that the reading task was runnable and waited for a CPU, by the kernel's scheduler "
        "(/proc/self/schedstat; it counts from when the task's CPU has processed the wakeup); at most the time from "
        "the kernel's stamp of the packet at c0's device until after the reader's system call. The reader shares one "
        "CPU with a process that is always busy."
    )
    name = "a starved reader"
    yield from compared(name, truth, reported, session, hops, note=note)
    yield leaked(
        name,
        _unscheduled(plain),
        _unscheduled(session),
        float(reported.median()),
        trace_gap_ns=plain.trace_gap_ns + session.trace_gap_ns,
    )


def _unscheduled(session: Session) -> pd.Series:
    """Return the one-way delay of each journey without its waits for a CPU, in ns."""
    hops = session.hops()
    spent = hops["segment_ns"].where(hops["kind"] != "scheduling", 0)
    return spent.groupby(hops["journey"]).sum()


def _read(
    bed: Testbed, cpu: int, count: int, meanwhile: AbstractContextManager[None]
) -> tuple[Session, pd.DataFrame, int]:
    """Send each datagram when the reader waits for it; return the session, the bounds of each wait, and the port."""
    port, sender = free_port(), udp_socket(bed, "c1")
    words = ("-m", "cmonlab.study.testbed.starved_reader", ADDRESS[4]["c0"], str(port), str(cpu), str(count))
    with sender, meanwhile, bed.popen("c0", sys.executable, *words) as reader:
        try:
            if reader.stdout is None or reader.stdout.readline() != "ready\n":
                raise WorkloadError("the reader did not start", why=f"it ended with {reader.wait()}")
            with recording(bed, f"udp port {port}", points=["default", "sched"]) as done:
                for number in range(count):
                    _until_asleep(reader.pid)
                    sender.sendto(payload(number, SIZE), (ADDRESS[4]["c0"], port))
                output, _ = reader.communicate(timeout=_DEADLINE_S)
        finally:
            reader.kill()
    columns = ["number", "took_ns", "waited_ns", "slices"]
    rows = pd.DataFrame(json.loads(output), columns=columns).set_index("number")
    # Waits in several time slices were not all between the wakeup and the read.
    return done.session, known(rows["waited_ns"].where(rows["slices"] == 1, 0), rows["took_ns"]), port


def _until_asleep(pid: int) -> None:
    _until(lambda: _stat(pid)[0] == "S", "the reader does not wait for a packet")


def _until_busy(pid: int) -> None:
    """Return when a process has used more CPU time than an interpreter needs to start."""
    _until(lambda: int(_stat(pid)[11]) >= _BUSY_TICKS, "the busy process does not run")


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on (proc_pid_stat(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while not holds():
        if time.monotonic() > deadline:
            raise WorkloadError(what, why=f"not within {_DEADLINE_S} s")


@contextmanager
def _hog(cpu: int) -> Iterator[None]:
    """Keep one CPU busy for the duration of the block."""
    with subprocess.Popen([sys.executable, "-c", _HOG.format(parent=os.getpid())]) as hog:
        try:
            os.sched_setaffinity(hog.pid, {cpu})
            _until_busy(hog.pid)
            yield
        finally:
            hog.kill()
