"""The kernel's own ring buffer, one a CPU: what the floor writes its records to."""

from __future__ import annotations

import mmap
import os

import numpy as np

from cmonlab.tracing.kernel import bpf


class KernelRing:
    """A ring buffer that is emptied without a look at what is in it.

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
        """Let go of all records, those that a program is writing too: nobody will look at them."""
        self._read_to[0] = self._written_to[0]

    def close(self) -> None:
        """Release it; may be called twice."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
