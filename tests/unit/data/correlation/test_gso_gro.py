"""Retransmissions, GSO segmentation and GRO merging."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmonlab.data.correlation.correlate import correlate, retransmissions
from tests.support.events import (
    A0,
    A1,
    BASE,
    C0,
    C1,
    DEQUEUE,
    DROP,
    FUNCTION,
    GRO,
    HOST,
    QUEUE,
    READ,
    RECEIVE,
    RETRANSMIT,
    RX,
    SEND,
    STAGES,
    TCP,
    UDP,
    XMIT,
    columns,
)
from tests.support.network import Network

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=60, deadline=None)
FIN, SYN, ACK = 0x01, 0x02, 0x10


def segments(*rows, hops=((C1, 2, QUEUE), (C0, 2, RECEIVE))):
    """Return events of TCP segments, one after the other: (sequence number, payload, changed fields)."""
    base = {"saddr": A1, "daddr": A0, "sport": 1, "dport": 2, "proto": TCP, "shape": 13 << 3, "tcp_flags": ACK}
    table = [
        base
        | {"netns": netns, "ifindex": ifindex, "point": point, "skb": BASE + 4 * number, "ident": number}
        | {"seq": seq % 2**32, "len_bytes": payload + 52}
        | (changes[0] if changes else {})
        for number, (seq, payload, *changes) in enumerate(rows)
        for netns, ifindex, point in hops
    ]
    return table_of(table)


def table_of(rows):
    names = {name for row in rows for name in row}
    made = {name: np.array([row.get(name, 0) for row in rows], np.uint64) for name in names}
    return columns(made | {"ts_ns": np.arange(len(rows)) + 100}, len(rows))


def repeats(*rows):
    return correlate(segments(*rows), STAGES).repeats.tolist()


@pytest.mark.parametrize("first", [1000, 2**32 - 50])
def test_segments_repeat_the_first_carrier_of_their_byte(first):
    """Also if the sequence numbers wrap within the segments."""
    assert repeats((first, 100), (first + 100, 100), (first + 200, 100)) == [-1, -1, -1]
    assert repeats((first, 100), (first + 100, 100), (first, 100), (first, 100)) == [-1, -1, 0, 0]
    assert repeats((first, 1000), (first + 1000, 1000), (first + 1100, 100)) == [-1, -1, 1]  # one MSS of a larger one
    assert repeats((first, 100), (first + 100, 100), (first, 200)) == [-1, -1, 0]  # two at once
    assert repeats((first, 100), (first + 50, 100)) == [-1, 0]  # in part
    assert repeats((first, 100), (first, 50), (first + 50, 100), (first + 120, 20)) == [-1, 0, 0, 2]
    assert repeats((first, 100), (first + 300, 100), (first + 100, 200)) == [-1, -1, -1]  # late, but not repeated
    assert repeats((first, 100), (first + 300, 100), (first + 50, 100), (first + 100, 50)) == [-1, -1, 0, 2]


def test_a_loss_probe_repeats_the_last_segment():
    assert repeats((0, 100), (100, 60), (100, 60)) == [-1, -1, 1]


def test_a_keep_alive_repeats_nothing():
    """RFC 9293 section 3.8.4: a keep-alive is empty or repeats the last byte that was sent."""
    assert repeats((0, 100), (99, 0), (99, 1), (99, 1), (100, 50), (149, 1)) == [-1] * 6


def test_a_single_byte_segment_can_be_repeated():
    assert repeats((0, 100), (100, 1), (100, 1)) == [-1, -1, 1]
    assert repeats((0, 100), (50, 1)) == [-1, 0]


def test_acknowledgements_repeat_nothing():
    assert repeats((5, 0), (5, 0), (5, 100), (5, 0)) == [-1] * 4


@pytest.mark.parametrize("flag", [SYN, SYN | ACK, FIN | ACK])
def test_syn_and_fin_count_as_bytes(flag):
    assert repeats((7, 0, {"tcp_flags": flag}), (7, 0, {"tcp_flags": flag})) == [-1, 0]


def test_a_new_connection_of_the_same_ports_repeats_nothing():
    syn = {"tcp_flags": SYN}
    assert repeats((0, 0, syn), (1, 1000), (500, 0, syn), (501, 100), (501, 100)) == [-1, -1, -1, -1, 3]


def test_other_flows_and_other_interfaces_repeat_nothing():
    assert repeats((0, 100), (0, 100, {"sport": 9}), (0, 100, {"netns": HOST})) == [-1, -1, -1]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(2, 30)), max_size=40),
    st.integers(0, 2**32 - 1),
)
@few
def test_repeats_equal_those_of_a_search_byte_by_byte(rows, first):
    found = repeats(*((first + seq, size, {"sport": flow}) for flow, seq, size in rows))
    carried, expected = {}, []
    for number, (flow, seq, size) in enumerate(rows):
        expected.append(carried.get((flow, seq), -1))
        for byte in range(seq, seq + size):
            carried.setdefault((flow, byte), number)
    assert found == expected


@given(seeds, st.integers(0, 60), st.integers(1, 8), st.booleans())
@few
def test_repeats_equal_those_of_the_simulated_network(seed, packets, buffers, gro):
    network = Network(np.random.default_rng(seed), buffers, gro=gro, sockets=True, repeat=0.3)
    network.run(packets)
    events = network.columns()
    found = correlate(events, STAGES)
    packet = np.array(network.owner)[found.first_tx]
    journey = {number: at for at, number in enumerate(packet.tolist())}
    for at, number in enumerate(packet.tolist()):
        mine = network.packets[number]
        original = network.original(mine)
        again = original is not mine and mine.fields["proto"] == TCP
        assert found.repeats[at] == (journey[original.number] if again else -1)
    said, out, original = retransmissions(events, found, STAGES)
    assert said.tolist() == sorted(network.said)
    assert (original == np.where(out >= 0, found.repeats[out], -1)).all()
    assert len(set(out[out >= 0].tolist())) == np.count_nonzero(out >= 0)
    for event, at in zip(said.tolist(), out.tolist(), strict=True):
        again = network.packets[network.said[event]]
        alike = [p for p in network.packets if p.position == again.position and p.fields["proto"] == TCP]
        if len(alike) == 2 and network.original(again) is not again:
            assert at == journey[again.number]


@given(seeds, st.integers(0, 60), st.integers(2, 8), st.booleans())
@few
def test_merged_segments_equal_those_of_the_simulated_network(seed, packets, buffers, sockets):
    network = Network(np.random.default_rng(seed), buffers, gro=True, sockets=sockets)
    network.run(packets)
    found = correlate(network.columns(), STAGES)
    packet = np.array(network.owner)[found.first_tx]
    into = {p.number: head.number for head in network.packets for p in head.holds}
    assert [packet[at] if at >= 0 else -1 for at in found.merged_into] == [into.get(number, -1) for number in packet]
    assert (found.parent == found.merged_into).all()
    assert (found.merged == (found.merged_into >= 0)).all()
    assert not found.split.any()


LARGE = {"detail": 3, "skb": BASE}


def cut_rows(*, again=False, xmit=True, child_ns=C1):
    """Return rows of a segment of 300 bytes that is cut into three between a device's queue and its driver."""
    base = {"saddr": A1, "daddr": A0, "sport": 1, "dport": 2, "proto": TCP, "shape": 13 << 3, "ident": 1}
    large = base | LARGE | {"seq": 1000, "len_bytes": 352, "netns": C1, "ifindex": 2}
    small = [
        base | {"seq": 1000 + 100 * k, "len_bytes": 152, "skb": BASE + 4 * (k + 1), "ident": k + 1, "detail": 1}
        for k in range(3)
    ]
    rows = [large | {"point": QUEUE}, large | {"point": DEQUEUE}, large | {"point": FUNCTION}]
    if xmit:
        rows += [one | {"netns": child_ns, "ifindex": 2, "point": XMIT} for one in small]
    rows += [one | {"netns": C0, "ifindex": 2, "point": RECEIVE} for one in small] if xmit else []
    if again:
        rows += [small[1] | {"skb": BASE + 80, "netns": C1, "ifindex": 2, "point": point} for point in (QUEUE, XMIT)]
    return rows


