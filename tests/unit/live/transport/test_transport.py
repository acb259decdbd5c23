"""Behaviour of every transport, in one process and over NATS."""

import threading
import time

import pytest

from cmonlab.errors import CmonlabError, RuleError, TransportError, UnknownName
from cmonlab.live.transport import MAX_BYTES, LocalTransport, NatsServer, connect, mailbox
from tests.support.servers import WAIT_S, until


@pytest.fixture(scope="module")
def server():
    with NatsServer() as running:
        yield running


@pytest.fixture(params=["local", "nats"])
def ends(request):
    """Return two ends of a transport; over NATS, each has its own connection."""
    if request.param == "local":
        with LocalTransport() as one:
            yield one, one
        return
    server = request.getfixturevalue("server")
    with connect(server.url, server.token) as one, connect(server.url, server.token) as other:
        yield one, other


@pytest.fixture
def name(request):
    """Return a word that no other test uses, because tests share the server."""
    return "".join(letter if letter.isalnum() else "_" for letter in request.node.name)


def test_live_messages_arrive_complete_and_in_order(ends, name):
    sender, receiver = ends
    found = []
    receiver.subscribe(f"{name}.*", found.append)
    for number in range(200):
        sender.publish(f"{name}.{number}", bytes([number]) * number, {"Epoch": str(number), "Empty": ""})
    until(lambda: len(found) == 200)
    assert [message.subject for message in found] == [f"{name}.{number}" for number in range(200)]
    assert all(message.payload == bytes([number]) * number for number, message in enumerate(found))
    assert found[7].headers == {"Epoch": "7", "Empty": ""} and found[7].sequence == 0


def test_only_messages_of_subscribed_subjects_arrive(ends, name):
    sender, receiver = ends
    one, rest, end = [], [], threading.Event()
    receiver.subscribe(f"{name}.*.x", one.append)
    with receiver.subscribe(f"{name}.a.>", rest.append):
        receiver.subscribe(f"{name}.end", lambda _: end.set())
        for subject in ("a.x", "b.x", "a.b.x", "a", "a.y", "end"):
            sender.publish(f"{name}.{subject}", b"")
        assert end.wait(WAIT_S)
        until(lambda: len(one) == 2 and len(rest) == 3)
    end.clear()
    sender.publish(f"{name}.a.x", b"")
    sender.publish(f"{name}.end", b"")
    assert end.wait(WAIT_S)
    until(lambda: len(one) == 3)
    assert [message.subject for message in rest] == [f"{name}.{subject}" for subject in ("a.x", "a.b.x", "a.y")]


@pytest.mark.parametrize(("limit", "size"), [("_MAX_MESSAGES", 0), ("_MAX_BYTES", 1000)])
def test_slow_handler_misses_the_oldest_messages_and_delays_no_publisher(ends, name, monkeypatch, limit, size):
    monkeypatch.setattr(mailbox, limit, 100 * max(size + 4, 1) if size else 100)
    sender, receiver = ends
    go, entered, found, last = threading.Event(), threading.Event(), [], threading.Event()

    def slow(message):
        entered.set()
        go.wait(WAIT_S)
        found.append(int(message.payload[:4]))

    subscription = receiver.subscribe(name, slow)
    receiver.subscribe(f"{name}.last", lambda _: last.set())
    for number in range(300):
        sender.publish(name, b"%04d" % number + bytes(size))
        assert number or entered.wait(WAIT_S)
    sender.publish(f"{name}.last", b"")
    assert last.wait(WAIT_S)
    until(lambda: subscription.missed == 199)
    go.set()
    until(lambda: len(found) == 101)
    # The handler already had the first one.
    assert found == [0, *range(200, 300)] and subscription.missed == 199


def test_failing_handler_gets_the_next_message(ends, name, caplog):
    sender, receiver = ends
    found = []

    def fail(message):
        found.append(message.payload)
        raise ValueError("no good")

    receiver.subscribe(name, fail)
    sender.publish(name, b"1")
    sender.publish(name, b"2")
    until(lambda: found == [b"1", b"2"])
    until(lambda: caplog.text.count("no good") >= 2)


def test_requests_are_answered(ends, name):
    asking, answering = ends
    answering.serve(f"{name}.*", lambda payload: payload[::-1])
    assert asking.request(f"{name}.x", b"abc") == b"cba"
    assert asking.request(f"{name}.x", b"") == b""


