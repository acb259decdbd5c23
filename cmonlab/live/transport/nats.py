"""The transport over NATS: between processes, and between hosts.

The client runs on a thread of its own and connects again by itself.
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

from .answer import answer, opened
from .base import Message, Replay, Transport
from .connect_errors import explained
from .errors import closed, no_answer, nobody_answers, nobody_keeps
from .loop import LoopThread
from .mailbox import Subscription
from .outbox import Outbox
from .replay import NatsReplay
from .subject import check_message, check_stream, check_subject, message_bytes, visible

T = TypeVar("T")
_CALL_S = 10.0
_CLOSE_S = 5.0
# A lost agent is back on the air soon after its server is.
_AGAIN_S = 0.25
_PING_S = 20
_HUNG_UP = (ConnectionResetError, BrokenPipeError, StaleConnectionError)
_STREAM_EXISTS = 10058


class _Client(Client):
    def _connect_command(self) -> bytes:
        # The library goes on in the clear, with the token, where a server (or somebody
        # in between) says that it has no TLS.
        if self._current_server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            raise SecureConnRequiredError
        return super()._connect_command()

    def forget_unsent(self) -> None:
        """Drop what the library would send first on the next connection, before what was lost with the last."""
        self._pending.clear()
        self._pending_data_size = 0


class NatsTransport(Transport):
    """Messages through a NATS server; use `cmonlab.live.transport.connect`."""

    def __init__(self, url: str, token: str | None, timeout_s: float):
        self.url = shown(url)
        self._client = _Client()
        self._loop = LoopThread("cmonlab nats")
        self._js = self._client.jetstream()
        self._last_error: Exception | None = None
        self._subscriptions: set[Subscription] = set()
        self._replays: set[NatsReplay] = set()
        self._open = True
        try:
            self._outbox = Outbox(self._client, self._loop)
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
            # A server that refuses may hang up before its reason has been read: ask again.
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
                reconnect_time_wait=_AGAIN_S,
                connect_timeout=max(timeout_s, 1),
                ping_interval=_PING_S,
            )
            while not self._client.is_connected:
                # Hung up on: the library tries again, but says that it is done.
                await asyncio.sleep(_AGAIN_S / 10)
            await self._outbox.open()

        # The library would try for ever; the first failure of the first attempt is told at once.
        attempt = asyncio.ensure_future(open_client())
        await asyncio.wait({attempt, failure}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if attempt.done() and not attempt.exception():
            return
        attempt.cancel()
        error = failure.result() if failure.done() else attempt.done() and attempt.exception()
        error = error or self._last_error or TimeoutError()
        with contextlib.suppress(Error, OSError):
            await self._client.close()
        raise explained(error, self.url, timeout_s) from error

    async def _disconnected(self) -> None:
        self._outbox.offline()
        self._client.forget_unsent()

    async def _reconnected(self) -> None:
        await self._outbox.online()
        for replay in list(self._replays):
            replay.start_again()

    async def _closed(self) -> None:
        self._outbox.close()
        for replay in list(self._replays):
            replay.start_again()

    def _check_connected(self) -> None:
        if not self._open:
            raise closed()
        if not self._client.is_connected:
            raise TransportError(
                f"there is no connection to {self.url}",
                why=str(self._last_error or "it broke"),
                fix="it is made again once the server answers",
            )

    def _call(self, what: str, coroutine: Coroutine[Any, Any, T], timeout_s: float = _CALL_S) -> T:
        try:
            return self._loop.call(coroutine, timeout_s)
        except (Error, OSError) as error:
            raise TransportError(what, why=str(error) or type(error).__name__) from error

    def publish(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        check_subject(subject)
        check_message(payload, headers, self._client.max_payload)
        self._check_connected()
        # Waited for, so that a fast publisher is held up and not the memory filled.
        self._call(f"{subject!r} cannot be published", self._client.publish(subject, payload, headers=headers or None))

    def subscribe(self, subject: str, handler: Callable[[Message], None]) -> Subscription:
        return self._listen(subject, lambda found: handler(Message(found.subject, found.data, visible(found.headers))))

    def serve(self, subject: str, handler: Callable[[bytes], bytes]) -> Subscription:
        def work(asked: Msg) -> None:
            reply, headers = answer(handler, asked.data)
            if asked.reply and self._client.is_connected:
                self._call("cannot answer", self._client.publish(asked.reply, reply, headers=headers or None))

        return self._listen(subject, work)

    def _listen(self, subject: str, work: Callable[[Msg], None]) -> Subscription:
        check_subject(subject, wildcards=True)
        self._check_connected()
        at_server: list[NatsSubscription] = []

        def forget(subscription: Subscription) -> None:
            self._subscriptions.discard(subscription)
            with contextlib.suppress(TransportError):
                self._call("", _unsubscribe(at_server))

        mailbox = Subscription(subject, work, forget)

        async def put(message: Msg) -> None:
            mailbox.put(message, message_bytes(message.data, message.headers))

        async def subscribe() -> None:
            # The mailbox is the bounded queue; the library's own is emptied at once.
            limits = {"pending_msgs_limit": 0, "pending_bytes_limit": 0}
            at_server.append(await self._client.subscribe(subject, cb=put, **limits))
            # After a round trip the server knows. The library breaks where this is cancelled.
            await asyncio.shield(self._client.flush())

        try:
            self._call(f"cannot listen to {subject!r}", subscribe())
        except BaseException:
            mailbox.close()
            raise
        self._subscriptions.add(mailbox)
        return mailbox

    def request(self, subject: str, payload: bytes, timeout_s: float = 5.0) -> bytes:
        check_subject(subject)
        check_message(payload, None, self._client.max_payload)
        self._check_connected()
        try:
            asked = self._client.request(subject, payload, timeout=timeout_s)
            reply = self._loop.call(asked, timeout_s + _CALL_S)
        except NoRespondersError:
            raise nobody_answers(subject) from None
        except TimeoutError:
            raise no_answer(subject, timeout_s) from None
        except (Error, OSError) as error:
            raise TransportError(f"{subject!r} cannot be asked", why=str(error)) from error
        return opened(reply.data, reply.headers)

    def keep(self, stream: str, subjects: list[str], max_bytes: int, max_age_s: float) -> None:
        check_stream(stream, subjects, max_bytes, max_age_s)
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

        with self._kept(f"stream {stream!r} cannot be made"):
            self._loop.call(make(), _CALL_S)

    @contextlib.contextmanager
    def _kept(self, what: str) -> Iterator[None]:
        try:
            yield
        except (ServiceUnavailableError, TimeoutError) as error:
            why = f"{self.url} keeps no streams"
            raise TransportError(what, why=why, fix="switch JetStream on at that server") from error
        except Error as error:
            raise TransportError(what, why=getattr(error, "description", "") or str(error)) from error

    def append(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        check_subject(subject)
        # Our message id takes a header, too.
        check_message(payload, headers, self._client.max_payload - 64)
        self._outbox.append(subject, payload, headers)

    def flush(self, timeout_s: float = 5.0) -> int:
        return self._outbox.flush(timeout_s)

    def replay(self, subject: str, from_sequence: int = 1) -> Replay:
        check_subject(subject, wildcards=True)
        self._check_connected()
        try:
            with self._kept(f"{subject!r} cannot be replayed"):
                stream = self._loop.call(self._js.find_stream_name_by_subject(subject), _CALL_S)
        except TransportError as error:
            raise (nobody_keeps(subject) if isinstance(error.__cause__, NotFoundError) else error) from None
        replay = NatsReplay(self._client, self._js, self._loop, stream, subject, from_sequence, self._replays.discard)
        self._replays.add(replay)
        return replay

    def close(self) -> None:
        if not self._open:
            return
        self._open = False
        try:
            if not self._client.is_closed:
                self._outbox.flush(_CLOSE_S)
        finally:
            self._outbox.close()
            for each in [*self._subscriptions, *self._replays]:
                each.close()
            with contextlib.suppress(TransportError):
                self._call("", self._client.close(), _CLOSE_S)
            self._loop.stop()


async def _unsubscribe(at_server: list[NatsSubscription]) -> None:
    for subscription in at_server:
        await subscription.unsubscribe()


def shown(url: str) -> str:
    """Return a URL without the user, password or token in it."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