def test_segments_know_the_larger_one_they_were_cut_from():
    found = correlate(table_of(cut_rows(again=True)), STAGES)
    assert found.length.tolist() == [3, 2, 2, 2, 2]
    assert found.segmented_from.tolist() == found.parent.tolist() == [-1, 0, 0, 0, -1]
    assert found.split.tolist() == [True, False, False, False, False]
    assert not found.merged.any()
    # Parts repeat nothing; the retransmission repeats the larger segment.
    assert found.repeats.tolist() == [-1, -1, -1, -1, 0]
    assert found.received.tolist() == [False, True, True, True, False]


def test_segments_of_another_device_are_not_cut_from_it():
    found = correlate(table_of(cut_rows(child_ns=HOST)), STAGES)
    assert (found.segmented_from < 0).all()
    assert not found.split.any()


def test_a_segment_that_the_device_cuts_has_no_parts():
    """The larger segment passed the driver, so a later part of it is a retransmission."""
    rows = cut_rows(xmit=False, again=True)
    rows.insert(3, rows[0] | {"point": XMIT})
    found = correlate(table_of(rows), STAGES)
    assert found.segmented_from.tolist() == [-1, -1]
    assert found.repeats.tolist() == [-1, 0]


def test_a_segment_of_another_flow_is_not_cut_from_it():
    rows = cut_rows()
    rows = [row | {"sport": 9} if row["skb"] != BASE else row for row in rows]
    assert (correlate(table_of(rows), STAGES).segmented_from < 0).all()


