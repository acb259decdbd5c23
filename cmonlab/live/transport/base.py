"""Interface of transports, and what all of them have in common.

There are two kinds of messages. A live message goes to those who listen at this moment, and is not stored. A message of
a stream is acknowledged and stored, up to a limit of bytes and age, and can be read again from any position.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from cmonlab.errors import TransportError

from .mailbox import Subscription
from .subject import MAX_BYTES, check_message, check_stream, check_subject


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes
    ----------
    subject : str
        Subject that it was published under.
    payload : bytes
        Content.
    headers : mapping of str to str
        Headers of the sender.
    sequence : int
        Number in its stream, from 1; 0 for a live message.
    """

    subject: str
    payload: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    sequence: int = 0


class Replay(Iterator[Message], ABC):
    """Messages of a stream in order: first the stored ones, then new ones as they come.

    A stream numbers all its messages, so a gap in `Message.sequence` shows which ones it no longer had. If the
    replay's subject covers only a part of the stream, the numbers of other subjects' messages are missing too. Read it
    from one thread; `close` may be called from any thread.
    """

    @abstractmethod
    def get(self, timeout_s: float | None = None) -> Message | None:
        """Return the next message; None if none came within `timeout_s` (by default, wait forever) or after `close`.

        Raises
        ------
        TransportError
            The transport is closed, or the stream no longer exists.
        """

    @abstractmethod
    def close(self) -> None:
        """End the replay; a `get` that waits returns None."""

    def __next__(self) -> Message:
        message = self.get()
        if message is None:
            raise StopIteration
        return message

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Transport(ABC):
    """Carries messages between threads or processes. Every method may be called from any thread.

    A subject is words joined by dots. Where wildcards are allowed, ``*`` stands for one word, and ``>`` at the end for
    one or more words. Headers are one line of ASCII each. A message has at most 1 MiB, headers included; batches of 32
    to 256 KiB have the highest throughput.
    """

    #: Bytes of a stream's message that the transport itself needs.
    _reserved_bytes = 0

    @property
    def _max_bytes(self) -> int:
        return MAX_BYTES

    def publish(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a live message.

        Parameters
        ----------
        subject : str
            Subject without wildcards.
        payload : bytes
            Content.
        headers : mapping of str to str, optional
            Headers.

        Raises
        ------
        TransportError
            There is no connection at the moment, or the message is not valid.
        """
        check_subject(subject)
        check_message(payload, headers, self._max_bytes)
        self._publish(subject, payload, headers)

    def subscribe(self, subject: str, handler: Callable[[Message], None]) -> Subscription:
        """Call a handler with every live message under a subject.

        The handler runs on its own thread, for one message after the other, and never delays a publisher: if more than
        4,096 messages or 32 MiB wait for it, the oldest are dropped and counted in `Subscription.missed`. Messages
        that are sent while a connection is down are neither received nor counted.

        Parameters
        ----------
        subject : str
            Subject, wildcards allowed.
        handler : callable
            Receives each message. Its exceptions are logged.

        Returns
        -------
        Subscription
            Close it to stop the calls.

        Raises
        ------
        TransportError
            There is no connection at the moment, or the subject is not valid.
        """
        check_subject(subject, wildcards=True)
        return self._subscribe(subject, handler)

    def request(self, subject: str, payload: bytes, timeout_s: float = 5.0) -> bytes:
        """Send a request, and return the reply.

        Parameters
        ----------
        subject : str
            Subject without wildcards, which another one serves.
        payload : bytes
            Content of the request.
        timeout_s : float
            Longest time to wait, in seconds.

        Returns
        -------
        bytes
            Content of the reply.

        Raises
        ------
        TransportError
            Nobody serves the subject, or no reply came in time.
        CmonlabError
            The handler raised this error on the other side.
        """
        check_subject(subject)
        check_message(payload, None, self._max_bytes)
        return self._request(subject, payload, timeout_s)

    def serve(self, subject: str, handler: Callable[[bytes], bytes]) -> Subscription:
        """Answer requests under a subject.

        The handler runs on its own thread, for one request after the other.

        Parameters
        ----------
        subject : str
            Subject, wildcards allowed.
        handler : callable
            Takes the content of a request, and returns that of the reply. A `CmonlabError` that it raises is raised at
            the requester; any other exception is logged here, and raised there as a `TransportError`.

        Returns
        -------
        Subscription
            Close it to stop serving.

        Raises
        ------
        TransportError
            There is no connection at the moment, or the subject is not valid.
        """
        check_subject(subject, wildcards=True)
        return self._serve(subject, handler)

    def create_stream(self, stream: str, subjects: list[str], max_bytes: int, max_age_s: float) -> None:
        """Create or change a stream, which stores every message under its subjects.

        Parameters
        ----------
        stream : str
            Name: letters, digits, ``-`` and ``_``.
        subjects : list of str
            Subjects, wildcards allowed. Streams must not overlap.
        max_bytes : int
            Size above which the oldest messages are dropped. A server counts some bytes of its own per message.
        max_age_s : float
            Age in seconds above which messages are dropped.

        Raises
        ------
        TransportError
            The server has no streams or not enough room, or another stream has one of the subjects.
        """
        check_stream(stream, subjects, max_bytes, max_age_s)
        self._create_stream(stream, subjects, max_bytes, max_age_s)

    def publish_to_stream(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a message to the stream of its subject, without waiting for the acknowledgement.

        The message is sent again after a broken connection until the server has acknowledged it, and is stored once.
        The stream has the order of the calls. While 256 messages or 8 MiB wait for acknowledgements, the call waits.

        Parameters
        ----------
        subject : str
            Subject without wildcards.
        payload : bytes
            Content.
        headers : mapping of str to str, optional
            Headers.

        Raises
        ------
        TransportError
            This message is not valid, an earlier one was refused, or the server acknowledged nothing for 10 s.
        """
        check_subject(subject)
        check_message(payload, headers, self._max_bytes - self._reserved_bytes)
        self._publish_to_stream(subject, payload, headers)

    @abstractmethod
    def flush(self, timeout_s: float = 5.0) -> int:
        """Wait until all messages to streams have been acknowledged, at most `timeout_s`.

        Returns
        -------
        int
            Largest number that a message of this transport got in its stream, 0 if there was none. Each stream
            numbers its own messages.

        Raises
        ------
        TransportError
            A message was refused, or not acknowledged in time.
        """

    def replay(self, subject: str, from_sequence: int = 1) -> Replay:
        """Read the stored messages under a subject, and then the new ones.

        Parameters
        ----------
        subject : str
            Subject of a stream, wildcards allowed.
        from_sequence : int
            Number of the first message in the stream.

        Returns
        -------
        Replay
            Iterator over the messages.

        Raises
        ------
        TransportError
            No stream has this subject.
        """
        check_subject(subject, wildcards=True)
        return self._replay(subject, from_sequence)

    @abstractmethod
    def close(self) -> None:
        """Close all that was opened here; wait up to 5 s for acknowledgements first. Idempotent.

        Raises
        ------
        TransportError
            A message to a stream was not acknowledged; everything is closed nevertheless.
        """

    @abstractmethod
    def _publish(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> None: ...

    @abstractmethod
    def _subscribe(self, subject: str, handler: Callable[[Message], None]) -> Subscription: ...

    @abstractmethod
    def _request(self, subject: str, payload: bytes, timeout_s: float) -> bytes: ...

    @abstractmethod
    def _serve(self, subject: str, handler: Callable[[bytes], bytes]) -> Subscription: ...

    @abstractmethod
    def _create_stream(self, stream: str, subjects: list[str], max_bytes: int, max_age_s: float) -> None: ...

    @abstractmethod
    def _publish_to_stream(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> None: ...

    @abstractmethod
    def _replay(self, subject: str, from_sequence: int) -> Replay: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exception: object, *_: object) -> None:
        # An error of the block is more important than errors of closing that follow from it.
        with contextlib.suppress(TransportError) if exception else contextlib.nullcontext():
            self.close()
