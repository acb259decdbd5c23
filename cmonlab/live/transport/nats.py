"""Transport over NATS, between processes and between hosts.

The client runs on its own thread, and reconnects by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as NatsSubscription
from nats.errors import Error, NoRespondersError, SecureConnRequiredError, StaleConnectionError
from nats.js import api
from nats.js.errors import BadRequestError, NotFoundError, ServiceUnavailableError

from cmonlab.errors import TransportError

from .answer import answer, payload_or_error
from .base import Message, Replay, Transport
from .connect_errors import connect_error
from .errors import no_reply_in_time, no_responder, no_stream, transport_closed
from .loop import LoopThread
from .mailbox import Subscription
from .pending import PendingMessages
from .replay import NatsReplay
from .subject import message_bytes, visible

T = TypeVar("T")
_CALL_S = 10.0
_CLOSE_S = 5.0
_RECONNECT_S = 0.25  # time between attempts to reconnect
_PING_S = 20
_HUNG_UP = (ConnectionResetError, BrokenPipeError, StaleConnectionError)
_STREAM_EXISTS = 10058  # error code of the server


class _Client(Client):
    def _connect_command(self) -> bytes:
        # If the server, or somebody in between, says that it has no TLS, the library would send the token unencrypted.
        server = self._current_server
        if server is not None and server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            raise SecureConnRequiredError
        return super()._connect_command()

    def drop_unsent(self) -> None:
        """Drop the library's own buffer: it would be sent before messages that were lost with the last connection."""
        self._pending.clear()
        self._pending_data_size = 0