def test_a_segment_that_reached_the_driver_whole_was_not_cut():
    """The second large segment reached the driver whole; of its retransmission, only the driver's hop was seen."""
    rows = cut_rows()
    large = rows[0] | {"seq": 5000, "skb": BASE + 100}
    again = rows[3] | {"seq": 5000, "skb": BASE + 104, "ident": 7}
    rows += [large, large | {"point": XMIT}, again]
    found = correlate(table_of(rows), STAGES)
    assert found.segmented_from.tolist() == [-1, 0, 0, 0, -1, -1]
    assert found.repeats.tolist() == [-1, -1, -1, -1, -1, 4]


def test_a_segment_may_be_cut_and_merged():
    """Segments are cut at the sender's device and merged at the receiver's."""
    rows = cut_rows()
    parts = [row for row in rows if row["netns"] == C0]
    rows = [row for row in rows if row["netns"] == C1]
    rows += [row | {"point": GRO} for row in parts]
    rows += [parts[0] | {"len_bytes": 352, "detail": 3}]
    found = correlate(table_of(rows), STAGES)
    assert found.segmented_from.tolist() == [-1, 0, 0, 0]
    assert found.merged_into.tolist() == [-1, -1, 1, 1]
    assert found.parent.tolist() == [-1, 0, 0, 0]
    assert found.merged.tolist() == [False, False, True, True]
    assert found.repeats.tolist() == [-1] * 4


def test_parts_of_a_repeated_segment_belong_to_the_repetition():
    rows = cut_rows()
    again = [row | {"skb": row["skb"] + 400, "ident": row["ident"] + 9} for row in rows]
    found = correlate(table_of(rows + again), STAGES)
    assert found.segmented_from.tolist() == [-1, 0, 0, 0, -1, 4, 4, 4]
    assert found.repeats.tolist() == [-1, -1, -1, -1, 0, -1, -1, -1]


def test_segments_of_another_device_or_time_are_not_merged():
    """A segment that ends at GRO before the first one arrived, or elsewhere, was not merged into it."""
    base = {"saddr": A1, "daddr": A0, "sport": 1, "dport": 2, "proto": TCP, "shape": 13 << 3, "len_bytes": 152}
    early = base | {"skb": BASE, "seq": 1100, "ident": 1, "netns": C0, "ifindex": 2, "point": GRO}
    head = base | {"skb": BASE + 4, "seq": 1000, "ident": 2, "netns": C0, "ifindex": 2, "point": GRO}
    other = base | {"skb": BASE + 8, "seq": 1100, "ident": 3, "netns": HOST, "ifindex": 2, "point": GRO}
    right = base | {"skb": BASE + 12, "seq": 1100, "ident": 4, "netns": C0, "ifindex": 2, "point": GRO}
    rows = [early, head, other, right, head | {"point": FUNCTION}, head | {"point": RECEIVE, "len_bytes": 252}]
    found = correlate(table_of(rows), STAGES)
    assert found.merged_into.tolist() == [-1, -1, -1, 1]


def test_retransmit_events_may_be_before_or_after_the_packet():
    out = {"saddr": A1, "daddr": A0, "sport": 1, "dport": 2, "proto": TCP}
    said = out | {"point": RETRANSMIT, "netns": C1, "skb": 7, "seq": 100, "aux": 50}
    sent = out | {"point": QUEUE, "netns": C1, "ifindex": 2, "seq": 100, "len_bytes": 102, "shape": 13 << 3}
    first, second, third, fourth = (sent | {"skb": BASE + 4 * k, "ident": k} for k in range(4))
    events = table_of([first, said, second, third, said, said | {"netns": C0}, said | {"seq": 101}, fourth])
    found = correlate(events, STAGES)
    assert found.repeats.tolist() == [-1, 0, 0, 0]
    event, journey, original = (values.tolist() for values in retransmissions(events, found, STAGES))
    assert event == [1, 4, 5, 6]
    assert journey == [1, 2, -1, -1]
    assert original == [0, 0, -1, -1]


def test_no_retransmissions_give_empty_arrays():
    assert [len(part) for part in retransmissions(segments((0, 9)), correlate(segments((0, 9)), STAGES), STAGES)] == [
        0,
        0,
        0,
    ]


