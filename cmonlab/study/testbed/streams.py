"""A TCP transfer with the log of its reader, and a packet sniffer at the sender's device."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from cmonlab.errors import WorkloadError

from .senders import Reads, pinned, processors, reads_of
from .testbed import Testbed

_ETH_P_ALL = 3
_OUTGOING = 4  # PACKET_OUTGOING
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_SO_RCVBUFFORCE, _SO_MAX_PACING_RATE = 33, 47
_HEADERS_BYTES = 128
_TCP = 6
_QUIET_S = 0.1
_DEADLINE_S = 60


@dataclass(frozen=True)
class Transfer:
    """The result of `transfer`.

    Attributes
    ----------
    reads : Reads
        Log of the reader; ``number`` is how many bytes have been read so far.
    retransmitted : int
        Retransmitted segments by the sender's kernel (``tcpi_total_retrans`` of tcp_info).
    seconds : float
        Duration, connecting and closing included.
    """

    reads: Reads
    retransmitted: int
    seconds: float


def transfer(bed: Testbed, bind: str, port: int, target: str, size: int, pace_bps: float | None) -> Transfer:
    """Send bytes from c1 to c0 over one connection, and close it.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    bind : str
        Address that c0 listens on.
    port : int
        Port of the server.
    target : str
        Address that c1 connects to.
    size : int
        How many bytes to send.
    pace_bps : float, optional
        Pacing rate of the sender's kernel, in bits of payload per second; None: unlimited.

    Returns
    -------
    Transfer

    Raises
    ------
    WorkloadError
        Not all bytes arrived.
    """
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET

    def serve(server: socket.socket) -> Reads:
        rows: list[tuple[int, int, int]] = []
        got, now = 0, time.monotonic_ns
        with server.accept()[0] as connection, pinned(processors()[1]):
            buffer = bytearray(1 << 16)
            while True:
                before_ns = now()
                part = connection.recv_into(buffer)
                after_ns, got = now(), got + part
                if not part:
                    return reads_of(rows)
                rows.append((before_ns, after_ns, got))

    def send() -> tuple[int, float]:
        begin_s = time.perf_counter()
        with socket.socket(family, socket.SOCK_STREAM) as connection, pinned(processors()[0]):
            connection.settimeout(_DEADLINE_S)
            if pace_bps is not None:
                connection.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, struct.pack("Q", int(pace_bps / 8)))
            connection.connect((target, port))
            connection.sendall(bytes(size))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)  # the other end's close: all has arrived
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            return struct.unpack_from("I", info, 100)[0], time.perf_counter() - begin_s  # tcpi_total_retrans

    with bed.call("c0", lambda: socket.create_server((bind, port), family=family)) as server:
        serving = bed.start("c0", serve, server)
        retransmitted, seconds = bed.start("c1", send).result(timeout=_DEADLINE_S + 1)
        reads = serving.result(timeout=_DEADLINE_S)
    if not len(reads) or reads.number[-1] != size:
        raise WorkloadError(f"not all of {size} bytes came over a connection")
    return Transfer(reads, retransmitted, seconds)


@dataclass
class Sniffer:
    """A packet socket that records the TCP packets of an interface of c1, independent of tracepoints.

    Attributes
    ----------
    bed : Testbed
        The testbed.
    interface : str
        Interface of c1.
    packets : Counter
        (outgoing, sequence number, length of the IP packet, identification) → how often it was seen.
    missed : int
        Packets that its socket had no room for.
    """

    bed: Testbed
    interface: str
    packets: Counter = field(default_factory=Counter)
    missed: int = 0

    def __enter__(self) -> Sniffer:
        def make() -> socket.socket:
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 30)
            sock.bind((self.interface, _ETH_P_ALL))
            sock.settimeout(_QUIET_S)
            return sock

        self._sock, self._ending = self.bed.call("c1", make), threading.Event()
        self._sniffing = self.bed.start("c1", self._sniff)
        return self

    def _sniff(self) -> None:
        while True:
            try:
                head, where = self._sock.recvfrom(_HEADERS_BYTES)
            except TimeoutError:
                if self._ending.is_set():
                    return
                continue
            found = tcp_header(head)
            if found:
                self.packets[(where[2] == _OUTGOING, *found)] += 1

    def __exit__(self, *_exc) -> None:
        self._ending.set()
        try:
            self._sniffing.result(timeout=_DEADLINE_S)
            self.missed = struct.unpack("II", self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]
        finally:
            self._sock.close()


def tcp_header(head: bytes) -> tuple[int, int, int] | None:
    """Return (sequence number, length of the IP packet, IPv4 identification or 0) of a TCP packet, None for others."""
    if head[0] >> 4 == 4 and head[9] == _TCP:
        length, identification = struct.unpack_from(">HH", head, 2)
        return struct.unpack_from(">I", head, (head[0] & 15) * 4 + 4)[0], length, identification
    if head[0] >> 4 == 6 and head[6] == _TCP:
        return struct.unpack_from(">I", head, 44)[0], struct.unpack_from(">H", head, 4)[0] + 40, 0
    return None
