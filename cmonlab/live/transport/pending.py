"""Messages to streams that the server has not acknowledged yet."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from cmonlab.errors import TransportError

from .errors import no_stream, transport_closed
from .loop import LoopThread

_MAX_MESSAGES = 256
_MAX_BYTES = 8 << 20
_ACKNOWLEDGED_S = 10.0


@dataclass(frozen=True, slots=True)
class _Entry:
    subject: str
    payload: bytes
    headers: dict[str, str]


class PendingMessages:
    """Sends messages in order, and again after a broken connection, until they are acknowledged.

    Each message has an id, by which the server stores a message once that it receives twice.

    Parameters
    ----------
    client : Client
        Connection to the server.
    loop : LoopThread
        Loop that the client runs on.
    """

    def __init__(self, client: Client, loop: LoopThread):
        self._client, self._loop = client, loop
        self._inbox = client.new_inbox()
        self._id = secrets.token_hex(8)
        self._changed = threading.Condition()
        self._entries: dict[int, _Entry] = {}
        self._bytes = self._last = self._sequence = 0
        self._error: TransportError | None = None
        self._open = True
        # These are used on the loop only.
        self._online = True
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Subscribe to acknowledgements."""
        await self._client.subscribe(f"{self._inbox}.*", cb=self._acknowledged)

    def add(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> None:
        """Send a message; see `Transport.publish_to_stream`.

        Parameters
        ----------
        subject : str
            Subject of a stream.
        payload : bytes
            Content.
        headers : mapping of str to str or None
            Headers.

        Raises
        ------
        TransportError
            An earlier message was refused, or the server acknowledged nothing for 10 s.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room(len(payload)), _ACKNOWLEDGED_S):
                raise self._unacknowledged(_ACKNOWLEDGED_S)
            self._raise()
            self._last += 1
            headers = {**(headers or {}), "Nats-Msg-Id": f"{self._id}.{self._last}"}
            self._entries[self._last] = _Entry(subject, payload, headers)
            self._bytes += len(payload)
            # Under the lock, so that the loop gets the messages in the order of their numbers.
            self._loop.soon(self._start, self._last)

    def flush(self, timeout_s: float) -> int:
        """Wait for all acknowledgements; see `Transport.flush`."""
        with self._changed:
            done = self._changed.wait_for(lambda: not self._entries or self._error or not self._open, timeout_s)
            self._raise()
            if not done:
                raise self._unacknowledged(timeout_s)
            return self._sequence

    def close(self) -> None:
        """End calls that wait."""
        with self._changed:
            self._open = False
            self._changed.notify_all()

    def _has_room(self, size_bytes: int) -> bool:
        room = len(self._entries) < _MAX_MESSAGES and self._bytes + size_bytes <= _MAX_BYTES
        return room or not self._entries or self._error is not None or not self._open

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error:
            raise error
        if not self._open:
            raise transport_closed()

    def _unacknowledged(self, seconds: float) -> TransportError:
        return TransportError(
            f"{len(self._entries)} messages are not acknowledged after {seconds:g} s",
            why="the server is busy" if self._client.is_connected else "there is no connection to the server",
            fix="they are sent again once it answers",
        )

    def _start(self, number: int) -> None:
        task = asyncio.get_running_loop().create_task(self._send([number]))
        # The loop itself holds no reference to it.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, numbers: list[int]) -> None:
        async with self._sending:
            if self._online:
                await self._publish(numbers)

    async def _publish(self, numbers: list[int]) -> None:
        for number in numbers:
            entry = self._entries.get(number)
            if entry is None:
                continue
            reply = f"{self._inbox}.{number}"
            try:
                await self._client.publish(entry.subject, entry.payload, reply=reply, headers=entry.headers)
            except Error as error:
                self._remove(number, _refused(entry, str(error)))

    def offline(self) -> None:
        """Hold messages back while the connection is broken."""
        self._online = False

    async def online(self) -> None:
        """Send unacknowledged messages, before any new one; the connection works again."""
        async with self._sending:
            self._online = True
            await self._publish(list(self._entries))

    async def _acknowledged(self, message: Msg) -> None:
        number = int(message.subject.rpartition(".")[2])
        entry = self._entries.get(number)
        if entry is None:
            return
        if (message.headers or {}).get("Status") == "503":
            self._remove(number, no_stream(entry.subject))
            return
        reply = json.loads(message.data)
        refusal = reply.get("error")
        self._sequence = max(self._sequence, int(reply.get("seq", 0)))
        why = f"the server says: {refusal.get('description', refusal)}" if refusal else ""
        self._remove(number, _refused(entry, why) if refusal else None)

    def _remove(self, number: int, error: TransportError | None) -> None:
        with self._changed:
            entry = self._entries.pop(number, None)
            self._bytes -= len(entry.payload) if entry else 0
            self._error = self._error or error
            self._changed.notify_all()


def _refused(entry: _Entry, why: str) -> TransportError:
    return TransportError(f"the stream does not store a message under {entry.subject!r}", why=why)