def test_dropped_parts_stay_dropped():
    rows = cut_rows()[:6]
    rows.append(rows[4] | {"point": DROP})
    found = correlate(table_of(rows), STAGES)
    assert found.segmented_from.tolist() == [-1, 0, 0, 0]
    assert table_of(rows)["point"][found.last].tolist() == [FUNCTION, XMIT, DROP, XMIT]


def test_bytes_of_an_unseen_call_have_no_send():
    out = {"saddr": A1, "daddr": A0, "sport": 1, "dport": 2, "proto": TCP}
    send = out | {"point": SEND, "netns": C1, "skb": 7, "aux": 100}
    sent = out | {"point": QUEUE, "netns": C1, "ifindex": 2, "len_bytes": 152, "shape": 13 << 3}
    rows = [send | {"seq": 0}, send | {"seq": 200}, *(sent | {"seq": 100 * k, "skb": BASE + 4 * k} for k in range(4))]
    rows += [send | {"seq": 400}, sent | {"seq": 300, "skb": BASE + 40}]  # and the last one is repeated
    found = correlate(table_of(rows), STAGES)
    assert found.first.tolist() == [0, 3, 1, 5, 7]


def test_parts_have_the_send_of_their_bytes():
    """Only the larger segment has a send, because it first carried the bytes; parts end with a read."""
    out = {"saddr": A1, "daddr": A0, "sport": 1, "dport": 2, "proto": TCP}
    send = out | {"point": SEND, "netns": C1, "skb": 7, "seq": 1000, "aux": 300}
    read = out | {"point": READ, "netns": C0, "skb": 8, "seq": 1000, "aux": 300}
    events = table_of([send, *cut_rows(), read])
    found = correlate(events, STAGES)
    assert events["point"][found.first].tolist() == [SEND, XMIT, XMIT, XMIT]
    assert events["point"][found.last].tolist() == [FUNCTION, READ, READ, READ]


def test_segments_at_a_hop_without_growth_are_not_merged():
    """RX is a hop between two devices, where no buffer grew."""
    hops = ((C1, 2, QUEUE), (HOST, 4, RX))
    found = correlate(segments((0, 100), (100, 100), hops=hops), STAGES)
    assert (found.merged_into < 0).all()


def datagrams(*rows):
    """Return events of UDP packets: (payload, segments, hops, time, port)."""
    table = [
        {"saddr": A1, "daddr": A0, "sport": port, "dport": 2, "proto": UDP, "shape": 7 << 3, "detail": parts}
        | {"netns": netns, "ifindex": ifindex, "point": point, "skb": BASE + 4 * number, "len_bytes": payload + 28}
        | {"at": at + 10 * step}
        for number, (payload, parts, hops, at, port) in enumerate(rows)
        for step, (netns, ifindex, point) in enumerate(hops)
    ]
    return table_of([{name: row[name] for name in row if name != "at"} for row in sorted(table, key=lambda r: r["at"])])


UDP_WHOLE, UDP_PART = [(C1, 2, QUEUE)], [(C1, 2, XMIT), (C0, 2, RX), (C0, 2, RECEIVE)]


def test_datagrams_know_the_larger_packet_they_were_cut_from():
    """Datagrams may look alike, as the kernel cuts one packet after the other."""
    rows = []
    for at in (0, 100, 200):
        rows += [(250, 3, UDP_WHOLE, at, 1)]
        rows += [(size, 1, UDP_PART, at + 1 + number, 1) for number, size in enumerate((100, 100, 50))]
    rows.append((40, 1, [(C1, 2, QUEUE), *UDP_PART], 300, 1))  # not from a larger packet
    found = correlate(datagrams(*rows), STAGES)
    assert found.segmented_from.tolist() == [-1, 0, 0, 0, -1, 4, 4, 4, -1, 8, 8, 8, -1]
    assert found.split.tolist() == [number in (0, 4, 8) for number in range(13)]
    assert (found.merged_into == -1).all()


def test_datagrams_of_interleaved_larger_packets_are_not_guessed():
    """Two processors send for one flow, so the larger packet is uncertain; that of another flow is certain."""
    rows = [(200, 2, UDP_WHOLE, 0, 1), (200, 2, UDP_WHOLE, 1, 1), (200, 2, UDP_WHOLE, 2, 9)]
    rows += [(100, 1, UDP_PART, 3 + number, port) for number, port in enumerate((1, 9, 1, 9, 1, 1))]
    found = correlate(datagrams(*rows), STAGES)
    assert found.segmented_from.tolist() == [-1, -1, -1, -1, 2, -1, 2, -1, -1]


def test_datagrams_of_a_partly_seen_packet_are_not_guessed():
    rows = [(200, 2, UDP_WHOLE, 0, 1), (100, 1, UDP_PART, 3, 1)]
    assert correlate(datagrams(*rows), STAGES).segmented_from.tolist() == [-1, -1]
