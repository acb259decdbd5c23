"""What this process uses of the machine."""

from __future__ import annotations

import os
import time


def process_usage() -> dict[str, float]:
    """Return ``cpu_s``, the CPU time of this process (s), and ``resident_bytes``, its resident memory.

    The memory is the second field of ``/proc/self/statm`` (proc(5)), which counts pages.
    """
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"cpu_s": time.process_time(), "resident_bytes": resident}
