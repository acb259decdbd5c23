import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmonlab.data.correlation.datagram import reads_of
from tests.support.events import BASE, C0, HOST, READ, RECEIVE, UDP, columns


def play(actions, size=40, socket=BASE):
    """Run a socket's queue; return its events, the reads that took each known arrival, and whether it is known.

    Actions: ``a`` a datagram arrives, ``u`` one arrives that was not seen (or the rule does not match),
    ``r`` one is read, ``p`` as ``a`` but it is queued only after the next action, ``l`` one is read and that is lost.
    """
    rows, queue, late, truth, arrivals = [], [], [], {}, []
    for action in actions:
        waiting, late = late, []
        if action in "aup":
            event = len(rows) if action != "u" else None
            if event is not None:
                rows.append({"point": RECEIVE, "sport": 9, "len_bytes": size + 28, "skb": BASE + 256})
                arrivals.append(event)
            (late if action == "p" else queue).append(event)
        elif queue:
            taken = queue.pop(0)
            if action == "r":
                if taken is not None:
                    truth[taken] = len(rows)
                rows.append({"point": READ, "skb": socket, "len_bytes": size, "detail": len(queue)})
        queue += waiting
    made = {
        name: np.array([row.get(name, 0) for row in rows], np.uint64)
        for name in ("point", "sport", "len_bytes", "skb", "detail")
    }
    n = len(rows)
    fixed = {"ts_ns": np.arange(n), "netns": np.full(n, C0), "dport": np.full(n, 53), "proto": np.full(n, UDP)}
    return columns(made | fixed, n), np.array(arrivals, np.int64), truth


def found(events, arrivals, copied=None, payload=40, breaks=(), home=None):
    read = np.flatnonzero(events["point"] == READ)
    copied = np.zeros(len(arrivals), bool) if copied is None else copied
    if len(read) == 0:
        return {}
    payload = np.broadcast_to(payload, len(arrivals))
    breaks, home = np.array(breaks, np.int64), events["netns"][arrivals] if home is None else home
    taken = reads_of(events, arrivals, payload, copied, read, breaks, home)
    return {int(a): int(r) for a, r in zip(arrivals, taken, strict=True) if r >= 0}


@given(st.text("ar", max_size=60))
def test_datagrams_are_matched_if_all_were_seen(actions):
    """All are matched, also in a queue that is never empty."""
    events, arrivals, truth = play(actions)
    assert found(events, arrivals) == truth


def test_an_arrival_in_another_namespace_is_for_the_sockets_namespace():
    """Datagrams of a macvlan arrive in the namespace of the interface below it."""
    events, arrivals, truth = play("aarr")
    events["netns"][arrivals] = HOST
    assert found(events, arrivals) == {}
    assert found(events, arrivals, home=np.full(2, C0, np.uint32)) == truth


@given(st.lists(st.sampled_from(["a", "r", "pr"]), max_size=60))
def test_an_arrival_may_be_recorded_before_it_is_queued(actions):
    """A read on another processor may be recorded in between."""
    events, arrivals, truth = play("".join(actions) + "ar" + 60 * "r")
    assert found(events, arrivals) == truth


@given(st.lists(st.sampled_from(["ar", "aar", "r", "ur", "arur"]), max_size=30), st.integers(0, 5))
def test_unseen_datagrams_in_the_queue_shift_no_pairs(bursts, backlog):
    """Rules leave out datagrams, or they came before the recording: counting is right after an empty queue."""
    begin = "u" * backlog + "a" + "r" * (backlog + 1) + "r" * 40
    events, arrivals, truth = play(begin + "".join(burst + "r" * 4 for burst in bursts))
    joined = found(events, arrivals)
    assert joined.items() <= truth.items()
    quiet = max((i for i, left in enumerate(events["detail"]) if left == 0 and events["point"][i] == READ), default=-1)
    assert backlog or "u" in "".join(bursts) or len(joined) == len(truth), quiet


def test_matching_resumes_after_an_unseen_datagram():
    events, arrivals, truth = play("ar" + "ur" + "aarr" + "ar")
    assert found(events, arrivals) == truth
    assert len(truth) == 4


def test_nothing_is_matched_after_a_lost_read():
    events, arrivals, truth = play("ar" + "aalr" + "ar")
    assert found(events, arrivals) == {0: truth[0]}


def test_a_mixed_queue_is_not_guessed():
    events, arrivals, truth = play("auaurrrr")
    assert found(events, arrivals) == {}
    assert truth


def test_sockets_that_share_a_port_are_not_guessed():
    events, arrivals, _ = play("arar")
    events["skb"][np.flatnonzero(events["point"] == READ)[1]] += np.uint64(64)
    assert found(events, arrivals) == {}


