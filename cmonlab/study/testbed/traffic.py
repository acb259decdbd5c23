"""Traffic with known counts between the namespaces of a testbed, and recordings of it."""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypedDict, Unpack

import numpy as np
import pandas as pd

from cmonlab.errors import WorkloadError
from cmonlab.recording.capture import Capture
from cmonlab.recording.record import rules_of
from cmonlab.tracing.kernel.addresses import mix

if TYPE_CHECKING:
    from cmonlab.rules import Rule
    from cmonlab.session.session import Session

    from .testbed import Testbed

COUNT = 1009
ADDRESS = {4: {"c0": "10.77.0.10", "c1": "10.77.0.11"}, 6: {"c0": "fd77::10", "c1": "fd77::11"}}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}

#: Sum of the trace gaps (ns) of each recording of this process.
trace_gap_ns: list[int] = []

# Other processes may have testbeds with the same addresses, and a rule sees the whole host.
_ports = itertools.count(2000 + os.getpid() % 300 * 100)
_SO_RCVBUFFORCE = 33


def free_port() -> int:
    """Return a port that no other test of this machine uses."""
    return next(_ports)


class Reading(TypedDict, total=False):
    """How the tracer reads events; see `cmonlab.tracing.tracer.Tracer`."""

    ring_bytes: int
    poll_s: float
    max_bytes: int


class Recording:
    """What `recording` yields.

    Attributes
    ----------
    capture : Capture
        The running capture.
    session : Session
        The recorded session; set after the block.
    """

    capture: Capture
    session: Session


@contextmanager
def recording(
    lab: Testbed,
    rule: str | Path | Rule | Sequence[Rule],
    containers: Callable[[], Sequence[Any]] = tuple,
    points: Sequence[str] | None = None,
    **reading: Unpack[Reading],
) -> Iterator[Recording]:
    """Trace while the block runs, and until its in-flight packets have arrived.

    Parameters
    ----------
    lab : Testbed
        Gives the links.
    rule : str, Path, Rule or sequence of Rule
        As in `cmonlab.record`.
    containers : callable
        Returns the known containers.
    points : sequence of str, optional
        Points or groups, with an expression only.
    **reading
        How events are read, see `Reading`.
    """
    done = Recording()
    with Capture(rules_of(rule, points), lab.links, containers, **reading) as capture:
        done.capture = capture
        yield done
        capture.drain()
        done.session = capture.session()
        trace_gap_ns.append(done.session.trace_gap_ns)


def udp_socket(lab: Testbed, name: str, port: int = 0, version: int = 4, buffer_bytes: int = 16 << 20) -> socket.socket:
    """Return a UDP socket of a namespace.

    Parameters
    ----------
    lab : Testbed
        The testbed.
    name : str
        Name of the namespace.
    port : int
        Port to bind to; 0: do not bind.
    version : int
        IP version, 4 or 6.
    buffer_bytes : int
        Size of the receive buffer.
    """

    def make() -> socket.socket:
        sock = socket.socket(FAMILY[version], socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
        sock.settimeout(20)
        if port:
            sock.bind((ADDRESS[version][name], port))
        return sock

    return lab.call(name, make)


def payload(number: int, size: int) -> bytes:
    """Return the payload of a numbered datagram.

    Parameters
    ----------
    number : int
        The payload begins with this number, twice, each in 4 bytes (big-endian).
    size : int
        Size in bytes, at least 8.
    """
    return (number.to_bytes(4, "big") * 2).ljust(size, b"\xa5")


def send_udp(sock: socket.socket, to: tuple[str, int], size: int, count: int = COUNT) -> None:
    """Send numbered datagrams.

    Parameters
    ----------
    sock : socket.socket
        A UDP socket.
    to : (str, int)
        Address and port.
    size : int
        Payload of each datagram in bytes.
    count : int
        How many to send.
    """
    for number in range(count):
        sock.sendto(payload(number, size), to)


def receive_udp(sock: socket.socket, count: int = COUNT) -> list[bytes]:
    """Read datagrams and return their payloads.

    Parameters
    ----------
    sock : socket.socket
        A UDP socket.
    count : int
        How many to read.
    """
    return [sock.recv(65535) for _ in range(count)]


def exchange_udp(
    lab: Testbed,
    port: int,
    size: int,
    version: int = 4,
    count: int = COUNT,
    receiver: socket.socket | None = None,
    sender: socket.socket | None = None,
) -> list[bytes]:
    """Send datagrams from c1 to c0 while c0 reads.

    Parameters
    ----------
    lab : Testbed
        The testbed.
    port : int
        Port of c0.
    size : int
        Payload of each datagram in bytes.
    version : int
        IP version, 4 or 6.
    count : int
        How many datagrams.
    receiver, sender : socket.socket, optional
        Sockets to use; by default new ones. They are closed.

    Returns
    -------
    list of bytes
        The payloads that c0 read.
    """
    receiver = receiver or udp_socket(lab, "c0", port, version)
    sender = sender or udp_socket(lab, "c1", 0, version)
    with receiver, sender:
        reading = lab.start("c0", receive_udp, receiver, count)
        lab.call("c1", send_udp, sender, (ADDRESS[version]["c0"], port), size, count)
        return reading.result(timeout=30)


def send_tcp(lab: Testbed, port: int, size: int, version: int = 4) -> None:
    """Send bytes from c1 to c0 over one connection, and close it on both sides.

    Parameters
    ----------
    lab : Testbed
        The testbed.
    port : int
        Port of c0.
    size : int
        How many bytes.
    version : int
        IP version, 4 or 6.

    Raises
    ------
    WorkloadError
        Not all bytes arrived.
    """

    def serve(server: socket.socket) -> int:
        connection, _ = server.accept()
        with connection:
            got = 0
            while part := connection.recv(1 << 16):
                got += len(part)
            return got

    def client() -> None:
        with socket.create_connection((ADDRESS[version]["c0"], port), timeout=30) as connection:
            connection.sendall(bytes(size))
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)  # the other end's close

    server = lab.call("c0", lambda: socket.create_server((ADDRESS[version]["c0"], port), family=FAMILY[version]))
    with server:
        serving = lab.start("c0", serve, server)
        lab.call("c1", client)
        got = serving.result(timeout=30)
        if got != size:
            raise WorkloadError(f"only {got} of {size} bytes arrived over a connection")