@pytest.mark.parametrize(
    "error",
    [
        RuleError("rule 'web' does not parse", why="line 3: unknown word 'tpc'", fix="did you mean 'tcp'?"),
        UnknownName("point", "xmti", ["xmit", "queue"]),
        CmonlabError("nothing known"),
    ],
)
def test_error_of_the_handler_is_raised_at_the_requester(ends, name, error):
    asking, answering = ends

    def fail(_):
        raise error

    answering.serve(name, fail)
    with pytest.raises(CmonlabError) as caught:
        asking.request(name, b"")
    assert type(caught.value) is type(error)
    assert (caught.value.what, caught.value.why, caught.value.fix) == (error.what, error.why, error.fix)
    assert str(caught.value) == str(error)


def test_unexpected_error_of_the_handler_is_a_transport_error(ends, name):
    asking, answering = ends
    answering.serve(f"{name}.bug", lambda payload: {}[payload])
    answering.serve(f"{name}.large", lambda _: bytes(MAX_BYTES + 1))
    with pytest.raises(TransportError, match="KeyError: b'k'"):
        asking.request(f"{name}.bug", b"k")
    with pytest.raises(TransportError, match=r"1,048,577 bytes"):
        asking.request(f"{name}.large", b"")


def test_request_fails_at_once_without_a_responder_and_in_time_with_a_busy_one(ends, name):
    asking, answering = ends
    begun = time.monotonic()
    with pytest.raises(TransportError, match="nobody answers requests"):
        asking.request(name, b"", timeout_s=30)
    assert time.monotonic() - begun < WAIT_S
    go = threading.Event()
    answering.serve(name, lambda payload: payload if go.wait(WAIT_S) else b"")
    with pytest.raises(TransportError, match="no answer"):
        asking.request(name, b"", timeout_s=0.05)
    go.set()
    assert asking.request(name, b"again") == b"again"


def test_replay_returns_stored_messages_and_then_new_ones(ends, name):
    sender, receiver = ends
    assert sender.flush() == 0
    sender.create_stream(name, [f"{name}.>"], max_bytes=1 << 20, max_age_s=60)
    for number in range(40):
        sender.publish_to_stream(f"{name}.{number % 2}", b"%d" % number, {"Number": str(number)})
    assert sender.flush() == 40
    with receiver.replay(f"{name}.>") as replay:
        found = [next(replay) for _ in range(40)]
        assert [message.sequence for message in found] == list(range(1, 41))
        assert [int(message.payload) for message in found] == list(range(40))
        assert found[3].headers == {"Number": "3"} and found[3].subject == f"{name}.1"
        assert replay.get(timeout_s=0.02) is None
        # Messages of publish() are stored too.
        sender.publish(f"{name}.0", b"live")
        assert next(replay).payload == b"live"
    assert list(replay) == []
    with receiver.replay(f"{name}.1", from_sequence=35) as replay:
        assert [replay.get(WAIT_S).sequence for _ in range(3)] == [36, 38, 40]


def test_messages_to_a_stream_reach_subscribers(ends, name):
    sender, receiver = ends
    found = []
    receiver.subscribe(name, found.append)
    sender.create_stream(name, [name], max_bytes=1 << 20, max_age_s=60)
    sender.publish_to_stream(name, b"x", {"A": "b"})
    until(lambda: found)
    assert (found[0].payload, found[0].headers, found[0].sequence) == (b"x", {"A": "b"}, 0)


def test_full_stream_drops_the_oldest_messages_and_sequence_shows_the_gap(ends, name):
    sender, receiver = ends
    sender.create_stream(name, [name], max_bytes=100_000, max_age_s=60)
    with receiver.replay(name) as replay:
        sender.publish_to_stream(name, bytes(1000))
        assert replay.get(WAIT_S).sequence == 1
    for _ in range(200):
        sender.publish_to_stream(name, bytes(1000))
    sender.flush()
    with receiver.replay(name, from_sequence=2) as replay:
        sequences = [replay.get(WAIT_S).sequence]
        while sequences[-1] < 201:
            sequences.append(replay.get(WAIT_S).sequence)
    assert sequences == list(range(sequences[0], 202)) and 80 <= len(sequences) <= 100