def test_a_copied_datagram_counts_in_the_queue():
    events, arrivals, truth = play("aaarrr")
    joined = found(events, arrivals, copied=np.array([False, True, False]))
    assert joined == {a: r for a, r in truth.items() if a != 1}


def test_a_read_longer_than_the_arrival_is_not_matched():
    events, arrivals, _ = play("aarr")
    assert found(events, arrivals, payload=39) == {}


def test_a_shorter_read_is_a_truncated_datagram():
    events, arrivals, truth = play("aarr")
    assert found(events, arrivals, payload=41) == truth


@pytest.mark.parametrize("connected", [False, True])
def test_a_connected_socket_takes_its_peers_datagrams(connected):
    events, arrivals, truth = play("aarr")
    events["sport"][events["point"] == READ] = 9 if connected else 8
    assert found(events, arrivals) == (truth if connected else {})


def test_a_socket_that_is_connected_later_keeps_its_queue():
    """The first datagram is read before the socket knows its peer, as iperf3's server does."""
    events, arrivals, truth = play("arararar")
    reads = np.flatnonzero(events["point"] == READ)
    peer = events["sport"][arrivals[0]] if events["sport"][arrivals[0]] else 4000
    events["sport"][arrivals] = peer
    events["sport"][reads[1:]] = peer
    assert found(events, arrivals) == truth


@given(st.text("ar", max_size=40), st.text("ar", max_size=20), st.text("ar", max_size=40))
def test_no_wrong_pair_around_a_trace_gap(before, silent, after):
    """Events in a gap are missing, and no pair is made across the gap."""
    events, arrivals, truth = play(before + silent + after)
    first, last = len(before), len(before) + len(silent)
    # An action may have no event (a read of an empty queue waits), so cut by events.
    first, last = (min(len(events["ts_ns"]), at) for at in (first, last))
    kept = np.r_[0:first, last : len(events["ts_ns"])]
    number = {int(old): new for new, old in enumerate(kept)}
    left = {name: column[kept] for name, column in events.items()}
    joined = found(
        left, np.array([number[int(a)] for a in arrivals if int(a) in number], np.int64), breaks=(first, last)
    )
    right = {number[a]: number[r] for a, r in truth.items() if a in number and r in number}
    assert joined.items() <= right.items()


SEGMENTS = 3


def play_large(actions, whole=False, size=40):
    """Run a queue into which larger packets come as their segments; return as `play`, and the payload of each arrival.

    Actions: ``a`` a datagram arrives, ``g`` a packet of several, ``h`` one of which the first segment is queued and
    the others only after the next action, ``r`` a datagram (or, where `whole`, what came at once) is read.
    """
    rows, queue, late, truth, arrivals, payload = [], [], [], {}, [], []
    for action in actions:
        waiting, late = late, []
        if action == "r":
            if queue:
                event, last, got = queue.pop(0)
                if last:
                    truth[event] = len(rows)
                rows.append({"point": READ, "skb": BASE, "len_bytes": got, "detail": len(queue)})
        else:
            parts = 1 if action == "a" else SEGMENTS
            came = [(len(rows), number == parts - 1, size) for number in range(parts)]
            if whole:
                came = [(len(rows), True, size * parts)]
            arrivals.append(len(rows))
            payload.append(size * parts)
            rows.append({"point": RECEIVE, "sport": 9, "len_bytes": payload[-1] + 28, "skb": BASE + 256})
            rows[-1]["detail"] = parts
            queue += waiting
            waiting = []
            queue += came[:1] if action == "h" else came
            late = came[1:] if action == "h" else []
        queue += waiting
    names = ("point", "sport", "len_bytes", "skb", "detail")
    made = {name: np.array([row.get(name, 0) for row in rows], np.uint64) for name in names}
    n = len(rows)
    fixed = {"ts_ns": np.arange(n), "netns": np.full(n, C0), "dport": np.full(n, 53), "proto": np.full(n, UDP)}
    return columns(made | fixed, n), np.array(arrivals, np.int64), truth, np.array(payload, np.int64)


@given(st.text("aghr", max_size=60), st.booleans())
def test_a_larger_packet_is_delivered_by_the_read_of_its_last_segment(actions, whole):
    """Its segments may be read while the next packet arrives, or all at once if the socket requests that."""
    events, arrivals, truth, payload = play_large(actions + "r" + SEGMENTS * len(actions) * "r", whole)
    joined = found(events, arrivals, payload=payload)
    assert joined == truth
    assert len(truth) == len(arrivals)


def test_segments_read_while_the_next_packet_comes_are_not_its_own():
    """Each read leaves the queue empty, as segments arrive one by one."""
    events, arrivals, truth, payload = play_large("hrr" + "g" + "rr" + "rr")
    assert found(events, arrivals, payload=payload) == truth
