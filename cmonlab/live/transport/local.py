"""Transport within one process, without a server; it behaves as the one over NATS does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from cmonlab.errors import TransportError

from .answer import answer, payload_or_error
from .base import Message, Replay, Transport
from .errors import no_reply_in_time, no_responder, no_stream, transport_closed
from .mailbox import Subscription
from .subject import matches, message_bytes, overlap

#: Payload and headers of a reply, as `answer` returns them.
_Reply = tuple[bytes, dict[str, str]]


class _Stream:
    """Messages stored in memory, by number."""

    def __init__(self) -> None:
        self.subjects: list[str] = []
        self.max_bytes, self.max_age_s = 0, 0.0
        self.messages: dict[int, tuple[float, Message]] = {}
        self.last = self.bytes = 0

    def stores(self, subject: str) -> bool:
        return any(matches(pattern, subject) for pattern in self.subjects)

    def add(self, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        self.last += 1
        self.messages[self.last] = time.monotonic(), Message(subject, payload, headers, self.last)
        self.bytes += message_bytes(payload, headers)
        self.trim()

    def first(self) -> int:
        # Only the oldest messages are dropped, so the numbers have no gap.
        return self.last - len(self.messages) + 1

    def trim(self) -> None:
        """Drop the messages that exceed the limits."""
        oldest = time.monotonic() - self.max_age_s
        while self.messages:
            added, message = self.messages[self.first()]
            if self.bytes <= self.max_bytes and added >= oldest:
                return
            del self.messages[self.first()]
            self.bytes -= message_bytes(message.payload, message.headers)

    def find(self, subject: str, sequence: int) -> Message | None:
        """Return the first message under a subject, from this number on."""
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
                # Messages that do not match are not searched again.
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
    """Messages between the threads of this process."""

    def __init__(self) -> None:
        self._open = True
        self._changed = threading.Condition()
        self._listeners: list[Subscription] = []
        self._services: list[Subscription] = []
        self._last_sequence = 0
        self._streams: dict[str, _Stream] = {}

    def __repr__(self) -> str:
        return f"<LocalTransport, {'open' if self._open else 'closed'}>"

    def _publish(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> None:
        self._send(subject, payload, headers, needs_stream=False)

    def _publish_to_stream(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> None:
        self._send(subject, payload, headers, needs_stream=True)

    def _send(self, subject: str, payload: bytes, headers: Mapping[str, str] | None, needs_stream: bool) -> None:
        headers = dict(headers or {})
        with self._changed:
            self._check_open()
            streams = [stream for stream in self._streams.values() if stream.stores(subject)]
            if needs_stream and not streams:
                raise no_stream(subject)
            for stream in streams:
                stream.add(subject, payload, headers)
                self._last_sequence = max(self._last_sequence, stream.last) if needs_stream else self._last_sequence
            self._changed.notify_all()
            # Under the lock, so that all listeners see the same order.
            for listener in self._under(self._listeners, subject):
                listener.put(Message(subject, payload, headers), message_bytes(payload, headers))

    @staticmethod
    def _under(subscriptions: list[Subscription], subject: str) -> Iterator[Subscription]:
        return (each for each in subscriptions if matches(each.subject, subject))

    def _subscribe(self, subject: str, handler: Callable[[Message], None]) -> Subscription:
        return self._add(self._listeners, subject, handler)

    def _serve(self, subject: str, handler: Callable[[bytes], bytes]) -> Subscription:
        def handle(request: tuple[bytes, Future[_Reply]]) -> None:
            payload, future = request
            reply = answer(handler, payload)
            # If several serve one subject, the first reply counts.
            with self._changed:
                if not future.done():
                    future.set_result(reply)

        return self._add(self._services, subject, handle)

    def _add(self, subscriptions: list[Subscription], subject: str, handle: Callable[[Any], None]) -> Subscription:
        def remove(subscription: Subscription) -> None:
            with self._changed:
                subscriptions.remove(subscription)

        with self._changed:
            self._check_open()
            subscription = Subscription(subject, handle, remove)
            subscriptions.append(subscription)
            return subscription

    def _request(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        future: Future[_Reply] = Future()
        with self._changed:
            self._check_open()
            services = list(self._under(self._services, subject))
            for service in services:
                service.put((payload, future), len(payload))
        if not services:
            raise no_responder(subject)
        try:
            return payload_or_error(*future.result(timeout_s))
        except TimeoutError:
            raise no_reply_in_time(subject, timeout_s) from None

    def _create_stream(self, stream: str, subjects: list[str], max_bytes: int, max_age_s: float) -> None:
        with self._changed:
            self._check_open()
            for name, other in self._streams.items():
                if name != stream and any(overlap(a, b) for a in subjects for b in other.subjects):
                    why = f"stream {name!r} has the same subjects"
                    raise TransportError(f"stream {stream!r} cannot be created", why=why)
            changed = self._streams.setdefault(stream, _Stream())
            changed.subjects, changed.max_bytes, changed.max_age_s = list(subjects), max_bytes, max_age_s
            changed.trim()

    def flush(self, timeout_s: float = 5.0) -> int:
        with self._changed:
            self._check_open()
            return self._last_sequence

    def _replay(self, subject: str, from_sequence: int) -> Replay:
        with self._changed:
            self._check_open()
            for stream in self._streams.values():
                if any(overlap(subject, stored) for stored in stream.subjects):
                    return _LocalReplay(self, stream, subject, from_sequence)
        raise no_stream(subject)

    def _check_open(self) -> None:
        if not self._open:
            raise transport_closed()

    def close(self) -> None:
        with self._changed:
            self._open = False
            self._changed.notify_all()
            subscriptions = [*self._listeners, *self._services]
        for subscription in subscriptions:
            subscription.close()
