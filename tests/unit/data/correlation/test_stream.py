from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cmonlab.data.correlation.stream import by_flow, delivered_by, flow_numbers, places, positions


@given(
    st.lists(st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=1, max_size=20), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
)
def test_positions_do_not_wrap(flows, first):
    """Differences within a flow equal those of the stream, however often numbers wrap; flows do not overlap."""
    truth = [np.cumsum([0, *steps]) for steps in flows]
    flow = np.repeat(np.arange(len(flows)), [len(at) for at in truth])
    seq = np.concatenate([(first + at) % 2**32 for at in truth]).astype(np.uint32)
    found = positions(flow, seq)
    end = -1
    for number, at in enumerate(truth):
        mine = found[flow == number]
        assert (mine - mine.min()).tolist() == (at - at.min()).tolist()
        assert mine.min() == end + 1
        end = mine.max()


@given(
    st.lists(
        st.lists(st.one_of(st.integers(-2000, 2000), st.integers(-(2**31) + 1, 2**31 - 1)), min_size=1, max_size=20),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 2**32 - 1),
    st.randoms(use_true_random=False),
)
def test_places_do_not_wrap_in_any_order(flows, first, random):
    """Long flows are followed through time, short ones are not."""
    truth = [np.cumsum([0, *steps]) for steps in flows]
    flow = np.repeat(np.arange(len(flows)), [len(at) for at in truth])
    seq = np.concatenate([(first + at) % 2**32 for at in truth]).astype(np.uint32)
    time = np.array(random.sample(range(1000), len(flow)))
    for number in range(len(flows)):
        time[flow == number] = np.sort(time[flow == number])
    mixed = np.array(random.sample(range(len(flow)), len(flow)))
    found = np.empty(len(flow), np.int64)
    found[mixed] = places(flow[mixed], seq[mixed], time[mixed])
    spans = sorted((found[flow == number].min(), found[flow == number].max()) for number in range(len(flows)))
    assert all(end < begin for (_, end), (begin, _) in pairwise(spans))
    for number, at in enumerate(truth):
        mine = found[flow == number]
        assert (mine - mine.min()).tolist() == (at - at.min()).tolist()


def test_no_items_have_no_positions():
    assert len(positions(np.empty(0, np.int64), np.empty(0, np.uint32))) == 0


def joined(segments, copies):
    """Return the copy that delivers each segment; both are (flow, end, place in time), copies also have a length."""
    flow, end, arrival = (np.array(column) for column in zip(*segments, strict=True))
    copy_flow, copy_end, copy, amount = (np.array(column) for column in zip(*copies, strict=True))
    return delivered_by(
        flow, end.astype(np.uint32), arrival, copy_flow, copy_end.astype(np.uint32), amount, copy
    ).tolist()


def test_a_segment_is_delivered_by_the_copy_with_its_last_byte():
    assert joined([(1, 100, 0), (1, 200, 1), (1, 300, 2)], [(1, 150, 5, 150), (1, 300, 6, 150)]) == [0, 1, 1]


def test_a_copy_that_was_not_seen_is_not_replaced_by_the_next():
    assert joined([(1, 100, 0), (1, 200, 1)], [(1, 200, 6, 100)]) == [-1, 0]


def test_a_copy_before_the_arrival_delivered_another_packet():
    """The segment repeats bytes that were delivered before."""
    assert joined([(1, 100, 0), (1, 100, 9)], [(1, 100, 5, 100)]) == [0, -1]


def test_copies_of_other_flows_deliver_nothing():
    assert joined([(1, 100, 0), (2, 100, 1)], [(2, 100, 5, 100)]) == [-1, 0]


def test_delivery_works_across_the_wrap():
    assert joined([(1, 2**32 - 10, 0), (1, 90, 1)], [(1, 2**32 - 10, 5, 100), (1, 90, 6, 100)]) == [0, 1]


def test_no_segments_or_copies_give_no_delivery():
    none, some = np.empty(0, np.int64), np.array([1])
    assert delivered_by(none, none.astype(np.uint32), none, some, some.astype(np.uint32), some, some).tolist() == []
    assert delivered_by(some, some.astype(np.uint32), some, none, none.astype(np.uint32), none, none).tolist() == [-1]


def test_flows_are_addresses_and_ports_of_one_direction():
    rows = [(1, 2, 3, 4), (2, 1, 4, 3), (1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 4, 4), (2**32 - 1, 2, 3, 4)]
    table = dict(zip(("saddr", "daddr", "sport", "dport"), np.array(rows, np.uint32).T, strict=True))
    flows = flow_numbers(table, np.arange(6))
    assert flows[0] == flows[2]
    assert len(set(flows.tolist())) == 5


def test_flows_can_include_the_namespace():
    table = {name: np.ones(3, np.uint32) for name in ("saddr", "daddr", "sport", "dport")}
    table["netns"] = np.array([2**32 - 1, 7, 2**32 - 1], np.uint32)
    assert flow_numbers(table, np.arange(3)).tolist() == [0, 0, 0]
    assert flow_numbers(table, np.arange(3), table["netns"]).tolist() == [0, 1, 0]
    assert flow_numbers(table, np.arange(3), np.array([1, 0, 1])).tolist() == [1, 0, 1]


def test_more_flows_than_16_bits_can_number_are_sorted():
    flow = np.array([2**16 + 1, 1, 2**16 + 1, 0])
    assert by_flow(flow).tolist() == [3, 1, 0, 2]
    assert by_flow(flow % 2**16).tolist() == [3, 0, 1, 2]
