"""Programs that measure the same as cmonlab, on a testbed: iperf3, sockperf, and iproute2's ss and ip."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmonlab.errors import WorkloadError

from .testbed import Testbed
from .traffic import ADDRESS

SERVER = ADDRESS[4]["c0"]
_DEADLINE_S = 10.0
_SS_FIELD = re.compile(r"\b([a-z_]+):([\d.]+)")


def there(program: str) -> str:
    """Return why a program cannot be run, empty where it can."""
    return "" if shutil.which(program) else f"{program} is not installed"


def pinned(*words: str) -> list[str]:
    """Return the command with which a program runs on the first CPU only.

    Where the scheduler puts two ends, and how long it takes to wake a CPU, would decide more than what is compared.
    """
    return ["taskset", "-c", str(min(os.sched_getaffinity(0))), *words]


@contextmanager
def serving(bed: Testbed, protocol: str, port: int, *words: str) -> Iterator[subprocess.Popen]:
    """Run a server in ``c0`` while the block lasts, from when it is bound to its port.

    Raises
    ------
    WorkloadError
        It ended, or is not bound in time.
    """
    process = bed.popen("c0", *pinned(*words))
    try:
        deadline = time.monotonic() + _DEADLINE_S
        while not _bound(process, protocol, port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise WorkloadError(f"{words[0]} does not serve", why=f"nothing is bound to {protocol} port {port}")
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.communicate()


def _bound(process: subprocess.Popen, protocol: str, port: int) -> bool:
    """Tell whether a socket of the process's namespace is bound to a port."""
    try:
        rows = Path(f"/proc/{process.pid}/net/{protocol}").read_text().splitlines()[1:]
    except OSError:  # it has ended
        return False
    return any(int(row.split()[1].rpartition(":")[2], 16) == port for row in rows)


@contextmanager
def iperf(bed: Testbed, port: int, seconds: int, *words: str) -> Iterator[subprocess.Popen]:
    """Run iperf3 from c1 to c0; yields its server, whose standard output becomes the receiver's report."""
    with serving(bed, "tcp", port, "iperf3", "-s", "-1", "-J", "-B", SERVER, "-p", str(port)) as server:
        client = bed.popen("c1", *pinned("iperf3", "-c", SERVER, "-p", str(port), "-t", str(seconds), *words))
        try:
            yield server
        finally:
            client.kill()
            client.communicate()


def report_of(server: subprocess.Popen, seconds: int) -> dict:
    """Wait until an iperf3 server has ended, and return its report.

    Raises
    ------
    WorkloadError
        It does not end, or tells of an error.
    """
    try:
        said = server.communicate(timeout=seconds + _DEADLINE_S)[0]
        report = json.loads(said)
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise WorkloadError("iperf3's server made no report", why=str(error)) from error
    if "error" in report:
        raise WorkloadError("iperf3 failed", why=report["error"])
    return report


def sockperf(bed: Testbed, protocol: str, port: int, seconds: int, size: int) -> str:
    """Play ping-pong between c1 and c0, one message at a time; return what the client tells.

    Raises
    ------
    WorkloadError
        It failed.
    """
    tcp = ["--tcp"] if protocol == "tcp" else []
    where = ["-i", SERVER, "-p", str(port), *tcp]
    with serving(bed, protocol, port, "sockperf", "server", *where):
        try:
            return bed.run(
                "c1", *pinned("sockperf", "ping-pong", *where, "-m", str(size), "-t", str(seconds), "--full-rtt")
            )
        except subprocess.CalledProcessError as error:
            raise WorkloadError("sockperf failed", why=error.stdout[-500:] + error.stderr[-500:]) from error


def sockets(bed: Testbed, name: str, port: int) -> list[dict[str, float]]:
    """Return what ``ss -i`` tells of the connections in a namespace that have a port at one of their ends.

    Returns
    -------
    list of dict
        Its fields that are numbers (``rtt``, of which the first, in ms; ``bytes_acked``, …), and ``local_port``.
    """
    chosen = f"( sport = :{port} or dport = :{port} )"
    lines = bed.run(name, "ss", "-tinHO", "state", "established", chosen).splitlines()
    return [
        {key: float(value) for key, value in _SS_FIELD.findall(line)}
        | {"local_port": int(line.split()[2].rpartition(":")[2])}
        for line in lines
    ]


def counters(bed: Testbed, name: str) -> dict[str, dict[str, int]]:
    """Return the interface's own counters: ``rx`` and ``tx``, each with ``bytes`` and ``packets``."""
    return json.loads(bed.run(name, "ip", "-s", "-j", "link", "show", "eth0"))[0]["stats64"]
