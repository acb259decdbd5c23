"""The kernel's own time stamps of packets, as a reference that needs no tracepoint and no eBPF program.

All stamps are of CLOCK_REALTIME, which runs at the rate of the events' CLOCK_MONOTONIC; only differences are compared.
A step of the wall clock would be noticed, because it makes the differences wrong.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

import pandas as pd

from .testbed import Testbed

_SO_RCVBUFFORCE, _SO_TIMESTAMPNS, _SO_TIMESTAMPING = 33, 35, 37  # asm-generic/socket.h
_ETH_P_ALL = 3
_UDP, _HEADERS_BYTES = 17, 20 + 8  # IPv4 without options, UDP
# linux/net_tstamp.h: software stamps when a packet enters the device's queue and when the driver gets it, each with
# the number of the sendmsg call and without the packet's data.
_TX_STAMPS = 1 << 1 | 1 << 4 | 1 << 7 | 1 << 8 | 1 << 11
_IP_RECVERR, _SENT, _QUEUED = 11, 0, 1  # linux/in.h; linux/errqueue.h, SCM_TSTAMP_SND and SCM_TSTAMP_SCHED
_BUFFER_BYTES = 64 << 20
_ZERO_NS = time.time_ns()  # origin of the times, so that they are exact as floats for a hundred days


def now_ns() -> int:
    """Return the current time of the stamps' clock, in ns."""
    return time.time_ns() - _ZERO_NS


def nanoseconds(control: list[tuple[int, int, bytes]], kind: int) -> int:
    """Return the time stamp in a control message.

    Parameters
    ----------
    control : list of (int, int, bytes)
        Level, kind and data of each control message, from ``recvmsg``.
    kind : int
        ``SO_TIMESTAMP…`` option of level SOL_SOCKET.

    Returns
    -------
    int
        The first time of that message, in ns.
    """
    raw = next(data for level, which, data in control if (level, which) == (socket.SOL_SOCKET, kind))
    seconds, rest = struct.unpack_from("@ll", raw)
    return seconds * 1_000_000_000 + rest - _ZERO_NS


def drained(sock: socket.socket, flags: int = 0) -> Iterator[tuple[bytes, list]]:
    """Yield data and control messages of all packets that wait in a socket. The socket becomes non-blocking.

    Parameters
    ----------
    sock : socket.socket
        The socket to read.
    flags : int
        Flags of ``recvmsg``, for instance MSG_ERRQUEUE.
    """
    sock.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            data, control, *_ = sock.recvmsg(256, 512, flags)
            yield data, control


class Tap:
    """A packet socket on an interface that records when numbered datagrams to a port pass.

    An incoming packet is stamped immediately before the point ``netif_rx``, an outgoing one before
    ``net_dev_start_xmit``. For outgoing packets the socket's own copy is made between stamp and point: about 0.5 µs.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    name, interface : str
        Namespace and interface.
    port : int
        Destination port of the datagrams.
    """

    def __init__(self, bed: Testbed, name: str, interface: str, port: int):
        self._port = port
        self._socket = bed.call(name, self._open, interface)

    @staticmethod
    def _open(interface: str) -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        sock.bind((interface, _ETH_P_ALL))
        return sock

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_exc) -> None:
        self._socket.close()

    def stamps(self) -> pd.Series:
        """Return the time (ns, int64) of each datagram by its number. Call it after all have passed."""
        found: dict[int, int] = {}
        for packet, control in drained(self._socket):
            port = packet[22:24] if len(packet) >= _HEADERS_BYTES + 4 and packet[9] == _UDP else b""
            if port == self._port.to_bytes(2, "big"):
                number = int.from_bytes(packet[_HEADERS_BYTES : _HEADERS_BYTES + 4], "big")
                found[number] = nanoseconds(control, _SO_TIMESTAMPNS)
        return pd.Series(found, dtype="int64")


def stamp_sent(sock: socket.socket) -> None:
    """Make the kernel stamp the datagrams of a UDP socket at the first device's queue and at its driver."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)  # stamps wait in the socket
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _TX_STAMPS)


def sent_stamps(sock: socket.socket) -> tuple[pd.Series, pd.Series]:
    """Return when each datagram entered the device's queue and when the driver got it.

    Returns
    -------
    (Series, Series) of int64
        Times in ns, by the number of the send call.
    """
    found: dict[int, dict[int, int]] = {_QUEUED: {}, _SENT: {}}
    for _, control in drained(sock, socket.MSG_ERRQUEUE):
        error = next(data for level, which, data in control if (level, which) == (socket.SOL_IP, _IP_RECVERR))
        kind, number = struct.unpack_from("@8xII", error)
        found[kind][number] = nanoseconds(control, _SO_TIMESTAMPING)
    return pd.Series(found[_QUEUED], dtype="int64"), pd.Series(found[_SENT], dtype="int64")


def stamp_received(sock: socket.socket) -> None:
    """Make the kernel stamp each received datagram with its arrival at the device."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def received(sock: socket.socket, size: int) -> tuple[bytes, int]:
    """Read a datagram from a socket that was given to `stamp_received`.

    Parameters
    ----------
    sock : socket.socket
        The socket to read.
    size : int
        Largest size in bytes.

    Returns
    -------
    (bytes, int)
        The data, and its arrival at the receiver's device, in ns.
    """
    data, control, *_ = sock.recvmsg(size, 128)
    return data, nanoseconds(control, _SO_TIMESTAMPNS)
