"""Senders as fast as the machine, or paced; and readers that keep a log of every read."""

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
_AT_ONCE = 256  # messages a call: the sender gives the other threads their turn in between
_TICK_S = 50e-6
_IDLE_S = 5.0  # on a busy machine a sender may stand still for a second
_LARGEST_BYTES = 1 << 16
_libc = ctypes.CDLL(None, use_errno=True)


def processors() -> tuple[int, int]:
    """Return the processors of the sender and of the reader: two where there are two."""
    usable = sorted(os.sched_getaffinity(os.getpid()))
    return usable[0], usable[-1]


@contextmanager
def pinned(processor: int) -> Iterator[None]:
    """Keep the calling thread on one processor: packets that it sends do not overtake one another."""
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
        One for each packet.
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
        """Send all messages through a connected socket, on one processor; return how many a second.

        Parameters
        ----------
        sock : socket.socket
            Connected; or a packet socket that is bound.
        rate_pps : float, optional
            As fast as it goes where there is none.

        Raises
        ------
        OSError
            A message was refused.
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
    """What an application knows of its own reads, in their order.

    Attributes
    ----------
    before_ns, after_ns : numpy.ndarray of int64, shape (reads,)
        When it called, and when it had the data (CLOCK_MONOTONIC).
    number : numpy.ndarray of int64, shape (reads,)
        Which message it got; of a stream, the bytes read up to then.
    """

    before_ns: np.ndarray
    after_ns: np.ndarray
    number: np.ndarray

    def __len__(self) -> int:
        return len(self.number)


def reads_of(rows: Sequence[tuple[int, int, int]]) -> Reads:
    """Return the reads of rows of (before, after, number)."""
    return Reads(*np.array(rows, np.int64).reshape(-1, 3).T)


def read_messages(sock: socket.socket, count: int, at: int = 0, width: int = 4, idle_s: float = _IDLE_S) -> Reads:
    """Read messages, on a processor that is not the sender's, until all are there or none comes any more.

    Parameters
    ----------
    at, width : int
        Where in a message its number is, in bytes.
    idle_s : float
        None comes any more when none came for so long.
    """
    rows, buffer, now = [], memoryview(bytearray(_LARGEST_BYTES)), time.monotonic_ns
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
    """Return how many 40-byte datagrams a second one sender brings to a reader over the bridge, untraced.

    The best of three times: what else runs on the machine only slows it.

    Raises
    ------
    WorkloadError
        They did not all arrive.
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
