"""Kept messages read from a NATS stream."""

from __future__ import annotations

import contextlib
import json
import queue
import time
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error
from nats.js import JetStreamContext, api

from cmonlab.errors import TransportError

from .base import Message, Replay
from .loop import LoopThread
from .subject import visible

# Asked for at a time, so that a slow reader holds little in memory.
_BATCH = 16
_EXPIRES_S = 30
_FORGOTTEN_S = 300.0
_CALL_S = 10.0


class NatsReplay(Replay):
    """Pulls a batch at a time through a consumer of its own, which the server may forget at any time."""

    def __init__(
        self,
        client: Client,
        js: JetStreamContext,
        loop: LoopThread,
        stream: str,
        subject: str,
        from_sequence: int,
        closed: Callable[[NatsReplay], None],
    ):
        self._client, self._js, self._loop = client, js, loop
        self._stream, self._subject, self._next = stream, subject, max(from_sequence, 1)
        self._on_close = closed
        self._open, self._stale = True, True
        self._queue: queue.SimpleQueue[Msg | None] = queue.SimpleQueue()
        self._consumer = self._inbox = ""
        self._subscription = None
        self._wanted = 0

    def start_again(self) -> None:
        """Have the next `get` begin anew behind the last message: the connection has changed."""
        # In this order: whoever waits looks at the flag again, and whoever does not yet wait sees it.
        self._stale = True
        self._queue.put(None)

    def get(self, timeout_s: float | None = None) -> Message | None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while self._open:
            if self._client.is_closed:
                raise TransportError("the connection is closed", why=str(self._client.last_error or ""))
            if self._client.is_connected:
                self._ask()
            remaining = None if deadline is None else max(deadline - time.monotonic(), 0)
            try:
                found = self._queue.get(timeout=remaining)
            except queue.Empty:
                return None
            message = self._taken(found) if found else None
            if message:
                return message
        return None

    def _ask(self) -> None:
        """Have the server send, where it has nothing more to send."""
        try:
            if self._stale:
                self._stale = False
                self._queue = queue.SimpleQueue()
                self._loop.call(self._start(self._queue), _CALL_S)
                self._wanted = 0
            if not self._wanted:
                self._wanted = _BATCH
                self._loop.call(self._pull(), _CALL_S)
        except (Error, OSError, TransportError) as error:
            self._stale = True
            # A broken connection is no error: `start_again` comes when there is one again.
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
            inactive_threshold=_FORGOTTEN_S,
            mem_storage=True,
            num_replicas=1,
        )
        self._consumer = (await self._js.add_consumer(self._stream, config)).name

    async def _pull(self) -> None:
        request = json.dumps({"batch": _BATCH, "expires": int(_EXPIRES_S * 1e9)}).encode()
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}"
        await self._client.publish(subject, request, reply=self._inbox)

    def _taken(self, found: Msg) -> Message | None:
        """Return a message; a word of the server about the batch leaves None."""
        status = (found.headers or {}).get("Status", "")
        if status:
            # 404, 408: the batch ends here. 409, 503: the consumer is gone, after a long pause.
            self._wanted = 0
            self._stale = self._stale or status in ("409", "503")
            return None
        self._wanted -= 1
        sequence = found.metadata.sequence.stream
        if sequence < self._next:
            return None
        self._next = sequence + 1
        return Message(found.subject, found.data, visible(found.headers), sequence)

    async def _stop(self) -> None:
        """Drop what `_start` made, as far as it still is there."""
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
