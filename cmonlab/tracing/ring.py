"""Read the records that programs write, in batches with numpy (``bpf/take.h``).

The problem: programs on all CPUs may write a million records per second together. One thread of Python must read all
of them, in order, with little CPU time.

Why the obvious approach fails: the kernel's own ring buffer (``BPF_MAP_TYPE_RINGBUF``) takes a lock and writes a header
for each record, which is most of what a record costs the traced packets. Its reader calls a function for each record,
and a Python function per record is too slow. A plain array without a lock is not enough either: programs interrupt
each other on a CPU, so a record that was begun earlier may be completed later, and a reader would see half of it.

The approach: an array of slots, mapped into this process, and one ring of slots per CPU.

1. A program takes a slot by one atomic addition to ``taken``; the result is the record's sequence number, counted from
   1. Slot ``(sequence - 1) % size`` belongs to it. As only programs of one CPU write to a ring, the cache line stays
   there.
2. The program writes the record, and after it the sequence number, into the slot. A slot is one cache line.
3. The reader knows ``read``, the number of records that it has read. The next records have the sequence numbers from
   ``read + 1`` to ``taken``.
4. `Ring.read` compares the sequence numbers of these slots with the expected ones, all at once. A different one belongs
   to the round before: that record is not complete yet. The reader takes the records up to there and leaves the rest
   for the next call; so order is kept, and no lock is needed.
5. The records are copied, in one piece or, around the end of the ring, in two. Then ``read`` is set to the new number,
   and the slots are free again.
6. A program that finds fewer than a few free slots counts its record as lost and writes nothing. So a record is never
   overwritten before it was read, and the loss is known.
"""

from __future__ import annotations

import mmap

import numpy as np

from cmonlab.errors import NotTraceable

from .kernel.defines import defines
from .kernel.maps import Map

SLOT_BYTES = defines("records.h")["SLOT_BYTES"]


def slots_in(ring_bytes: int) -> int:
    """Return how many slots a ring of that size has.

    Parameters
    ----------
    ring_bytes : int
        Size of a ring in bytes.

    Returns
    -------
    int

    Raises
    ------
    NotTraceable
        The size is not a power of two, or less than a page.
    """
    if ring_bytes < mmap.PAGESIZE or ring_bytes & (ring_bytes - 1):
        raise NotTraceable(
            f"a ring of {ring_bytes} bytes cannot be made",
            why="the programs find a slot by masking its sequence number",
            fix=f"give ring_bytes a power of two of at least {mmap.PAGESIZE}",
        )
    return ring_bytes // SLOT_BYTES


class Ring:
    """One CPU's ring.

    Parameters
    ----------
    state : numpy.ndarray, shape (1,), dtype of ``struct ring``
        How many slots were taken and read; `read` writes to it.
    slots : numpy.ndarray, shape (size,), dtype of ``struct slot`` or ``struct probe_slot``
        The memory that programs write to; the size is a power of two.

    Attributes
    ----------
    record : numpy.dtype
        Of a record: the first member of a slot.
    """

    def __init__(self, state: np.ndarray, slots: np.ndarray):
        record, sequence = slots.dtype.names or ()
        self._taken, self._read = state["taken"], state["read"]
        self.record = slots.dtype[record]
        self._payload = np.dtype((np.void, self.record.itemsize))  # numpy copies bytes faster than fields
        self._payloads = slots[record].view(self._payload)
        self._sequences = slots[sequence]
        self._ahead = np.arange(1, len(slots) + 1, dtype=np.uint64)

    def read(self) -> np.ndarray:
        """Return the records that were completed since the last call, and free their slots.

        Returns
        -------
        numpy.ndarray, shape (n,), of the record's dtype
            Copies, in the order of their sequence numbers.
        """
        begin, size = int(self._read[0]), len(self._sequences)
        count = self._complete(begin, int(self._taken[0]) - begin)
        first = min(count, size - begin % size)
        records = np.empty(count, self._payload)
        records[:first] = self._payloads[begin % size :][:first]
        records[first:] = self._payloads[: count - first]
        self._read[0] = begin + count
        return records.view(self.record)

    def _complete(self, begin: int, count: int) -> int:
        """Return how many of the next `count` records come before the first one that is still being written."""
        size, done = len(self._sequences), 0
        while done < count:
            at = (begin + done) % size
            sequences = self._sequences[at : at + count - done]
            written = sequences == self._ahead[: len(sequences)] + np.uint64(begin + done)
            if not written.all():
                return done + int(written.argmin())
            done += len(sequences)
        return done


def per_cpu(states: Map, slots: Map) -> list[Ring]:
    """Return the rings that two maps hold, one per CPU.

    Parameters
    ----------
    states : Map
        An array of ``struct ring``, one per possible CPU.
    slots : Map
        An array of slots: those of CPU 0, then those of CPU 1 and so on.

    Returns
    -------
    list of Ring
        By CPU.

    Raises
    ------
    NotTraceable
        There is not enough memory.
    """
    cpus = states.entries
    try:
        state, parts = states.memory(), slots.memory(mmap.PROT_READ).reshape(cpus, -1)
    except OSError as error:
        raise NotTraceable(
            "the rings cannot be mapped into memory",
            why=error.strerror or str(error),
            fix="free memory, or use smaller rings (ring_bytes)",
        ) from error
    return [Ring(state[cpu : cpu + 1], parts[cpu]) for cpu in range(cpus)]
