"""Replay of the messages of a NATS stream."""

from __future__ import annotations

import contextlib
import json
import queue
import time
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error
from nats.js import JetStreamContext, api

from cmonlab.errors import TransportError

from .base import Message, Replay
from .loop import LoopThread
from .subject import visible

_BATCH = 16  # messages per request to the server, few so that a slow reader needs little memory
_EXPIRES_S = 30  # time after which the server ends a batch
_CONSUMER_S = 300.0  # time after which the server deletes an unused consumer
_CALL_S = 10.0


class NatsReplay(Replay):
    """Reads a stream in batches, through its own consumer, which the server may delete at any time.

    Parameters
    ----------
    client : Client
        Connection to the server.
    js : JetStreamContext
        Interface of the connection to streams.
    loop : LoopThread
        Loop that the client runs on.
    stream : str
        Name of the stream.
    subject : str
        Subject of the messages, wildcards allowed.
    from_sequence : int
        Number of the first message.
    on_close : callable
        Called with the replay when it is closed.
    """

    def __init__(
        self,
        client: Client,
        js: JetStreamContext,
        loop: LoopThread,
        stream: str,
        subject: str,
        from_sequence: int,
        on_close: Callable[[NatsReplay], None],
    ):
        self._client, self._js, self._loop = client, js, loop
        self._stream, self._subject, self._next = stream, subject, max(from_sequence, 1)
        self._on_close = on_close
        self._open, self._stale = True, True
        self._queue: queue.SimpleQueue[Msg | None] = queue.SimpleQueue()
        self._consumer = self._inbox = ""
        self._subscription: Subscription | None = None
        self._expected = 0

    def restart(self) -> None:
        """Let the next `get` start a new consumer after the last message, because the connection has changed."""
        # In this order, a `get` that waits wakes up and reads the flag, and one that does not wait yet reads it too.
        self._stale = True
        self._queue.put(None)

    def get(self, timeout_s: float | None = None) -> Message | None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._open:
            if self._client.is_closed:
                raise TransportError("the connection is closed", why=str(self._client.last_error or ""))
            if self._client.is_connected:
                self._request()
            remaining = None if deadline is None else max(deadline - time.monotonic(), 0)
            try:
                found = self._queue.get(timeout=remaining)
            except queue.Empty:
                return None
            message = self._message(found) if found else None
            if message:
                return message
        return None

    def _request(self) -> None:
        """Request the next batch if the last one has ended, with a new consumer if necessary."""
        try:
            if self._stale:
                self._stale = False
                self._queue = queue.SimpleQueue()
                self._loop.call(self._start(self._queue), _CALL_S)
                self._expected = 0
            if not self._expected:
                self._expected = _BATCH
                self._loop.call(self._pull(), _CALL_S)
        except (Error, OSError, TransportError) as error:
            self._stale = True
            # A broken connection is no error: `restart` follows when it works again.
            if self._client.is_connected and self._open:
                why = getattr(error, "description", "") or str(error)
                raise TransportError(f"stream {self._stream!r} cannot be read", why=why) from error

    async def _start(self, queue_: queue.SimpleQueue[Msg | None]) -> None:
        await self._stop()

        async def put(message: Msg) -> None:
            queue_.put(message)

        self._inbox = self._client.new_inbox()
        self._subscription = await self._client.subscribe(self._inbox, cb=put)
        config = api.ConsumerConfig(
            name=self._inbox.rpartition(".")[2],
            filter_subject=self._subject,
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._next,
            ack_policy=api.AckPolicy.NONE,
            inactive_threshold=_CONSUMER_S,
            mem_storage=True,
            num_replicas=1,
        )
        self._consumer = (await self._js.add_consumer(self._stream, config)).name

    async def _pull(self) -> None:
        request = json.dumps({"batch": _BATCH, "expires": int(_EXPIRES_S * 1e9)}).encode()
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        await self._client.publish(subject, request, reply=self._inbox)

    def _message(self, found: Msg) -> Message | None:
        """Return a message of the stream; None for a status of the batch."""
        status = (found.headers or {}).get("Status", "")
        if status:
            # 404, 408: the batch has ended. 409, 503: the consumer does not exist any more, after a long pause.
            self._expected = 0
            self._stale = self._stale or status in ("409", "503")
            return None
        self._expected -= 1
        sequence = found.metadata.sequence.stream
        if sequence < self._next:
            return None
        self._next = sequence + 1
        return Message(found.subject, found.data, visible(found.headers), sequence)

    async def _stop(self) -> None:
        """Remove subscription and consumer, if they still exist."""
        subscription, self._subscription = self._subscription, None
        consumer, self._consumer = self._consumer, ""
        with contextlib.suppress(Error, OSError):
            if subscription:
                await subscription.unsubscribe()
            if consumer:
                await self._js.delete_consumer(self._stream, consumer)

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        self._queue.put(None)
        self._on_close(self)
        if self._client.is_connected:
            with contextlib.suppress(TransportError):
                self._loop.call(self._stop(), _CALL_S)
