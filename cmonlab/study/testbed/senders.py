"""Fast or paced senders, and readers that log every read."""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from cmonlab.errors import WorkloadError

from .testbed import Testbed
from .traffic import ADDRESS, free_port, payload, udp_socket

_IOVEC = np.dtype([("base", "u8"), ("length", "u8")])
_MESSAGE = np.dtype(
    {
        "names": ["vector", "vectors", "sent"],
        "formats": ["u8", "u8", "u4"],
        "offsets": [16, 24, 56],
        "itemsize": 64,
    }
)  # struct mmsghdr (socket.h)
_AT_ONCE = 256  # messages per call; other threads can run in between
_TICK_S = 50e-6
_IDLE_S = 5.0  # on a busy machine a sender may pause for a second
_LARGEST_BYTES = 1 << 16
_libc = ctypes.CDLL(None, use_errno=True)


def processors() -> tuple[int, int]:
    """Return the CPU of the sender and that of the reader; they differ if there are two or more."""
    usable = sorted(os.sched_getaffinity(os.getpid()))
    return usable[0], usable[-1]


@contextmanager
def pinned(processor: int) -> Iterator[None]:
    """Keep the calling thread on one CPU, so that the packets it sends do not overtake each other."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Batch:
    """Messages laid out in memory, so that many are sent with one system call.

    Parameters
    ----------
    messages : sequence of bytes
        One message per packet.
    """

    def __init__(self, messages: Sequence[bytes]):
        self._bytes = np.frombuffer(b"".join(messages), np.uint8)
        length = np.array([len(message) for message in messages], np.uint64)
        self._vector = np.zeros(len(messages), _IOVEC)
        self._vector["base"] = self._bytes.ctypes.data + np.cumsum(length) - length
        self._vector["length"] = length
        self._message = np.zeros(len(messages), _MESSAGE)
        self._message["vector"] = self._vector.ctypes.data + np.arange(len(messages)) * _IOVEC.itemsize
        self._message["vectors"] = 1

    def __len__(self) -> int:
        return len(self._message)

    def send(self, sock: socket.socket, rate_pps: float | None = None) -> float:
        """Send all messages on one CPU.

        Parameters
        ----------
        sock : socket.socket
            A connected socket, or a bound packet socket.
        rate_pps : float, optional
            Messages per second; by default as fast as possible.

        Returns
        -------
        float
            Messages sent per second.

        Raises
        ------
        OSError
            The kernel refused a message.
        """
        sent, begin_s = 0, time.perf_counter()
        with pinned(processors()[0]):
            while sent < len(self):
                due = _AT_ONCE
                if rate_pps is not None:
                    due = int((time.perf_counter() - begin_s) * rate_pps) + 1 - sent
                    if due < 1:
                        time.sleep(_TICK_S)
                        continue
                sent += self._call(sock.fileno(), sent, min(due, _AT_ONCE, len(self) - sent))
        return sent / (time.perf_counter() - begin_s)

    def _call(self, fd: int, first: int, count: int) -> int:
        at = ctypes.c_void_p(self._message.ctypes.data + first * _MESSAGE.itemsize)
        done = _libc.sendmmsg(fd, at, count, 0)
        if done < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return done


@dataclass(frozen=True)
class Reads:
    """An application's log of its own reads, in order.

    Attributes
    ----------
    before_ns, after_ns : numpy.ndarray of int64, shape (reads,)
        Times of CLOCK_MONOTONIC before and after each read call.
    number : numpy.ndarray of int64, shape (reads,)
        Number of the message; for a stream, how many bytes have been read so far.
    """

    before_ns: np.ndarray
    after_ns: np.ndarray
    number: np.ndarray

    def __len__(self) -> int:
        return len(self.number)


def reads_of(rows: Sequence[tuple[int, int, int]]) -> Reads:
    """Return the log with the given rows of (before_ns, after_ns, number)."""
    return Reads(*np.array(rows, np.int64).reshape(-1, 3).T)


def read_messages(sock: socket.socket, count: int, at: int = 0, width: int = 4, idle_s: float = _IDLE_S) -> Reads:
    """Read messages on another CPU than the sender's, until all are read or no more come.

    Parameters
    ----------
    sock : socket.socket
        The socket to read.
    count : int
        How many messages to read.
    at, width : int
        Offset and width of the number in a message, in bytes.
    idle_s : float
        Stop when no message came for this time, in seconds.

    Returns
    -------
    Reads
    """
    rows: list[tuple[int, int, int]] = []
    buffer, now = memoryview(bytearray(_LARGEST_BYTES)), time.monotonic_ns
    sock.settimeout(idle_s)
    with pinned(processors()[1]):
        while len(rows) < count:
            before_ns = now()
            try:
                sock.recv_into(buffer)
            except TimeoutError:
                break
            rows.append((before_ns, now(), int.from_bytes(buffer[at : at + width], "big")))
    return reads_of(rows)


def machine_rate(bed: Testbed, count: int = 30_000) -> float:
    """Return how many 40-byte datagrams per second one sender brings to a reader over the bridge, untraced.

    The best of three measurements, because other load on the machine can only slow it down.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    count : int
        Datagrams per measurement.

    Raises
    ------
    WorkloadError
        Not all datagrams arrived.
    """
    port, batch = free_port(), Batch([payload(number, 40) for number in range(count)])
    rates = []
    with udp_socket(bed, "c0", port, buffer_bytes=256 << 20) as receiver, udp_socket(bed, "c1") as sender:
        sender.connect((ADDRESS[4]["c0"], port))
        for _ in range(3):
            reading = bed.start("c0", read_messages, receiver, count)
            rates.append(bed.call("c1", batch.send, sender))
            if len(reading.result()) != count:
                raise WorkloadError("datagrams were lost while the machine's packet rate was measured")
    return max(rates)
