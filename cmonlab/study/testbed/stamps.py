"""The kernel's own time stamps of packets: a second opinion that no tracepoint and no eBPF program has a part in.

All are of CLOCK_REALTIME, which runs as fast as the events' CLOCK_MONOTONIC: only differences are compared. A step of
the wall clock would not go unseen, as it makes the differences wrong.
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
# linux/net_tstamp.h: stamps by software, when a packet is given to the device's queue and when to its driver, each
# with the number of the sendmsg call and without the packet.
_TX_STAMPS = 1 << 1 | 1 << 4 | 1 << 7 | 1 << 8 | 1 << 11
_IP_RECVERR, _SENT, _QUEUED = 11, 0, 1  # linux/in.h; linux/errqueue.h, SCM_TSTAMP_SND and SCM_TSTAMP_SCHED
_BUFFER_BYTES = 64 << 20
_ZERO_NS = time.time_ns()  # times are counted from here: as floats they are exact for a hundred days


def now_ns() -> int:
    """Return the time of the same clock, in ns."""
    return time.time_ns() - _ZERO_NS


def nanoseconds(control: list[tuple[int, int, bytes]], kind: int) -> int:
    """Return the first time of a control message of this kind, in ns."""
    raw = next(data for level, which, data in control if (level, which) == (socket.SOL_SOCKET, kind))
    seconds, rest = struct.unpack_from("@ll", raw)
    return seconds * 1_000_000_000 + rest - _ZERO_NS


def drained(sock: socket.socket, flags: int = 0) -> Iterator[tuple[bytes, list]]:
    """Yield data and control messages of what waits in a socket, which does not block from then on."""
    sock.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            data, control, *_ = sock.recvmsg(256, 512, flags)
            yield data, control


class Tap:
    """A packet socket on an interface: when each numbered datagram to a port came or left there.

    A packet that comes is stamped right before the point ``netif_rx``, one that leaves right before
    ``net_dev_start_xmit``; there the socket's own copying lies between stamp and point, some 0.5 µs.

    Parameters
    ----------
    bed : Testbed
    name, interface : str
        Namespace and interface.
    port : int
        The datagrams' destination.
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
        """Return the time (ns) of each datagram by its number; to be called when all have passed."""
        found: dict[int, int] = {}
        for packet, control in drained(self._socket):
            port = packet[22:24] if len(packet) >= _HEADERS_BYTES + 4 and packet[9] == _UDP else b""
            if port == self._port.to_bytes(2, "big"):
                number = int.from_bytes(packet[_HEADERS_BYTES : _HEADERS_BYTES + 4], "big")
                found[number] = nanoseconds(control, _SO_TIMESTAMPNS)
        return pd.Series(found, dtype="int64")


def stamp_sent(sock: socket.socket) -> None:
    """Let the kernel stamp what a UDP socket sends: at the first device's queue, and at its driver."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)  # stamps wait in the socket
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _TX_STAMPS)


def sent_stamps(sock: socket.socket) -> tuple[pd.Series, pd.Series]:
    """Return when each datagram came to the device's queue and when to its driver, in ns by number of the send."""
    found: dict[int, dict[int, int]] = {_QUEUED: {}, _SENT: {}}
    for _, control in drained(sock, socket.MSG_ERRQUEUE):
        told = next(data for level, which, data in control if (level, which) == (socket.SOL_IP, _IP_RECVERR))
        kind, number = struct.unpack_from("@8xII", told)
        found[kind][number] = nanoseconds(control, _SO_TIMESTAMPING)
    return tuple(pd.Series(found[kind], dtype="int64") for kind in (_QUEUED, _SENT))


def stamp_received(sock: socket.socket) -> None:
    """Let the kernel tell of each datagram when it came to the receiver's device."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)


def received(sock: socket.socket, size: int) -> tuple[bytes, int]:
    """Return a datagram and when it came to the receiver's device, in ns."""
    data, control, *_ = sock.recvmsg(size, 128)
    return data, nanoseconds(control, _SO_TIMESTAMPNS)
