"""Detection of false matches, and the senders whose packets provoke them."""

import itertools
import socket
from collections import Counter

import numpy as np
import pytest

from cmonlab.session.session import Session
from cmonlab.study.calibrate.groups.segments import is_dropped
from cmonlab.study.calibrate.groups.tallies import is_sampled
from cmonlab.study.calibrate.matches import mixed, wrong_datagram_reads, wrong_parts, wrong_stream_reads
from cmonlab.study.testbed.packets import duplicated_and_reordered, in_order
from cmonlab.study.testbed.senders import Batch, read_messages, reads_of
from cmonlab.study.testbed.streams import tcp_header
from cmonlab.study.testbed.traffic import hash_of, payload
from tests.support.events import A0, A1, BASE, C0, PATH, READ, SOCKET, TCP, UDP, columns, manifest

FORTH = "c1 → c0"
APART_NS, HOP_NS, READ_NS = 1000, 300, 10_000
PAYLOAD = 100


def packets(count, proto=UDP, **of_packet):
    """Return the rows of packets in order, each in its own buffer; the first begins at APART_NS."""
    of_packet = {"seq": 7, "ident": 7, "skb": BASE + 4 * np.arange(count)} | of_packet
    size = np.broadcast_to(of_packet.pop("size", PAYLOAD), count)
    rows = []
    for number in range(count):
        fields = {name: int(np.broadcast_to(values, count)[number]) for name, values in of_packet.items()}
        length = int(size[number]) + (28 if proto == UDP else 40)
        for step, (netns, ifindex, point) in enumerate(PATH):
            rows.append(
                fields
                | {
                    "ts_ns": APART_NS * (number + 1) + HOP_NS * step,
                    "netns": netns,
                    "ifindex": ifindex,
                    "point": point,
                    "saddr": A1,
                    "daddr": A0,
                    "sport": 4000,
                    "dport": 5000,
                    "proto": proto,
                    "detail": 1,
                    "len_bytes": length,
                    "shape": (7 if proto == UDP else 10) << 3,
                }
            )
    return rows


def read(ts_ns, proto, **fields):
    """Return the row of a read in c0."""
    return {
        "ts_ns": ts_ns,
        "netns": C0,
        "point": READ,
        "skb": SOCKET,
        "proto": proto,
        "sport": 4000,
        "dport": 5000,
        "saddr": A1,
        "daddr": A0,
        "len_bytes": PAYLOAD,
    } | fields


def session_of(rows):
    names = {name for row in rows for name in row} | {"epoch", "rules"}
    made = {name: np.array([row.get(name, 0) for row in rows]) for name in names}
    made["epoch"] = made["rules"] = np.ones(len(rows), np.int64)
    return Session(columns(made, len(rows)), manifest())


@pytest.mark.parametrize("alike", [(), ("seq",), ("seq", "ident")])
def test_mixed_accepts_packets_in_order(alike):
    session = session_of(packets(50))
    assert len(session.journeys()) == 50
    assert mixed(session, alike) == 0


@pytest.mark.parametrize("hop", range(1, len(PATH)))
def test_mixed_finds_packets_that_changed_places(hop):
    """Two equal packets exchange their buffers on the path, which no event shows."""
    rows = packets(10)
    for row in rows[2 * len(PATH) + hop : 3 * len(PATH)]:
        row["skb"] = BASE + 4 * 3
    for row in rows[3 * len(PATH) + hop : 4 * len(PATH)]:
        row["skb"] = BASE + 4 * 2
    session = session_of(rows)
    assert len(session.journeys()) == 10
    assert mixed(session) == 2
    assert mixed(session, ("seq", "ident")) == 2
    assert mixed(session, direction=FORTH) == 2
    assert mixed(session, direction="c0 → c1") == 0


def test_mixed_distinguishes_packets_after_a_dropped_one_by_content():
    """The first packet of a sequence number does not arrive; the second one does."""
    rows = packets(4, seq=[3, 1, 2, 1], ident=[1, 2, 3, 4])
    del rows[len(PATH) + 5 : 2 * len(PATH)]
    session = session_of(rows)
    assert len(session.journeys()) == 4
    assert mixed(session, ("seq",)) == 0
    assert mixed(session) > 0


def log_of(reads_ns, numbers):
    return reads_of([(at - 50, at + 50, number) for at, number in zip(reads_ns, numbers, strict=True)])


def datagrams(count):
    """Return a session of datagrams that are all read, and the times of the reads."""
    rows = packets(count, seq=[hash_of(number, PAYLOAD) for number in range(count)])
    reads_ns = [APART_NS * (count + 1) + READ_NS + 200 * number for number in range(count)]
    rows += [read(at, UDP, detail=count - 1 - number) for number, at in enumerate(reads_ns)]
    return session_of(rows), reads_ns


def seq_of(number):
    return hash_of(number, PAYLOAD)


def test_wrong_datagram_reads_finds_a_shifted_log():
    session, reads_ns = datagrams(20)
    assert (session.journeys()["outcome"] == "delivered").all()
    assert wrong_datagram_reads(session, log_of(reads_ns, range(20)), FORTH, seq_of) == 0
    late = [at + 200 for at in reads_ns]
    assert wrong_datagram_reads(session, log_of(late, range(20)), FORTH, seq_of) == 20


def test_wrong_datagram_reads_compares_content_if_numbers_differ():
    session, reads_ns = datagrams(20)
    some = [number for number in range(20) if number != 5]
    log = log_of([reads_ns[number] for number in some], some)
    assert wrong_datagram_reads(session, log, FORTH, seq_of) == 1  # the application did not read number 5
    swapped = log_of([reads_ns[number] for number in some], [some[1], some[0], *some[2:]])
    assert wrong_datagram_reads(session, swapped, FORTH, seq_of) == 3


