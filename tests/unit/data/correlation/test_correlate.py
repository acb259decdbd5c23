"""Journeys equal the paths of the simulated packets, whatever happens to events and packets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmonlab.data.correlation import order
from cmonlab.data.correlation.correlate import Stages, correlate, payload_bytes
from cmonlab.data.store import directory
from tests.support.events import (
    A0,
    A1,
    BASE,
    C0,
    C1,
    CONSUME,
    DELIVER,
    DROP,
    FUNCTION,
    GRO,
    HOST,
    NOTE,
    PATH,
    QUEUE,
    READ,
    RECEIVE,
    RETRANSMIT,
    RTT,
    RUN,
    SEND,
    STAGES,
    TCP,
    UDP,
    WAKE,
    XMIT,
    bulk,
    columns,
)
from tests.support.network import Network

seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=60, deadline=None)


def _is_send(events, found):
    return STAGES.of("send", events["point"][found.first])


def journeys_of(events, **how):
    """Return the events of each journey."""
    found = correlate(events, STAGES, **how)
    assert (found.length > 0).all()
    assert (np.diff(found.event[found.start[:-1] + _is_send(events, found)].astype(np.int64)) > 0).all()
    return [tuple(map(int, found.event[a:b])) for a, b in zip(found.start[:-1], found.start[1:], strict=True)]


@given(seeds, st.integers(0, 60), st.integers(1, 12), st.booleans(), st.booleans(), st.booleans(), st.booleans())
@few
def test_journeys_equal_those_of_the_simulated_network(seed, packets, buffers, alike, gro, sockets, gap):
    """Few buffers, NAT, drops, retransmissions, merges, partial and coalesced reads, clones, a stream that wraps.

    Events of sockets include calls that send fewer bytes than they were given, and wake-ups and runs of readers.
    """
    network = Network(np.random.default_rng(seed), buffers, alike=alike, gro=gro, sockets=sockets)
    network.run(packets)
    found = journeys_of(network.columns(), breaks=[-1] if gap else [])
    assert len(found) == len(network.packets)
    assert set(found) == network.journeys()


@given(seeds, st.integers(2, 10), st.booleans())
@few
def test_journeys_of_streams_longer_than_the_sequence_numbers_are_exact(seed, buffers, sockets):
    """More than 4 GiB: sequence numbers wrap more than once."""
    network = Network(np.random.default_rng(seed), buffers, segment=2**28, first_seq=2**32 - 2**28, sockets=sockets)
    network.run(150)
    assert network.expected - 2**32 > 2**32
    assert set(journeys_of(network.columns())) == network.journeys()


@given(seeds, st.integers(1, 60), st.integers(1, 6), st.booleans(), st.sampled_from([0.01, 0.1, 0.5]))
@few
def test_lost_events_do_not_mix_packets(seed, packets, buffers, gro, share):
    """The remaining events of a journey are of one packet, and a delivery is correct or missing."""
    rng = np.random.default_rng(seed)
    network = Network(rng, buffers, gro=gro)
    network.run(packets)
    kept = np.flatnonzero(rng.random(len(network.rows)) >= share)
    events, owner = network.columns(kept), np.array(network.owner)[kept]
    lost = {network.rows[at]["point"] for at in set(range(len(network.rows))) - set(kept.tolist())}
    hops = {event for packet in network.packets for event in packet.hops}
    on_the_way = []
    for journey in journeys_of(events, lost=lost):
        way = [at for at in journey if int(kept[at]) in hops]
        assert len(set(owner[way])) == 1
        rest = [int(kept[at]) for at in journey if at not in way]
        on_the_way += [at for at in way if events["point"][at] != DROP]
        # If a drop was not seen, the read of the retransmission seems to deliver the dropped segment.
        packet = network.packets[owner[way[0]]]
        true = {
            network.delivery.get(p.number)
            for p in network.packets
            if p is packet or (p.payload and p.position == packet.position and not p.once)
        }
        assert len(rest) <= 1
        assert set(rest) <= true
    assert (
        sorted(on_the_way)
        == np.flatnonzero(STAGES.of("transmit", events["point"]) | STAGES.of("receive", events["point"])).tolist()
    )


@given(seeds, st.integers(1, 60), st.integers(1, 6), st.sampled_from([0.05, 0.3]))
@few
def test_repeated_hops_distinguish_packets_that_look_alike(seed, packets, buffers, share):
    rng = np.random.default_rng(seed)
    network = Network(rng, buffers, alike=True)
    network.run(packets)
    kept = np.flatnonzero(rng.random(len(network.rows)) >= share)
    events = network.columns(kept)
    for journey in journeys_of(events, lost={QUEUE, READ}):
        way = [at for at in journey if events["point"][at] not in (DELIVER, READ)]
        hops = list(zip(*(events[name][way].tolist() for name in ("netns", "ifindex", "point")), strict=True))
        assert len(set(hops)) == len(hops)
        assert len(set(events["seq"][way].tolist())) == 1


@pytest.mark.parametrize("part", [1, 2, 7, 1000])
def test_the_result_is_independent_of_the_size_of_parts(monkeypatch, part):
    network = Network(np.random.default_rng(5), 5, gro=True)
    network.run(300)
    events = network.columns()
    monkeypatch.setattr(order, "PART", part)
    assert set(journeys_of(events)) == network.journeys()


def test_no_events_give_no_journeys():
    found = correlate(directory.empty_columns(), STAGES)
    assert len(found) == 0
    assert found.orphans == 0
    assert found.start.tolist() == [0]
    assert len(found.first) == len(found.last) == len(found.length) == 0


@pytest.mark.parametrize(
    ("point", "journeys", "orphans"),
    [
        (QUEUE, 1, 0),
        (RECEIVE, 1, 0),
        (CONSUME, 0, 1),
        (DROP, 0, 1),
        (DELIVER, 0, 1),
        (READ, 0, 0),
        (FUNCTION, 1, 0),
        (SEND, 0, 0),
        (WAKE, 0, 0),
        (NOTE, 0, 0),
    ],
)
def test_one_event_is_a_journey_or_an_orphan(point, journeys, orphans):
    events = columns({"ts_ns": np.array([5]), "skb": np.array([BASE], np.uint64), "point": np.array([point])}, 1)
    for lost in ((), {QUEUE}):
        found = correlate(events, STAGES, lost)
        assert (len(found), found.orphans) == (journeys, orphans)


def packet_rows(*rows):
    """Return events of one buffer from (hop, fields)."""
    base = {"skb": BASE, "saddr": A1, "daddr": A0, "sport": 1, "dport": 2, "proto": UDP}
    table = [base | dict(zip(("netns", "ifindex", "point"), hop, strict=True)) | fields for hop, fields in rows]
    names = {name for row in table for name in row}
    made = {name: np.array([row.get(name, 0) for row in table], np.uint64) for name in names}
    return columns(made | {"ts_ns": np.arange(len(table)) + 100}, len(table))


BACK = {"saddr": A0, "daddr": A1, "sport": 2, "dport": 1}


def test_an_answer_in_the_same_buffer_is_another_journey():
    """IPv6 has no identification: an equal payload is returned in the same buffer, whose free was not seen."""
    events = packet_rows(*((hop, {}) for hop in PATH), ((C0, 2, QUEUE), BACK), ((C0, 2, XMIT), BACK))
    assert [len(journey) for journey in journeys_of(events)] == [8, 2]


def test_an_echo_reply_in_the_same_buffer_is_another_journey():
    """Request and reply have the same identifier but not the same type."""
    request = {"proto": 1, "sport": 7, "dport": 0x0800}
    reply = BACK | {"proto": 1, "sport": 7, "dport": 0}
    events = packet_rows(*((hop, request) for hop in PATH), ((C0, 2, QUEUE), reply), ((C0, 2, XMIT), reply))
    assert [len(journey) for journey in journeys_of(events)] == [8, 2]


@pytest.mark.parametrize(
    "nat",
    [
        {"daddr": 99, "dport": 80},
        {"saddr": 99, "sport": 5000},
        {"saddr": 98, "daddr": 99},
        {"saddr": A0, "daddr": A1, "dport": 80},  # a container reaches itself through the host's published port
    ],
)
def test_nat_is_one_journey(nat):
    events = packet_rows(*((hop, {} if number < 4 else nat) for number, hop in enumerate(PATH)))
    assert [len(journey) for journey in journeys_of(events)] == [8]


def test_another_flow_in_another_namespace_is_another_journey():
    events = packet_rows(((C1, 2, QUEUE), {}), ((C1, 2, XMIT), {}), ((HOST, 9, QUEUE), {"saddr": 5}))
    assert [len(journey) for journey in journeys_of(events)] == [2, 1]


def test_a_datagram_copied_twice_is_delivered_once():
    """A read with MSG_PEEK copies as well."""
    events = packet_rows(
        *((hop, {}) for hop in PATH),
        ((C0, 0, DELIVER), {"aux": 9}),
        ((C0, 0, DELIVER), {"aux": 9}),
        ((C0, 0, CONSUME), {}),
    )
    assert [len(journey) for journey in journeys_of(events)] == [9]


def test_a_segment_that_grew_by_gro_is_delivered_with_its_own_last_byte():
    """The buffer of the first segment has grown when the stack receives it; the copy of its own bytes delivers it."""
    tcp = {"proto": TCP, "shape": 13 << 3, "seq": 1000, "len_bytes": 152}
    events = packet_rows(
        ((C1, 2, XMIT), tcp),
        ((C0, 2, GRO), tcp),
        ((C0, 2, RECEIVE), tcp | {"len_bytes": 352}),
        ((C0, 0, DELIVER), tcp | {"aux": 150}),
        ((C0, 0, DELIVER), tcp | {"aux": 150}),
    )
    assert journeys_of(events) == [(0, 1, 2, 3)]


@pytest.mark.parametrize("point", [READ, SEND, RETRANSMIT, RTT, WAKE, RUN, NOTE])
def test_events_of_sockets_are_not_hops_of_packets(point):
    """A socket may have the number of a buffer."""
    events = packet_rows(
        *((hop, {}) for hop in PATH[:4]),
        ((C1, 0, point), {"skb": BASE, "proto": TCP, "seq": 5}),
        *((hop, {}) for hop in PATH[4:]),
    )
    assert journeys_of(events) == [(0, 1, 2, 3, 5, 6, 7, 8)]


def test_stages_come_from_points():
    points = [{"id": 3, "stage": "receive"}, {"id": 64, "stage": "note"}, {"id": 8, "stage": "read"}]
    stages = Stages.of_points(points)
    assert (stages.receive, stages.read, stages.transmit) == ({3}, {8}, frozenset())
    assert stages.buffers == {3}


CALLS = ((C1, 2, FUNCTION), (C1, 2, FUNCTION), *PATH[:4], (HOST, 4, FUNCTION), *PATH[4:], (C0, 2, FUNCTION))


def test_functions_are_hops_but_neither_first_tx_nor_arrival():
    """Functions are before and behind the devices; the free between the two packets was not seen."""
    events = packet_rows(
        *((hop, {}) for hop in (*CALLS, *CALLS)), ((C0, 0, READ), {"dport": 2}), ((C0, 0, READ), {"dport": 2})
    )
    events["len_bytes"][events["point"] == READ] = 0
    found = correlate(events, STAGES)
    assert found.length.tolist() == [13, 13]
    assert found.first_tx.tolist() == [2, 14]
    assert found.arrival.tolist() == [11, 23]
    assert found.sent.all()
    assert found.received.all()
    assert events["point"][found.last].tolist() == [READ, READ]


def test_functions_alone_are_neither_sent_nor_received():
    found = correlate(packet_rows(((HOST, 4, FUNCTION), {}), ((HOST, 5, FUNCTION), {})), STAGES)
    assert (found.first_tx.tolist(), found.arrival.tolist()) == ([0], [1])
    assert not found.sent.any()
    assert not found.received.any()


def test_an_answer_through_functions_is_another_journey():
    events = packet_rows(
        ((HOST, 4, RECEIVE), {}), ((HOST, 4, FUNCTION), {}), ((HOST, 5, FUNCTION), BACK), ((HOST, 5, QUEUE), BACK)
    )
    assert journeys_of(events) == [(0, 1), (2, 3)]


TURNS_OF = {"proto": UDP, "skb": 77}


@pytest.mark.parametrize(
    ("order", "hops"),
    [
        ("awur", "awur"),
        ("aur", "aur"),
        ("waur", "aur"),
        ("wuar", "ar"),
        ("auwr", "aur"),
        ("awr", "ar"),
        ("uawr", "ar"),
    ],
)
def test_wake_up_and_run_belong_to_the_packet_between_them(order, hops):
    """Letters: a is the arrival, w the wake-up of the reader, u its run, r its read."""
    rows = {
        "a": ((C0, 2, RECEIVE), {"len_bytes": 28, "shape": 7 << 3}),
        "w": ((C0, 0, WAKE), TURNS_OF),
        "u": ((C0, 0, RUN), TURNS_OF),
        "r": ((C0, 0, READ), TURNS_OF),
    }
    events = packet_rows(*(rows[letter] for letter in order), ((C0, 0, RUN), TURNS_OF))
    reported = np.isin(events["point"], (WAKE, RUN))
    events["aux"][reported] = 100 + order.index("r")  # the read's time
    events["aux"][-1] += 1  # of another read
    assert journeys_of(events) == [tuple(order.index(letter) for letter in hops)]


def test_wake_ups_of_another_socket_are_not_used():
    rows = [((C0, 2, RECEIVE), {}), ((C0, 0, RUN), TURNS_OF | {"skb": 78, "aux": 102}), ((C0, 0, READ), TURNS_OF)]
    assert journeys_of(packet_rows(*rows)) == [(0, 2)]


def test_sampled_datagrams_have_no_reads():
    """The read of a datagram that was sampled out would be matched to another; TCP reads have a place in the stream."""
    tcp = {"proto": TCP, "shape": 13 << 3, "seq": 1000, "len_bytes": 152, "skb": BASE + 4}
    events = packet_rows(
        ((C0, 2, RECEIVE), {}),
        ((C0, 2, RECEIVE), tcp),
        ((C0, 0, READ), {"skb": 7}),
        ((C0, 0, READ), {"proto": TCP, "skb": 8, "seq": 1000, "aux": 100}),
    )
    assert journeys_of(events) == [(0, 2), (1, 3)]
    assert journeys_of(events, sampled=True) == [(0,), (1, 3)]


def test_a_lost_read_does_not_affect_others():
    tcp = {"proto": TCP, "shape": 13 << 3, "len_bytes": 152}
    read = {"proto": TCP, "skb": 8, "aux": 100}
    events = packet_rows(
        *(((C0, 2, RECEIVE), tcp | {"seq": 100 * k, "skb": BASE + 4 * k}) for k in range(3)),
        ((C0, 0, READ), read | {"seq": 0}),
        ((C0, 0, READ), read | {"seq": 200}),
    )
    assert journeys_of(events, lost={READ}) == [(0, 3), (1,), (2, 4)]


def test_reads_are_preferred_to_copies():
    tcp = {"proto": TCP, "shape": 13 << 3, "seq": 1000, "len_bytes": 152}
    events = packet_rows(
        ((C0, 2, RECEIVE), tcp),
        ((C0, 0, DELIVER), tcp | {"aux": 100}),
        ((C0, 0, READ), {"proto": TCP, "skb": 8, "seq": 1000, "aux": 100}),
    )
    assert journeys_of(events) == [(0, 2)]
    assert journeys_of({name: column[:2] for name, column in events.items()}) == [(0, 1)]


def test_the_data_of_a_syn_begins_behind_it():
    """TCP Fast Open (RFC 7413)."""
    syn = {"proto": TCP, "shape": 13 << 3, "seq": 999, "len_bytes": 152, "tcp_flags": 2}
    events = packet_rows(
        ((C1, 0, SEND), {"proto": TCP, "skb": 7, "seq": 1000, "aux": 100}),
        ((C1, 2, QUEUE), syn),
        ((C0, 2, RECEIVE), syn),
        ((C0, 0, READ), {"proto": TCP, "skb": 8, "seq": 1099, "aux": 1}),
    )
    assert journeys_of(events) == [(0, 1, 2, 3)]


def test_payload_bytes_exclude_headers():
    events = {
        "shape": np.array([13 << 3, 7 << 3, 0, 7 << 3], np.uint8),
        "len_bytes": np.array([1500, 28, 40, 20], np.uint32),
    }
    assert payload_bytes(events, np.arange(4)).tolist() == [1448, 0, 40, 0]


def test_bulk_events_have_the_stated_journeys():
    """In the events of benchmarks, each packet is one complete journey."""
    found = correlate(bulk(5000), STAGES)
    assert len(found) == 5000
    assert (found.length == 9).all()
    assert found.orphans == 0