class NatsTransport(Transport):
    """Messages through a NATS server; use `cmonlab.live.transport.connect`.

    Parameters
    ----------
    url : str
        ``nats://host:port`` or ``tls://host:port``.
    token : str or None
        Token that the server requires.
    timeout_s : float
        Longest time for the first connection, in seconds.

    Attributes
    ----------
    url : str
        URL of the server, without secrets.

    Raises
    ------
    TransportError
        The server cannot be reached, or refuses the connection.
    """

    _reserved_bytes = 64  # header with the message's id

    def __init__(self, url: str, token: str | None, timeout_s: float):
        self.url = without_secrets(url)
        self._client = _Client()
        self._loop = LoopThread("cmonlab nats")
        self._js = self._client.jetstream()
        self._last_error: Exception | None = None
        self._subscriptions: set[Subscription] = set()
        self._replays: set[NatsReplay] = set()
        self._open = True
        try:
            self._unacknowledged = PendingMessages(self._client, self._loop)
            self._loop.call(self._connect(url, token, timeout_s), timeout_s + _CLOSE_S)
        except BaseException:
            self._loop.stop()
            raise

    def __repr__(self) -> str:
        return f"<NatsTransport {self.url}, {'connected' if self._client.is_connected else 'not connected'}>"

    async def _connect(self, url: str, token: str | None, timeout_s: float) -> None:
        failure = asyncio.get_running_loop().create_future()

        async def on_error(error: Exception) -> None:
            self._last_error = error
            # A server that refuses may hang up before its reason was read, so the next attempt follows.
            if not isinstance(error, _HUNG_UP) and not failure.done():
                failure.set_result(error)

        async def open_client() -> None:
            await self._client.connect(
                [url],
                token=token,
                name="cmonlab",
                error_cb=on_error,
                disconnected_cb=self._disconnected,
                reconnected_cb=self._reconnected,
                closed_cb=self._closed,
                max_reconnect_attempts=-1,
                reconnect_time_wait=_RECONNECT_S,  # type: ignore[arg-type]  # annotated as int, floats work
                connect_timeout=max(timeout_s, 1),  # type: ignore[arg-type]  # annotated as int, floats work
                ping_interval=_PING_S,
            )
            while not self._client.is_connected:
                # After a hang-up, the library returns although it still tries to connect.
                await asyncio.sleep(_RECONNECT_S / 10)
            await self._unacknowledged.open()

        # The library would try forever; here the first error of the first attempt ends it.
        attempt = asyncio.ensure_future(open_client())
        await asyncio.wait({attempt, failure}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if attempt.done() and not attempt.exception():
            return
        attempt.cancel()
        error = failure.result() if failure.done() else attempt.done() and attempt.exception()
        error = error or self._last_error or TimeoutError()
        with contextlib.suppress(Error, OSError):
            await self._client.close()
        raise connect_error(error, self.url, timeout_s) from error

    async def _disconnected(self) -> None:
        self._unacknowledged.offline()
        self._client.drop_unsent()

    async def _reconnected(self) -> None:
        await self._unacknowledged.online()
        for replay in list(self._replays):
            replay.restart()

    async def _closed(self) -> None:
        self._unacknowledged.close()
        for replay in list(self._replays):
            replay.restart()

    def _check_connected(self) -> None:
        if not self._open:
            raise transport_closed()
        if not self._client.is_connected:
            raise TransportError(
                f"there is no connection to {self.url}",
                why=str(self._last_error or "it broke"),
                fix="cmonlab reconnects once the server answers",
            )

    def _call(self, what: str, coroutine: Coroutine[Any, Any, T], timeout_s: float = _CALL_S) -> T:
        try:
            return self._loop.call(coroutine, timeout_s)
        except (Error, OSError) as error:
            raise TransportError(what, why=str(error) or type(error).__name__) from error

    @property
    def _max_bytes(self) -> int:
        return self._client.max_payload

    def _publish(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> None:
        self._check_connected()
        # The call waits, so that a fast publisher slows down instead of filling the memory.
        sent = self._client.publish(subject, payload, headers=dict(headers) if headers else None)
        self._call(f"{subject!r} cannot be published", sent)

    def _subscribe(self, subject: str, handler: Callable[[Message], None]) -> Subscription:
        return self._listen(subject, lambda found: handler(Message(found.subject, found.data, visible(found.headers))))

    def _serve(self, subject: str, handler: Callable[[bytes], bytes]) -> Subscription:
        def handle(request: Msg) -> None:
            reply, headers = answer(handler, request.data)
            if request.reply and self._client.is_connected:
                self._call("cannot answer", self._client.publish(request.reply, reply, headers=headers or None))

        return self._listen(subject, handle)

    def _listen(self, subject: str, handle: Callable[[Msg], None]) -> Subscription:
        self._check_connected()
        subscriptions: list[NatsSubscription] = []

        def unsubscribe(subscription: Subscription) -> None:
            self._subscriptions.discard(subscription)
            with contextlib.suppress(TransportError):
                self._call("", _unsubscribe(subscriptions))

        mailbox = Subscription(subject, handle, unsubscribe)

        async def put(message: Msg) -> None:
            mailbox.put(message, message_bytes(message.data, message.headers))

        async def subscribe() -> None:
            # The mailbox is the bounded queue, so the library's own queue needs no limit.
            at_server = self._client.subscribe(subject, cb=put, pending_msgs_limit=0, pending_bytes_limit=0)
            subscriptions.append(await at_server)
            # After a round trip the server knows the subscription. The library breaks if this is cancelled.
            await asyncio.shield(self._client.flush())

        try:
            self._call(f"cannot listen to {subject!r}", subscribe())
        except BaseException:
            mailbox.close()
            raise
        self._subscriptions.add(mailbox)
        return mailbox

    def _request(self, subject: str, payload: bytes, timeout_s: float) -> bytes:
        self._check_connected()
        try:
            request = self._client.request(subject, payload, timeout=timeout_s)
            reply = self._loop.call(request, timeout_s + _CALL_S)
        except NoRespondersError:
            raise no_responder(subject) from None
        except TimeoutError:
            raise no_reply_in_time(subject, timeout_s) from None
        except (Error, OSError) as error:
            raise TransportError(f"the request for {subject!r} cannot be sent", why=str(error)) from error
        return payload_or_error(reply.data, reply.headers)

    def _create_stream(self, stream: str, subjects: list[str], max_bytes: int, max_age_s: float) -> None:
        self._check_connected()
        config = api.StreamConfig(
            name=stream,
            subjects=subjects,
            max_bytes=max_bytes,
            max_age=max_age_s,
            storage=api.StorageType.FILE,
            num_replicas=1,
        )

        async def make() -> None:
            try:
                await self._js.add_stream(config)
            except BadRequestError as error:
                if error.err_code != _STREAM_EXISTS:
                    raise
                await self._js.update_stream(config)

        with self._stream_errors(f"stream {stream!r} cannot be created"):
            self._loop.call(make(), _CALL_S)

    @contextlib.contextmanager
    def _stream_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (ServiceUnavailableError, TimeoutError) as error:
            why = f"the server {self.url} has no streams"
            raise TransportError(what, why=why, fix="enable JetStream on that server") from error
        except Error as error:
            raise TransportError(what, why=getattr(error, "description", "") or str(error)) from error

    def _publish_to_stream(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> None:
        self._unacknowledged.add(subject, payload, headers)

    def flush(self, timeout_s: float = 5.0) -> int:
        return self._unacknowledged.flush(timeout_s)

    def _replay(self, subject: str, from_sequence: int) -> Replay:
        self._check_connected()
        try:
            with self._stream_errors(f"{subject!r} cannot be replayed"):
                stream = self._loop.call(self._js.find_stream_name_by_subject(subject), _CALL_S)
        except TransportError as error:
            raise (no_stream(subject) if isinstance(error.__cause__, NotFoundError) else error) from None
        replay = NatsReplay(self._client, self._js, self._loop, stream, subject, from_sequence, self._replays.discard)
        self._replays.add(replay)
        return replay

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        try:
            if not self._client.is_closed:
                self._unacknowledged.flush(_CLOSE_S)
        finally:
            self._unacknowledged.close()
            opened: list[Subscription | NatsReplay] = [*self._subscriptions, *self._replays]
            for each in opened:
                each.close()
            with contextlib.suppress(TransportError):
                self._call("", self._client.close(), _CLOSE_S)
            self._loop.stop()


async def _unsubscribe(subscriptions: list[NatsSubscription]) -> None:
    for subscription in subscriptions:
        await subscription.unsubscribe()


def without_secrets(url: str) -> str:
    """Return a URL without its user, password and token."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
