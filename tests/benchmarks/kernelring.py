"""The kernel's own ring buffer, one per CPU, to which the floor program writes its records."""

from __future__ import annotations

import mmap
import os

import numpy as np

from cmonlab.tracing.kernel import bpf


class KernelRing:
    """A ring buffer that is emptied without reading its records.

    Parameters
    ----------
    size_bytes : int
        Of the data area, a power of two and a multiple of the page size.
    """

    def __init__(self, size_bytes: int):
        self.fd = bpf.create_map(bpf.MAP_TYPE_RINGBUF, 0, 0, size_bytes)
        page = mmap.PAGESIZE
        self._read_to = np.frombuffer(mmap.mmap(self.fd, page), np.uint64, 1)
        self._written_to = np.frombuffer(mmap.mmap(self.fd, page, prot=mmap.PROT_READ, offset=page), np.uint64, 1)

    def empty(self) -> None:
        """Discard all records, including those that a program is writing."""
        self._read_to[0] = self._written_to[0]

    def close(self) -> None:
        """Release the ring buffer (idempotent)."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