def test_changed_stream_drops_old_messages(ends, name):
    sender, receiver = ends
    sender.create_stream(name, [name], max_bytes=1 << 20, max_age_s=60)
    sender.publish_to_stream(name, b"old")
    sender.flush()
    sender.create_stream(name, [name, f"{name}.more"], max_bytes=1 << 20, max_age_s=0.2)
    sender.publish_to_stream(f"{name}.more", b"")

    def gone():
        with receiver.replay(name) as replay:
            return replay.get(timeout_s=0.05) is None

    until(gone)


def test_subject_without_stream_cannot_be_published_to_or_replayed(ends, name):
    sender, receiver = ends
    with pytest.raises(TransportError, match="no stream stores"):
        sender.publish_to_stream(name, b"")
        sender.flush()
    sender.flush()
    with pytest.raises(TransportError, match="no stream stores"):
        receiver.replay(name)


def test_invalid_streams_are_refused(ends, name):
    one, _ = ends
    one.create_stream(name, [f"{name}.*"], 1 << 20, 60)
    for stream, subjects, size, age in (
        (f"{name}2", [f"{name}.x"], 1 << 20, 60),
        ("a.b", [f"{name}x"], 1 << 20, 60),
        (f"{name}2", [], 1 << 20, 60),
        (f"{name}2", [f"{name}x"], 0, 60),
        (f"{name}2", [f"{name}..x"], 1 << 20, 60),
    ):
        with pytest.raises(TransportError):
            one.create_stream(stream, subjects, size, age)


def test_messages_of_many_threads_are_stored_once(ends, name):
    sender, receiver = ends
    sender.create_stream(name, [f"{name}.*"], 64 << 20, 60)

    def work(thread):
        for number in range(150):
            sender.publish_to_stream(f"{name}.{thread}", b"%d" % number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    sender.flush()
    with receiver.replay(f"{name}.*") as replay:
        found = [replay.get(WAIT_S) for _ in range(600)]
        assert replay.get(0) is None
    for thread in range(4):
        assert [int(m.payload) for m in found if m.subject == f"{name}.{thread}"] == list(range(150))


def test_invalid_subjects_and_headers_are_refused(ends):
    one, _ = ends
    for send in (one.publish, one.publish_to_stream, one.request):
        with pytest.raises(TransportError, match="is not a subject"):
            send("a.*", b"")
    for listen in (one.subscribe, one.serve):
        with pytest.raises(TransportError, match="is not a subject"):
            listen("a.>.b", print)
    with pytest.raises(TransportError, match="is not a subject"):
        one.replay("a..b")
    for send in (one.publish, one.publish_to_stream):
        with pytest.raises(TransportError, match="cannot be sent"):
            send("a", b"", {"Nats-Rollup": "all"})


def test_largest_message_arrives_and_a_larger_one_is_refused(ends, name):
    sender, receiver = ends
    found = []
    receiver.subscribe(name, found.append)
    sender.publish(name, bytes(MAX_BYTES))
    for payload, headers in ((bytes(MAX_BYTES + 1), None), (bytes(MAX_BYTES), {"a": "b"})):
        for send in (sender.publish, sender.publish_to_stream):
            with pytest.raises(TransportError, match="the limit is"):
                send(name, payload, headers)
    with pytest.raises(TransportError, match="the limit is"):
        sender.request(name, bytes(MAX_BYTES + 1))
    sender.publish(name, b"last")
    until(lambda: len(found) == 2)
    assert len(found[0].payload) == MAX_BYTES


def test_close_ends_everything_and_is_idempotent(ends, name):
    one, _ = ends
    one.create_stream(name, [name], 1 << 20, 60)
    replay, ended = one.replay(name), threading.Event()
    reader = threading.Thread(target=lambda: (list(replay), ended.set()))
    reader.start()
    subscription = one.subscribe(f"{name}.x", print)
    one.publish_to_stream(name, b"x")
    one.close()
    one.close()
    subscription.close()
    assert ended.wait(WAIT_S)
    for call in (
        lambda: one.publish(name, b""),
        lambda: one.publish_to_stream(name, b""),
        lambda: one.request(name, b""),
        lambda: one.subscribe(name, print),
        lambda: one.flush(),
        lambda: one.replay(name),
        lambda: one.create_stream(name, [name], 1, 1),
    ):
        with pytest.raises(TransportError, match="closed"):
            call()


def test_handler_may_close_its_own_subscription(ends, name):
    sender, receiver = ends
    found = []

    def once(message):
        found.append(message)
        subscription.close()

    subscription = receiver.subscribe(name, once)
    sender.publish(name, b"")
    until(lambda: found and not subscription._thread.is_alive())
