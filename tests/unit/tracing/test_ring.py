"""The reader of a ring against memory that is written as the programs write it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmonlab.errors import NotTraceable
from cmonlab.tracing.ring import Ring, slots_in

RECORD = np.dtype([("number", "<u8"), ("more", "<u4"), ("last", "<u4")])
SLOT = np.dtype([("hop", RECORD), ("sequence", "<u8")])
STATE = np.dtype([("taken", "<u8"), ("read", "<u8"), ("unused", "<u8", 6)])
SIZE = 8


class Programs:
    """The programs' side: takes slots, and writes records to them, maybe later."""

    def __init__(self):
        self.state, self.slots = np.zeros(1, STATE), np.zeros(SIZE, SLOT)
        self.ring = Ring(self.state, self.slots)

    def take(self):
        """Return the next sequence number, 0 if the ring is full."""
        if self.state["taken"][0] - self.state["read"][0] == SIZE:
            return 0
        self.state["taken"] += np.uint64(1)
        return int(self.state["taken"][0])

    def write(self, sequence, number):
        self.slots[(sequence - 1) % SIZE] = ((number, 0, 0), sequence)


@given(st.lists(st.sampled_from(["write", "read", "begin", "finish"]), max_size=80))
@settings(deadline=None)
def test_ring_returns_all_records_once_and_in_order(actions):
    """Across the wrap, and where a program is interrupted by others while it writes."""
    programs, taken, begun, read = Programs(), [], [], []
    for number, action in enumerate(actions):
        if action == "read":
            read += programs.ring.read()["number"].tolist()
            unfinished = min((number for _, number in begun), default=len(actions))
            assert read == [n for n in taken if n < unfinished]
        elif action == "finish" and begun:
            programs.write(*begun.pop())  # the last one that was interrupted goes on first
        elif action in ("write", "begin") and (sequence := programs.take()):
            taken.append(number)
            begun.append((sequence, number))
            if action == "write":
                programs.write(*begun.pop())
    while begun:
        programs.write(*begun.pop())
    read += programs.ring.read()["number"].tolist()
    assert read == taken


def test_records_stay_valid_when_their_slots_are_reused():
    programs = Programs()
    for number in range(SIZE):
        programs.write(programs.take(), number)
    assert programs.take() == 0
    records = programs.ring.read()
    for number in range(SIZE):
        programs.write(programs.take(), 100 + number)
    assert records.dtype == RECORD
    assert records["number"].tolist() == list(range(SIZE))
    assert programs.ring.read()["number"].tolist() == list(range(100, 100 + SIZE))


def test_ring_without_new_records_returns_an_empty_array():
    programs = Programs()
    assert len(programs.ring.read()) == 0
    programs.write(programs.take(), 7)
    programs.ring.read()
    assert programs.ring.read().dtype == RECORD


@pytest.mark.parametrize("size", [0, 1000, 2048, 4097, 3 * 4096])
def test_ring_sizes_that_are_no_powers_of_two_are_refused(size):
    with pytest.raises(NotTraceable, match=str(size)):
        slots_in(size)


def test_slots_have_the_size_of_a_cache_line():
    assert slots_in(4096) == 64