@pytest.mark.parametrize(("first", "at"), [(1000, 0), (2**32 - 150, 0), (1000, 1)])
def test_stream_reads_must_take_the_last_byte(first, at):
    """A SYN, three segments, two reads; the second read takes two segments. Sequence numbers may wrap."""
    seq = [(first + add) % 2**32 for add in (0, 1, 101, 201)]
    rows = packets(4, TCP, seq=seq, ident=range(4), size=[0, 100, 100, 100], tcp_flags=[2, 16, 16, 16])
    reads_ns = [20_000, 30_000]
    rows += [
        read(reads_ns[0], TCP, seq=seq[1], aux=100, len_bytes=100),
        read(reads_ns[1], TCP, seq=seq[2], aux=200, len_bytes=200),
    ]
    session = session_of(rows)
    assert (session.journeys()["outcome"] == "delivered").sum() == 3
    log = log_of(reads_ns, [100, 300]) if at == 0 else log_of(reads_ns, [200, 300])
    # If the first call had read 200 bytes, it would have taken the last byte of the second segment.
    assert wrong_stream_reads(session, log, FORTH) == at


def test_wrong_reads_of_an_unseen_stream_are_none():
    assert wrong_stream_reads(session_of(packets(1)), reads_of([]), "c0 → c1") == 0
    assert wrong_datagram_reads(session_of(packets(1)), reads_of([]), FORTH, seq_of) == 0


@pytest.mark.parametrize(("count", "share"), [(1009, 0.2), (10, 0.2), (500, 0.0)])
def test_order_has_duplicates_and_late_packets(count, share):
    order = duplicated_and_reordered(count, share, seed=7)
    assert order == duplicated_and_reordered(count, share, seed=7)
    assert set(order) == set(range(count))
    assert Counter(Counter(order).values())[2] == round(share * count)
    assert len(order) == count + round(share * count)
    assert (order == sorted(order)) == (share == 0)
    assert in_order([bytes([number % 256]) for number in range(count)], order)[-1] == bytes([order[-1] % 256])


def test_order_moves_packets_by_few_places():
    order = duplicated_and_reordered(1000, 0.2)
    behind = sum(a > b for a, b in itertools.pairwise(order))
    assert 50 < behind < 240
    assert max(abs(number * 1.2 - at) for at, number in enumerate(order)) < 60


def test_samples_are_subsets_of_larger_ones():
    packets = [(hash_of(number, 40), number) for number in range(2000)]
    taken = {share: {one for one in packets if is_sampled(*one, share)} for share in (0.01, 0.1, 0.5, 1.0)}
    assert taken[0.01] < taken[0.1] < taken[0.5] < taken[1.0] == set(packets)
    assert 120 < len(taken[0.1]) < 280


def test_tcp_header_reads_tcp_only():
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6

    data = TCP(seq=2**31 + 5, sport=1, dport=2) / bytes(600)
    assert tcp_header(bytes(IP(id=96) / data)) == (2**31 + 5, 640, 96)
    assert tcp_header(bytes(IPv6() / data)) == (2**31 + 5, 660, 0)
    assert tcp_header(bytes(IP() / UDP() / bytes(40))) is None
    assert tcp_header(bytes(IPv6() / UDP() / bytes(40))) is None


def test_is_dropped_follows_the_rule():
    assert is_dropped((True, 1, 1500, 64))
    assert not is_dropped((False, 1, 1500, 64))
    assert not is_dropped((True, 1, 60, 64))
    assert not is_dropped((True, 1, 1500, 65))


@pytest.mark.parametrize("rate_pps", [None, 2000.0])
def test_batch_is_sent_completely_and_in_order(rate_pps):
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        count = 8  # such a socket holds this many
        sent_pps = Batch([payload(number, 20 + number) for number in range(count)]).send(near, rate_pps)
        reads = read_messages(far, count + 1, idle_s=0.1)  # ends although no more come
    assert reads.number.tolist() == list(range(count))
    assert (reads.before_ns <= reads.after_ns).all()
    assert rate_pps is None or sent_pps <= rate_pps * count / (count - 1)


def test_batch_reports_a_refused_message():
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    far.close()
    with near, pytest.raises(OSError, match="refused"):
        Batch([b"nobody listens"]).send(near)


def split(*parents):
    """Return a session of split packets: None for a packet that is split, a payload size for each part."""
    rows, now = [], 0
    for number, parent in enumerate(parents):
        for step, (netns, ifindex, point) in enumerate(PATH[:1] if parent is None else PATH[1:]):
            rows.append(
                {
                    "ts_ns": now + step,
                    "netns": netns,
                    "ifindex": ifindex,
                    "point": point,
                    "saddr": A1,
                    "daddr": A0,
                    "skb": BASE + 4 * number,
                    "proto": UDP,
                    "shape": 7 << 3,
                    "sport": 1,
                    "dport": 2,
                    "ident": number,
                    "len_bytes": 28 + (200 if parent is None else parent),
                    "detail": 2 if parent is None else 1,
                }
            )
        now += 100
    return session_of(rows)


def test_wrong_parts_compares_the_order():
    assert wrong_parts(split(None, 100, 100, None, 150, 50), 2) == 0
    # One part was not seen, so it is not known what the other belongs to.
    assert wrong_parts(split(None, 100, 100, None, 150), 2) == 2
