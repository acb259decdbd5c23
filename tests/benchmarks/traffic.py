"""Real traffic between two network namespaces: sockperf, memcached, iperf3."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import pingpong

PORT = 11311
SERVER, CLIENT = "10.77.0.10", "10.77.0.11"


def until(condition: Callable[[], object], what: str, deadline_s: float = 10.0, every_s: float = 0.005):
    """Poll a condition and return its first true value.

    Raises
    ------
    TimeoutError
        It does not come true in time.
    """
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline_s:g} s for {what}")
        time.sleep(every_s)
    return value


@contextmanager
def running(lab, container: str, *words: str) -> Iterator[subprocess.Popen]:
    """Run a program in a namespace for the duration of the block."""
    process = subprocess.Popen(
        lab.argv(container, *words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def is_bound(process: subprocess.Popen, protocol: str, port: int) -> bool:
    """Return whether a socket of the process' namespace is bound to a port."""
    if process.poll() is not None:
        raise RuntimeError(f"{process.args[-1]!r} … ended with status {process.returncode} before it listened")
    for family in ("", "6"):
        lines = Path(f"/proc/{process.pid}/net/{protocol}{family}").read_text().splitlines()[1:]
        if any(int(line.split()[1].rpartition(":")[2], 16) == port for line in lines):
            return True
    return False


def sent_packets(process: subprocess.Popen) -> int:
    """Return how many packets have left the namespace of a process through eth0."""
    lines = Path(f"/proc/{process.pid}/net/dev").read_text().splitlines()
    return next((int(line.split()[10]) for line in lines if line.lstrip().startswith("eth0:")), 0)


@contextmanager
def server(lab, protocol: str, port: int, *words: str) -> Iterator[None]:
    """Run a server in ``c0`` and wait until it is bound to its port."""
    with running(lab, "c0", *words) as process:
        until(lambda: is_bound(process, protocol, port), f"{words[0]} to listen on {protocol} port {port}")
        yield


@contextmanager
def ping_pong(lab, protocol: str) -> Iterator[None]:
    """Exchange messages of 64 bytes, one at a time, for the duration of the block."""
    ours = [
        [sys.executable, "-S", pingpong.__file__, role, protocol, SERVER, str(PORT)] for role in ("server", "client")
    ]
    with server(lab, protocol, PORT, *ours[0]), running(lab, "c1", *ours[1]) as client:
        until(lambda: sent_packets(client) > 2000, "messages to flow", 20.0)
        yield


@contextmanager
def memcached(lab) -> Iterator[str]:
    """Send small requests over many connections; yield the rule that matches them."""
    load = ["memcaslap", "-s", f"{SERVER}:{PORT}", "-T", "2", "-c", "64", "-t", "600s", "-X", "100"]
    with (
        server(lab, "tcp", PORT, "memcached", "-u", "nobody", "-U", "0", "-t", "2", "-l", SERVER, "-p", str(PORT)),
        running(lab, "c1", *load),
    ):
        yield f"tcp port {PORT}"


@contextmanager
def iperf(lab, protocol: str, length_bytes: int = 1400, rate: str = "1G") -> Iterator[str]:
    """Run a bulk transfer, for UDP with a datagram size and a rate; yield the rule that matches it."""
    load = ["iperf3", "-c", SERVER, "-p", str(PORT), "-t", "600"]
    load += ["-u", "-b", rate, "-l", str(length_bytes)] if protocol == "udp" else []
    with server(lab, "tcp", PORT, "iperf3", "-s", "-B", SERVER, "-p", str(PORT)), running(lab, "c1", *load):
        yield f"{protocol} port {PORT}"
