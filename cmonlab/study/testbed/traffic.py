"""Traffic with known counts between the namespaces of a testbed, and its recording."""

from __future__ import annotations

import itertools
import os
import socket
import struct
from contextlib import contextmanager

import numpy as np
import pandas as pd

from cmonlab.errors import WorkloadError
from cmonlab.recording.capture import Capture
from cmonlab.recording.record import rules_of
from cmonlab.tracing.kernel.addresses import mix

COUNT = 1009
ADDRESS = {4: {"c0": "10.77.0.10", "c1": "10.77.0.11"}, 6: {"c0": "fd77::10", "c1": "fd77::11"}}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}

#: How long tracepoints were silent during each recording so far.
trace_gap_ns: list[int] = []

# Other processes may have testbeds with the same addresses, and a rule sees the whole host.
_ports = itertools.count(2000 + os.getpid() % 300 * 100)
_SO_RCVBUFFORCE = 33


def free_port() -> int:
    """Return a port that nobody else here uses."""
    return next(_ports)


class Recording:
    """What `recording` yields: the running capture, and after the block, its session."""

    capture = session = None


@contextmanager
def recording(lab, rule, containers=tuple, points=None, **reading):
    """Trace while the block runs, and until its last packets have arrived; `rule` as `record` takes it.

    `reading` is handed to `Capture`.
    """
    done = Recording()
    with Capture(rules_of(rule, points), lab.links, containers, **reading) as capture:
        done.capture = capture
        yield done
        capture.drain()
        done.session = capture.session()
        trace_gap_ns.append(done.session.trace_gap_ns)


def udp_socket(lab, name: str, port: int = 0, version: int = 4, buffer_bytes: int = 16 << 20) -> socket.socket:
    """Return a UDP socket of a namespace, bound where a port is given."""

    def make():
        sock = socket.socket(FAMILY[version], socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer_bytes)
        sock.settimeout(20)
        if port:
            sock.bind((ADDRESS[version][name], port))
        return sock

    return lab.call(name, make)


def payload(number: int, size: int) -> bytes:
    """Return a payload that begins with its number, twice."""
    return (number.to_bytes(4, "big") * 2).ljust(size, b"\xa5")


def send_udp(sock: socket.socket, to, size: int, count: int = COUNT) -> None:
    """Send numbered datagrams of `size` bytes."""
    for number in range(count):
        sock.sendto(payload(number, size), to)


def receive_udp(sock: socket.socket, count: int = COUNT) -> list[bytes]:
    """Return so many datagrams' payloads."""
    return [sock.recv(65535) for _ in range(count)]


def exchange_udp(
    lab, port: int, size: int, version: int = 4, count: int = COUNT, receiver=None, sender=None
) -> list[bytes]:
    """Send datagrams from c1 to c0 while c0 reads; return what it read."""
    receiver = receiver or udp_socket(lab, "c0", port, version)
    sender = sender or udp_socket(lab, "c1", 0, version)
    with receiver, sender:
        reading = lab.start("c0", receive_udp, receiver, count)
        lab.call("c1", send_udp, sender, (ADDRESS[version]["c0"], port), size, count)
        return reading.result(timeout=30)


def send_tcp(lab, port: int, size: int, version: int = 4) -> None:
    """Send so many bytes from c1 to c0 over a connection, and close it on both sides."""

    def serve(server):
        connection, _ = server.accept()
        with connection:
            got = 0
            while part := connection.recv(1 << 16):
                got += len(part)
            return got

    def client():
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
            raise WorkloadError(f"{got} of {size} bytes came over a connection")


def hash_of(number: int, size: int) -> int:
    """Return what the events' ``seq`` is for `payload`: bpf/packet.h, ``mix``."""
    low, high = struct.unpack("<II", payload(number, size)[:8])
    return mix(low, high)


def new_bytes(segments) -> tuple[int, bool]:
    """Return how many bytes of its stream these segments of one connection carry, and whether each was delivered.

    On a busy machine TCP repeats segments that were only late; the repetition is dropped.
    """
    steps = np.diff(segments["seq"].to_numpy(np.uint32), prepend=segments["seq"].iloc[:1].to_numpy(np.uint32))
    begin = steps.astype(np.int32).cumsum(dtype=np.int64)  # however often the numbers begin anew
    begin = pd.Series(begin, segments.index)
    covered = {}
    for which, rows in (("sent", segments.index), ("delivered", segments.index[segments["outcome"] == "delivered"])):
        total, end = 0, -(2**62)
        for start, size in sorted(zip(begin[rows], segments["payload_bytes"][rows].astype("int64"), strict=True)):
            total += max(0, start + size - max(start, end))
            end = max(end, start + size)
        covered[which] = total
    return covered["sent"], covered["sent"] == covered["delivered"]


def echo_tcp(lab, port: int, size: int, count: int, version: int = 4) -> None:
    """Send messages of `size` bytes from c1 to c0 over a connection, each when the one before has come back."""

    def whole(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection.makefile("rb")

    def serve(server):
        connection, _ = server.accept()
        with connection, whole(connection) as reader:
            while message := reader.read(size):
                connection.sendall(message)

    def client():
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
