"""A reader whose processor is taken: how long the kernel says it waited for it.

Run as a program of its own (``python -m cmonlab.calibrate.blocked``): no other thread of an interpreter is to keep it
from going on.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path


def main(address: str, port: int, cpu: int, count: int) -> None:
    """Read datagrams on one processor; print ``ready``, and at the end how long each read waited to run, in ns.

    The reader is of the class that does not take a processor from whoever runs there (SCHED_BATCH).
    """
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    waited, delays = Path("/proc/self/schedstat"), []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, port))
        print("ready", flush=True)
        for _ in range(count):
            before = _waited_ns(waited)
            data = sock.recv(2048)
            delays.append((int.from_bytes(data[:4], "big"), _waited_ns(waited) - before))
    print(json.dumps(delays))


def _waited_ns(file: Path) -> int:
    """Return how long this task was ready and waited for a processor, so far (sched-stats.rst)."""
    return int(file.read_text().split()[1])


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
