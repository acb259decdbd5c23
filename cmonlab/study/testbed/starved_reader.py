"""A starved reader: a socket reader that waits for its CPU, and reports how long the kernel says it waited.

Run it as a separate program (``python -m cmonlab.study.testbed.starved_reader``), so that no other thread of the same
interpreter delays it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

from .stamps import now_ns, received, stamp_received

_NICE = 5


def main(address: str, port: int, cpu: int, count: int) -> None:
    """Read datagrams on one CPU; print ``ready``, and at the end one row per datagram as JSON.

    The reader has the scheduling class SCHED_BATCH, which does not preempt a running task, and a positive nice value,
    so it gets the smaller share of the CPU.

    A row has the number of the datagram; the time from its arrival at the device until the read (ns); how long the
    reader was runnable and waited for the CPU within the call that reads (ns); and its number of time slices within
    that call.

    Parameters
    ----------
    address : str
        IPv4 address to bind to.
    port : int
        UDP port to bind to.
    cpu : int
        The CPU to run on.
    count : int
        How many datagrams to read.
    """
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    os.nice(_NICE)
    schedule, rows = Path("/proc/self/schedstat"), []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, port))
        stamp_received(sock)
        print("ready", flush=True)
        for _ in range(count):
            waited_ns, slices = _schedstat(schedule)
            data, came = received(sock, 2048)
            took_ns = now_ns() - came
            waited_until_ns, slices_until = _schedstat(schedule)
            rows.append((int.from_bytes(data[:4], "big"), took_ns, waited_until_ns - waited_ns, slices_until - slices))
    print(json.dumps(rows))


def _schedstat(file: Path) -> tuple[int, int]:
    """Return how long (ns) this task was runnable and waited for a CPU so far, and its number of time slices.

    See Documentation/scheduler/sched-stats.rst of the kernel.
    """
    _, waited_ns, slices = map(int, file.read_text().split())
    return waited_ns, slices


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
