"""A reader whose processor is taken, and how long the kernel says it waited for it.

Run as a program of its own (``python -m cmonlab.study.testbed.blocked``): no other thread of an interpreter is to keep it
from going on.
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
    """Read datagrams on one processor; print ``ready``, and at the end a row for each.

    A row has the datagram's number, from when it came to the device until it was read (ns), how long its reader waited
    to run within the call that reads (ns), and how often it came to run. The reader is of the class that does not take
    a processor from whoever runs there (SCHED_BATCH), and has the smaller share of it.
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
            waited_ns, turns = _turns(schedule)
            data, came = received(sock, 2048)
            took_ns = now_ns() - came
            waited_until_ns, turns_until = _turns(schedule)
            rows.append((int.from_bytes(data[:4], "big"), took_ns, waited_until_ns - waited_ns, turns_until - turns))
    print(json.dumps(rows))


def _turns(file: Path) -> tuple[int, int]:
    """Return how long this task was ready and waited for a processor so far, and how often it got one.

    See sched-stats.rst of the kernel.
    """
    _, waited_ns, turns = map(int, file.read_text().split())
    return waited_ns, turns


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
