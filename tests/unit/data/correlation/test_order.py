import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmonlab.data.correlation import order
from cmonlab.data.correlation.order import Numbering, by_buffer, hop_codes, parts, runs


@given(
    st.lists(st.tuples(st.one_of(st.integers(0, 5), st.integers(0, 2**32 - 1)), st.booleans()), max_size=60),
    st.integers(1, 70),
)
def test_by_buffer_equals_a_stable_argsort(rows, part):
    skb, wanted = np.array([skb for skb, _ in rows], np.uint32), np.array([wanted for _, wanted in rows], bool)
    before, order.PART = order.PART, part
    try:
        positions, changes = by_buffer(skb, wanted)
    finally:
        order.PART = before
    at = np.flatnonzero(wanted)
    expected = at[np.argsort(skb[at], kind="stable")]
    assert positions.tolist() == expected.tolist()
    ordered = skb[expected]
    assert changes.tolist() == [i == 0 or ordered[i] != ordered[i - 1] for i in range(len(ordered))]


@given(st.lists(st.booleans(), max_size=50), st.integers(1, 60))
def test_parts_contain_whole_buffers(changes, size):
    changes = np.array([True, *changes])
    before, order.PART = order.PART, size
    try:
        cut = list(parts(changes))
    finally:
        order.PART = before
    assert [at for part in cut for at in range(part.start, part.stop)] == list(range(len(changes)))
    assert all(changes[part.start] for part in cut)
    assert all(not changes[part.start + size : part.stop].any() for part in cut)


def test_no_events_give_no_parts():
    assert list(parts(np.empty(0, bool))) == []


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 5)), max_size=10))
def test_runs_list_all_positions(pairs):
    begin, length = np.array(pairs, np.int64).reshape(-1, 2).T
    assert runs(begin, length).tolist() == [b + i for b, n in pairs for i in range(n)]


@pytest.mark.parametrize("part", [1, 3, 1000])
def test_hop_codes_number_hops_as_they_appear(monkeypatch, part):
    monkeypatch.setattr(order, "PART", part)
    hops = [
        (4026532001, 2, 0),
        (0, 0, 8),
        (4026532001, 2, 1),
        (4026532001, 2, 0),
        (2**32 - 1, 2**24 - 1, 255),
        (0, 0, 8),
    ]
    netns, ifindex, point = (np.array(column) for column in zip(*hops, strict=True))
    codes = hop_codes(
        {"netns": netns.astype(np.uint32), "ifindex": ifindex.astype(np.uint32), "point": point.astype(np.uint8)}
    )
    assert codes.code.tolist() == [0, 1, 2, 0, 3, 1]
    known = list(zip(codes.netns.tolist(), codes.ifindex.tolist(), codes.point.tolist(), strict=True))
    assert known == [hops[0], hops[1], hops[2], hops[4]]


def test_numbers_follow_the_first_appearance():
    numbering = Numbering()
    assert numbering.of(np.array([7, 7, 3])).tolist() == [0, 0, 1]
    assert numbering.of(np.array([], np.int64)).tolist() == []
    assert numbering.of(np.array([9, 3, 7])).tolist() == [2, 1, 0]
    assert numbering.values(np.int64).tolist() == [7, 3, 9]
    assert len(numbering) == 3
