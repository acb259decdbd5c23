"""Other measuring programs on a testbed, as reference: iperf3, sockperf, and iproute2's ss and ip."""

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


def why_missing(program: str) -> str:
    """Return why a program cannot be run, an empty text if it can."""
    return "" if shutil.which(program) else f"{program} is not installed"


def pinned(*words: str) -> list[str]:
    """Return the command that runs a program on the first CPU only.

    Otherwise the placement of the two ends by the scheduler, and the time to wake a CPU, would have more influence than
    the compared quantity.
    """
    return ["taskset", "-c", str(min(os.sched_getaffinity(0))), *words]


@contextmanager
def serving(bed: Testbed, protocol: str, port: int, *words: str) -> Iterator[subprocess.Popen]:
    """Run a server in ``c0`` for the duration of the block; the block begins when the server has bound its port.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    protocol : {"tcp", "udp"}
        Protocol of the port.
    port : int
        The port that the server binds.
    *words : str
        The server's command.

    Raises
    ------
    WorkloadError
        The server ended, or did not bind the port in time.
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
    """Return whether a socket of the process's namespace is bound to a port."""
    try:
        rows = Path(f"/proc/{process.pid}/net/{protocol}").read_text().splitlines()[1:]
    except OSError:  # the process has ended
        return False
    return any(int(row.split()[1].rpartition(":")[2], 16) == port for row in rows)


@contextmanager
def iperf(bed: Testbed, port: int, seconds: int, *words: str) -> Iterator[subprocess.Popen]:
    """Run iperf3 from c1 to c0; yield the server's process, whose standard output is the receiver's report.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    port : int
        The server's port.
    seconds : int
        Duration of the test.
    *words : str
        More arguments for the client.
    """
    with serving(bed, "tcp", port, "iperf3", "-s", "-1", "-J", "-B", SERVER, "-p", str(port)) as server:
        client = bed.popen("c1", *pinned("iperf3", "-c", SERVER, "-p", str(port), "-t", str(seconds), *words))
        try:
            yield server
        finally:
            client.kill()
            client.communicate()


def report_of(server: subprocess.Popen, seconds: int) -> dict:
    """Wait until an iperf3 server has ended, and return its report.

    Parameters
    ----------
    server : subprocess.Popen
        From `iperf`.
    seconds : int
        Duration of the test; the server has some seconds more to end.

    Returns
    -------
    dict
        The parsed JSON report of iperf3.

    Raises
    ------
    WorkloadError
        The server does not end, or reports an error.
    """
    try:
        report = json.loads(server.communicate(timeout=seconds + _DEADLINE_S)[0])
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise WorkloadError("iperf3's server made no report", why=str(error)) from error
    if "error" in report:
        raise WorkloadError("iperf3 failed", why=report["error"])
    return report


def sockperf(bed: Testbed, protocol: str, port: int, seconds: int, size: int) -> str:
    """Run sockperf ping-pong between c1 and c0, one message at a time.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    protocol : {"tcp", "udp"}
        Protocol to use.
    port : int
        The server's port.
    seconds : int
        Duration of the test.
    size : int
        Size of a message in bytes.

    Returns
    -------
    str
        The output of the client.

    Raises
    ------
    WorkloadError
        sockperf failed.
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
    """Return what ``ss -i`` reports of the established connections of a namespace with a port at one of their ends.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    name : str
        Name of the namespace.
    port : int
        Local or remote port.

    Returns
    -------
    list of dict
        Per connection its numeric fields (``rtt``: the smoothed one, in ms; ``bytes_acked``, …), and ``local_port``.
    """
    chosen = f"( sport = :{port} or dport = :{port} )"
    lines = bed.run(name, "ss", "-tinHO", "state", "established", chosen).splitlines()
    return [
        {key: float(value) for key, value in _SS_FIELD.findall(line)}
        | {"local_port": int(line.split()[2].rpartition(":")[2])}
        for line in lines
    ]


def counters(bed: Testbed, name: str) -> dict[str, dict[str, int]]:
    """Return the counters of a namespace's eth0.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    name : str
        Name of the namespace.

    Returns
    -------
    dict
        ``rx`` and ``tx``, each with ``bytes`` and ``packets``.
    """
    return json.loads(bed.run(name, "ip", "-s", "-j", "link", "show", "eth0"))[0]["stats64"]
