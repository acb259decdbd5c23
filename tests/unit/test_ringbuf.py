"""The ring buffer reader against memory laid out as the kernel does it, and against the kernel itself."""

import mmap
import os
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmonlab.kernel.ringbuf import RingBuffer

RECORD = np.dtype([("number", "<u8"), ("more", "<u4"), ("last", "<u4")])
SLOT = 8 + RECORD.itemsize


class Kernel:
    """The kernel's side: writes records into pages that are mapped as a ring buffer's are."""

    def __init__(self, size=256):
        file = os.memfd_create("cmonlab-test")
        os.ftruncate(file, 2 * mmap.PAGESIZE + -(-2 * size // mmap.PAGESIZE) * mmap.PAGESIZE)
        with patch("cmonlab.kernel.bpf.create_ringbuf", return_value=file):
            self.ring = RingBuffer(size, RECORD)
        self.size, self.written = size, 0
        self.pages = mmap.mmap(file, 0)
        self.positions = np.frombuffer(self.pages, np.uint64, 1), np.frombuffer(self.pages, np.uint64, 1, mmap.PAGESIZE)

    def write(self, number, flags=0):
        """Write a record, or refuse where it would reach what is unread."""
        if self.written + SLOT - int(self.positions[0][0]) > self.size:
            return False
        header = (RECORD.itemsize | flags).to_bytes(4, "little") + bytes(4)
        for at, byte in enumerate(header + number.to_bytes(8, "little") + bytes(8)):
            self._put(self.written + at, byte)
        self.written += SLOT
        self.positions[1][0] = self.written
        return True

    def finish(self, position):
        """Take the busy bit off a record's header."""
        self._put(position + 3, 0)

    def _put(self, at, byte):
        for copy in (0, self.size):
            self.pages[2 * mmap.PAGESIZE + at % self.size + copy] = byte


@given(st.lists(st.sampled_from(["write", "discard", "read"]), max_size=40))
@settings(deadline=None, max_examples=50)
def test_all_records_once_and_in_order(actions):
    """Across the wrap too, discarded ones left out."""
    kernel, written, read = Kernel(), [], []
    for number, action in enumerate([*actions, "read"]):
        if action == "read":
            read += kernel.ring.read()["number"].tolist()
        elif kernel.write(number, 1 << 30 if action == "discard" else 0) and action == "write":
            written.append(number)
    assert read == written
    kernel.ring.close()


def test_a_record_still_being_written_is_waited_for():
    kernel = Kernel()
    kernel.write(1)
    kernel.write(2, 1 << 31)
    kernel.write(3)
    assert kernel.ring.read()["number"].tolist() == [1]
    assert kernel.ring.read()["number"].tolist() == []
    kernel.finish(SLOT)
    assert kernel.ring.read()["number"].tolist() == [2, 3]


def test_records_are_copies():
    kernel = Kernel()
    kernel.write(7)
    records = kernel.ring.read()
    for number in range(8, 28):
        kernel.write(number) or kernel.ring.read()
    assert records["number"].tolist() == [7]


@pytest.mark.kernel
def test_made_and_closed():
    ring = RingBuffer(mmap.PAGESIZE, RECORD)
    assert len(ring.read()) == 0
    assert ring.read().dtype == RECORD
    ring.close()
    ring.close()


@pytest.mark.kernel
@pytest.mark.parametrize("size", [0, 1000, 4097, 3 * mmap.PAGESIZE])
def test_sizes_that_the_kernel_refuses(size):
    with pytest.raises(OSError):
        RingBuffer(size, RECORD)
