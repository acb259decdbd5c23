"""Read BPF ring buffers in batches with numpy, no Python per record.

Records of one size lie at a constant stride (an 8-byte header and the payload), and
the kernel maps the data pages twice in a row, so what is unread is always one
contiguous array, across the wrap too (``kernel/bpf/ringbuf.c``).
"""

from __future__ import annotations

import mmap
import os

import numpy as np

from ..errors import NotTraceable
from . import bpf

_BUSY, _DISCARDED = np.uint32(1 << 31), np.uint32(1 << 30)
_PAGE = mmap.PAGESIZE


class RingBuffer:
    """One ring buffer whose records all have the same size.

    Parameters
    ----------
    size_bytes : int
        Size of the data area, a power of two and a multiple of the page size.
    record : numpy.dtype
        Layout of a record's payload.

    Raises
    ------
    OSError
        The kernel refuses the map.
    """

    def __init__(self, size_bytes: int, record: np.dtype):
        self.fd = bpf.create_ringbuf(size_bytes)
        self._describe(size_bytes, record)
        self._consumer = mmap.mmap(self.fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
        self._data = mmap.mmap(self.fd, _PAGE + 2 * size_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE)
        self._read_to = np.frombuffer(self._consumer, np.uint64, 1)
        self._written_to = np.frombuffer(self._data, np.uint64, 1)

    def _describe(self, size_bytes: int, record: np.dtype) -> None:
        self._size, self._record = size_bytes, record
        self._payload = np.dtype((np.void, record.itemsize))  # numpy copies bytes faster than fields
        self._slot = np.dtype({"names": ["header", "payload"], "formats": ["<u4", self._payload], "offsets": [0, 8],
                               "itemsize": 8 + -(-record.itemsize // 8) * 8})  # fmt: skip

    def read(self) -> np.ndarray:
        """Take what has been written since the last call.

        Returns
        -------
        numpy.ndarray, shape (n,), of the record's dtype
            Copies; their space in the ring is free again.
        """
        start = int(self._read_to[0])
        count = (int(self._written_to[0]) - start) // self._slot.itemsize
        if count == 0:
            return np.empty(0, self._record)
        slots = np.frombuffer(self._data, self._slot, count, _PAGE + start % self._size)
        flags = slots["header"]
        if flags.max() >= _DISCARDED:  # rare: a producer is still writing that record, or gave it up
            busy = (flags & _BUSY) != 0
            count = int(busy.argmax()) if busy.any() else count
            slots = slots[:count][(flags[:count] & _DISCARDED) == 0]
        records = slots["payload"].copy().view(self._record)
        self._read_to[0] = start + count * self._slot.itemsize
        return records

    def close(self) -> None:
        """Unmap and release; may be called twice."""
        if self.fd < 0:
            return
        del self._read_to, self._written_to
        self._consumer.close()
        self._data.close()
        os.close(self.fd)
        self.fd = -1


def per_cpu(outer_fd: int, cpus: int, size_bytes: int, record: np.dtype) -> list[RingBuffer]:
    """Return a ring buffer for each CPU, put into an array of maps.

    Parameters
    ----------
    outer_fd : int
        The array of maps.
    cpus : int
        How many.
    size_bytes, record
        See `RingBuffer`.

    Raises
    ------
    NotTraceable
        The kernel refuses them.
    """
    rings: list[RingBuffer] = []
    try:
        for cpu in range(cpus):
            rings.append(RingBuffer(size_bytes, record))
            bpf.update_fd(outer_fd, cpu, rings[-1].fd)
    except OSError as error:
        for ring in rings:
            ring.close()
        raise NotTraceable(
            "the ring buffers cannot be made",
            why=error.strerror,
            fix="free memory, or ask for smaller ones (ring_bytes)",
        ) from error
    return rings
