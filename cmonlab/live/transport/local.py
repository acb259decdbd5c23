"""The transport within one process: the same promises, no server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future

from cmonlab.errors import TransportError

from .answer import answer, opened
from .base import Message, Replay, Transport
from .errors import closed, no_answer, nobody_answers, nobody_keeps
from .mailbox import Subscription
from .subject import check_message, check_stream, check_subject, matches, message_bytes, overlap


class _Stream:
    """Messages kept in memory, by number."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        self.max_bytes, self.max_age_s = 0, 0.0
        self.messages: dict[int, tuple[float, Message]] = {}
        self.last = self.bytes = 0

    def keeps(self, subject: str) -> bool:
        return any(matches(pattern, subject) for pattern in self.subjects)

    def add(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        self.last += 1
        self.messages[self.last] = time.monotonic(), Message(subject, payload, headers, self.last)
        self.bytes += message_bytes(payload, headers)
        self.trim()

    def first(self) -> int:
        # Only the oldest ever go, so the numbers have no gap.
        return self.last - len(self.messages) + 1

    def trim(self) -> None:
        """Drop what is beyond the limits."""
        oldest = time.monotonic() - self.max_age_s
        while self.messages:
            added, message = self.messages[self.first()]
            if self.bytes <= self.max_bytes and added >= oldest:
                return
            del self.messages[self.first()]
            self.bytes -= message_bytes(message.payload, message.headers)

    def find(self, subject: str, sequence: int) -> Message | None:
        """Return the first message under a subject from a number on."""
        self.trim()
        for number in range(max(sequence, self.first()), self.last + 1):
            message = self.messages[number][1]
            if matches(subject, message.subject):
                return message
        return None


class _LocalReplay(Replay):
    def __init__(self, transport: LocalTransport, stream: _Stream, subject: str, sequence: int):
        self._transport, self._stream, self._subject, self._next = transport, stream, subject, sequence
        self._open = True

    def get(self, timeout_s: float | None = None) -> Message | None:
        transport, found = self._transport, None

        def arrived() -> bool:
            nonlocal found
            if transport._open and self._open:
                found = self._stream.find(self._subject, self._next)
                # What does not match need not be looked at again.
                self._next = found.sequence + 1 if found else max(self._next, self._stream.last + 1)
            return found is not None or not (transport._open and self._open)

        with transport._changed:
            transport._changed.wait_for(arrived, timeout_s)
        return found

    def close(self) -> None:
        with self._transport._changed:
            self._open = False
            self._transport._changed.notify_all()


class LocalTransport(Transport):
    """Messages between threads of this process."""

    def __init__(self) -> None:
        self._open = True
        self._changed = threading.Condition()
        self._listeners: list[Subscription] = []
        self._services: list[Subscription] = []
        self._appended = 0
        self._streams: dict[str, _Stream] = {}

    def __repr__(self) -> str:
        return f"<LocalTransport, {'open' if self._open else 'closed'}>"

    def publish(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        self._send(subject, payload, headers, must_be_kept=False)

    def append(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        self._send(subject, payload, headers, must_be_kept=True)

    def _send(self, subject: str, payload: bytes, headers: Mapping[str, str] | None, must_be_kept: bool) -> None:
        check_subject(subject)
        check_message(payload, headers)
        headers = dict(headers or {})
        with self._changed:
            self._check_open()
            kept = [stream for stream in self._streams.values() if stream.keeps(subject)]
            if must_be_kept and not kept:
                raise nobody_keeps(subject)
            for stream in kept:
                stream.add(subject, payload, headers)
                self._appended = max(self._appended, stream.last) if must_be_kept else self._appended
            self._changed.notify_all()
            # Under the lock, so that every listener sees one order.
            for listener in self._under(self._listeners, subject):
                listener.put(Message(subject, payload, headers), message_bytes(payload, headers))

    @staticmethod
    def _under(subscriptions: list[Subscription], subject: str) -> Iterator[Subscription]:
        return (each for each in subscriptions if matches(each.subject, subject))

    def subscribe(self, subject: str, handler: Callable[[Message], None]) -> Subscription:
        return self._add(self._listeners, subject, handler)

    def serve(self, subject: str, handler: Callable[[bytes], bytes]) -> Subscription:
        def work(asked: tuple[bytes, Future]) -> None:
            payload, future = asked
            reply = answer(handler, payload)
            # Several may serve one subject; the first answer counts.
            with self._changed:
                if not future.done():
                    future.set_result(reply)

        return self._add(self._services, subject, work)

    def _add(self, where: list[Subscription], subject: str, work: Callable) -> Subscription:
        check_subject(subject, wildcards=True)

        def forget(subscription: Subscription) -> None:
            with self._changed:
                where.remove(subscription)

        with self._changed:
            self._check_open()
            subscription = Subscription(subject, work, forget)
            where.append(subscription)
            return subscription

    def request(self, subject: str, payload: bytes, timeout_s: float = 5.0) -> bytes:
        check_subject(subject)
        check_message(payload, None)
        future: Future = Future()
        with self._changed:
            self._check_open()
            services = list(self._under(self._services, subject))
            for service in services:
                service.put((payload, future), len(payload))
        if not services:
            raise nobody_answers(subject)
        try:
            return opened(*future.result(timeout_s))
        except TimeoutError:
            raise no_answer(subject, timeout_s) from None

    def keep(self, stream: str, subjects: list[str], max_bytes: int, max_age_s: float) -> None:
        check_stream(stream, subjects, max_bytes, max_age_s)
        with self._changed:
            self._check_open()
            for name, other in self._streams.items():
                if name != stream and any(overlap(a, b) for a in subjects for b in other.subjects):
                    raise TransportError(f"stream {stream!r} cannot be made", why=f"{name!r} keeps its subjects too")
            kept = self._streams.setdefault(stream, _Stream())
            kept.subjects, kept.max_bytes, kept.max_age_s = list(subjects), max_bytes, max_age_s
            kept.trim()

    def flush(self, timeout_s: float = 5.0) -> int:
        with self._changed:
            self._check_open()
            return self._appended

    def replay(self, subject: str, from_sequence: int = 1) -> Replay:
        check_subject(subject, wildcards=True)
        with self._changed:
            self._check_open()
            for stream in self._streams.values():
                if any(overlap(subject, kept) for kept in stream.subjects):
                    return _LocalReplay(self, stream, subject, from_sequence)
        raise nobody_keeps(subject)

    def _check_open(self) -> None:
        if not self._open:
            raise closed()

    def close(self) -> None:
        with self._changed:
            self._open = False
            self._changed.notify_all()
            subscriptions = [*self._listeners, *self._services]
        for subscription in subscriptions:
            subscription.close()