def hash_of(number: int, size: int) -> int:
    """Return the ``seq`` of the events of a numbered datagram (bpf/packet.h, ``mix``).

    Parameters
    ----------
    number, size : int
        As given to `payload`.
    """
    low, high = struct.unpack("<II", payload(number, size)[:8])
    return mix(low, high)


def new_bytes(segments: pd.DataFrame) -> tuple[int, bool]:
    """Return how many distinct bytes of a stream the segments carry, and whether all of these were delivered.

    On a busy machine TCP retransmits segments that were only late; the receiver drops the repetition.

    Parameters
    ----------
    segments : pandas.DataFrame
        Journeys of one direction of one connection: ``seq``, ``payload_bytes`` and ``outcome``, in order of time.
    """
    steps = np.diff(segments["seq"].to_numpy(np.uint32), prepend=segments["seq"].iloc[:1].to_numpy(np.uint32))
    begin = steps.astype(np.int32).cumsum(dtype=np.int64)  # sequence numbers may wrap several times
    begin = pd.Series(begin, segments.index)
    covered = {}
    for which, rows in (("sent", segments.index), ("delivered", segments.index[segments["outcome"] == "delivered"])):
        total, end = 0, -(2**62)
        for start, size in sorted(zip(begin[rows], segments["payload_bytes"][rows].astype("int64"), strict=True)):
            total += max(0, start + size - max(start, end))
            end = max(end, start + size)
        covered[which] = total
    return covered["sent"], covered["sent"] == covered["delivered"]


def echo_tcp(lab: Testbed, port: int, size: int, count: int, version: int = 4) -> None:
    """Send messages from c1 to c0 over a connection; each is sent when the one before has come back.

    Parameters
    ----------
    lab : Testbed
        The testbed.
    port : int
        Port of c0.
    size : int
        Size of a message in bytes, at least 8.
    count : int
        How many messages.
    version : int
        IP version, 4 or 6.

    Raises
    ------
    WorkloadError
        A message did not come back.
    """

    def whole(connection: socket.socket) -> BinaryIO:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection.makefile("rb")

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, whole(connection) as reader:
            while message := reader.read(size):
                connection.sendall(message)

    def client() -> None:
        connection = socket.create_connection((ADDRESS[version]["c0"], port), timeout=30)
        with connection, whole(connection) as reader:
            for number in range(count):
                connection.sendall(payload(number, size))
                if reader.read(size) != payload(number, size):
                    raise WorkloadError(f"message {number} did not come back")

    server = lab.call("c0", lambda: socket.create_server((ADDRESS[version]["c0"], port), family=FAMILY[version]))
    with server:
        serving = lab.start("c0", serve, server)
        lab.call("c1", client)
        serving.result(timeout=30)
