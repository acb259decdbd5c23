"""Read the programs' rings in batches with numpy, no Python per record.

A ring is a part of a mapped array of slots (``bpf/take.h``).  Programs take slots in
turn and write their turn behind each record when it is whole.
"""

from __future__ import annotations

import mmap

import numpy as np

from cmonlab.errors import NotTraceable

from .kernel.maps import Map

SLOT_BYTES = 64  # bpf/records.h, struct slot


def slots_in(ring_bytes: int) -> int:
    """Return how many slots a ring of so many bytes has.

    Raises
    ------
    NotTraceable
        They are no power of two, or less than a page.
    """
    if ring_bytes < mmap.PAGESIZE or ring_bytes & (ring_bytes - 1):
        raise NotTraceable(
            f"a ring of {ring_bytes} bytes cannot be made",
            why="its slots are counted through by a mask",
            fix=f"give ring_bytes a power of two of at least {mmap.PAGESIZE}",
        )
    return ring_bytes // SLOT_BYTES


class Ring:
    """One CPU's ring.

    Parameters
    ----------
    state : numpy.ndarray, shape (1,), of the layout of ``struct ring``
        How many slots were taken and read; reading writes to it.
    slots : numpy.ndarray, shape (n,), of the layout of ``struct slot``
        The memory that programs write to; n is a power of two.
    """

    def __init__(self, state: np.ndarray, slots: np.ndarray):
        record, turn = slots.dtype.names
        self._taken, self._read = state["taken"], state["read"]
        self.record = slots.dtype[record]
        self._payload = np.dtype((np.void, self.record.itemsize))  # numpy copies bytes faster than fields
        self._payloads = slots[record].view(self._payload)
        self._turns = slots[turn]
        self._ahead = np.arange(1, len(slots) + 1, dtype=np.uint64)

    def read(self) -> np.ndarray:
        """Take what has been written since the last call.

        Returns
        -------
        numpy.ndarray, shape (n,), of the record's dtype
            Copies; their slots are free again.
        """
        begin, size = int(self._read[0]), len(self._turns)
        count = self._whole(begin, int(self._taken[0]) - begin)
        first = min(count, size - begin % size)
        records = np.empty(count, self._payload)
        records[:first] = self._payloads[begin % size :][:first]
        records[first:] = self._payloads[: count - first]
        self._read[0] = begin + count
        return records.view(self.record)

    def _whole(self, begin: int, count: int) -> int:
        """Return how many of the next `count` records are whole, up to the first one that is still being written."""
        size, done = len(self._turns), 0
        while done < count:
            at = (begin + done) % size
            turns = self._turns[at : at + count - done]
            right = turns == self._ahead[: len(turns)] + np.uint64(begin + done)
            if not right.all():
                return done + int(right.argmin())
            done += len(turns)
        return done


def per_cpu(states: Map, slots: Map) -> list[Ring]:
    """Return the rings of an array of slots, one a CPU.

    Raises
    ------
    OSError
        There is no memory to map them to.
    """
    cpus = states.entries
    state, parts = states.memory(), slots.memory(mmap.PROT_READ).reshape(cpus, -1)
    return [Ring(state[cpu : cpu + 1], parts[cpu]) for cpu in range(cpus)]
