"""What a transport does, whatever carries the messages.

Live data goes to whoever listens at the moment and is gone. Kept data is acknowledged,
stays in a stream up to a limit of bytes and age, and can be read again from any place.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

from cmonlab.errors import TransportError

from .mailbox import Subscription


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes
    ----------
    subject : str
    payload : bytes
    headers : mapping of str to str
    sequence : int
        Its number in its stream, from 1; 0 when it does not come from a stream.
    """

    subject: str
    payload: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    sequence: int = 0


class Replay(Iterator[Message], ABC):
    """Messages of a stream in order, first the kept ones, then those that come.

    A stream numbers all its messages, so a jump of `Message.sequence` shows those that it
    no longer had. Where the subject asked for is narrower than the stream's, numbers jump
    over the other subjects' messages too. Read it from one thread; `close` may come from any.
    """

    @abstractmethod
    def get(self, timeout_s: float | None = None) -> Message | None:
        """Return the next message, None when none came in time or after `close`.

        Raises
        ------
        TransportError
            The connection is closed for good, or the stream is gone.
        """

    @abstractmethod
    def close(self) -> None:
        """End the replay; a blocked `get` returns None."""

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
    """Carries messages between threads or processes; every method may be called from any thread.

    Subjects are words joined by dots. Where it says so, ``*`` stands for one word and a
    last ``>`` for one or more. Headers are one-line ASCII strings. A message, with its
    headers, has at most 1 MiB; batches of 32 to 256 KiB go through fastest.
    """

    @abstractmethod
    def publish(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send live data to whoever listens now.

        Raises
        ------
        TransportError
            There is no connection at the moment, or the message cannot be sent.
        """

    @abstractmethod
    def subscribe(self, subject: str, handler: Callable[[Message], None]) -> Subscription:
        """Call a handler with every live message under a subject, which may have wildcards.

        The handler runs on a thread of its own, one message after the other, and never
        holds up a publisher: past 4,096 messages or 32 MiB that wait for it the oldest
        are dropped and counted in `Subscription.missed`. What is sent while a connection
        is down is not seen and not counted. An exception of the handler is logged.

        Raises
        ------
        TransportError
            There is no connection at the moment, or the subject is none.
        """

    @abstractmethod
    def request(self, subject: str, payload: bytes, timeout_s: float = 5.0) -> bytes:
        """Send a question and return the answer.

        Raises
        ------
        TransportError
            Nobody answers there, or not in time.
        CmonlabError
            The one that the answering side raised, of the same class.
        """

    @abstractmethod
    def serve(self, subject: str, handler: Callable[[bytes], bytes]) -> Subscription:
        """Answer requests under a subject, which may have wildcards.

        The handler runs on a thread of its own, one request after the other. A
        `CmonlabError` that it raises is raised at the requester; any other exception
        is logged here and becomes a `TransportError` there.

        Raises
        ------
        TransportError
            There is no connection at the moment, or the subject is none.
        """

    @abstractmethod
    def keep(self, stream: str, subjects: list[str], max_bytes: int, max_age_s: float) -> None:
        """Make or change a stream, which keeps every message under its subjects.

        Parameters
        ----------
        stream : str
            Its name: letters, digits, ``-`` and ``_``.
        subjects : list of str
            May have wildcards. No two streams may overlap.
        max_bytes : int
            Past it, the oldest messages go. A server counts some bytes for itself.
        max_age_s : float
            Older messages go.

        Raises
        ------
        TransportError
            The server keeps no streams, has not that much room, or another stream keeps one of the subjects.
        """

    @abstractmethod
    def append(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a message to be kept, without waiting until it is.

        It is sent again after a broken connection, until the server has acknowledged it,
        and kept once. Order is that of the calls. While 256 messages or 8 MiB wait for
        their acknowledgement, the call waits.

        Raises
        ------
        TransportError
            This message cannot be sent, an earlier one was refused, or the server
            acknowledges nothing for 10 s.
        """

    @abstractmethod
    def flush(self, timeout_s: float = 5.0) -> int:
        """Wait until everything appended has been acknowledged.

        Returns
        -------
        int
            The greatest number that a message appended here has in its stream, 0 where
            none was; streams number their messages apart.

        Raises
        ------
        TransportError
            A message was refused, or not acknowledged in time.
        """

    @abstractmethod
    def replay(self, subject: str, from_sequence: int = 1) -> Replay:
        """Read kept messages under a subject, which may have wildcards, and follow what comes.

        Raises
        ------
        TransportError
            No stream keeps that subject.
        """

    @abstractmethod
    def close(self) -> None:
        """Close everything that was opened here, after up to 5 s for what was appended.

        Raises
        ------
        TransportError
            Something appended was not acknowledged; all is closed nevertheless.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exception: object, *_: object) -> None:
        # The block's own error says more than what follows from it.
        with contextlib.suppress(TransportError) if exception else contextlib.nullcontext():
            self.close()
