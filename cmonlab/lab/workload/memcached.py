"""memcached, loaded by memcaslap."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from cmonlab.errors import WorkloadError

from .result import (
    ClientServer,
    Progress,
    WorkloadResult,
    check_containers,
    check_positive,
    check_serving,
    run_client,
    seconds,
    serve,
)

_COUNTERS = ("cmd_get", "cmd_set", "get_misses", "written_bytes", "read_bytes")
_LATENCIES = {"latency_p50_ns": 0.5, "latency_p90_ns": 0.9, "latency_p99_ns": 0.99, "latency_p999_ns": 0.999}
_DISTRIBUTION = re.compile(r"^Total Statistics \(\d+ events\)\n(.*?)\n\n", re.MULTILINE | re.DOTALL)
_SUMMARY = re.compile(r"^Run time:\s*([\d.]+)s\s+Ops:\s*(\d+)\s+TPS:\s*(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Memcached(ClientServer):
    """A memcached server and a client that sets and gets values as fast as it can.

    Each connection has one command under way at a time; nine of ten commands are gets
    (memcaslap's default).

    Parameters
    ----------
    server, client : str
        Short names of the containers.
    connections : int
        TCP connections of the client, a multiple of ``threads``.
    threads : int
        Threads of the client.
    value_bytes : int
        Size of each value.
    memory_mib : int
        Memory for the server's values.
    port : int
        Port of the server.

    Raises
    ------
    WorkloadError
        A parameter is out of range.
    """

    connections: int = 4
    threads: int = 1
    value_bytes: int = 1024
    memory_mib: int = 64
    port: int = 11211

    name: ClassVar[str] = "memcached"
    work: ClassVar[tuple[str, str]] = ("ops_per_s", "operation")

    def __post_init__(self) -> None:
        numbers = {key: value for key, value in asdict(self).items() if key not in ("server", "client")}
        check_positive(self.name, **numbers)
        if self.connections % self.threads:
            raise WorkloadError(
                f"memcached cannot run {self.connections} connections in {self.threads} threads",
                why="memcaslap gives each thread as many connections",
                fix="make connections a multiple of threads",
            )

    @property
    def default_rule(self) -> str:
        """Matches every packet of the server's port."""
        return f"tcp port {self.port}"

    def prepare(self, lab: Any) -> None:
        """Start the server and wait until it listens.

        Raises
        ------
        UnknownName
            The lab has no such container.
        WorkloadError
            The server does not come up.
        """
        check_containers(lab, self.containers)
        argv = [
            "memcached",
            "-l",
            lab.address(self.server),
            "-p",
            str(self.port),
            "-m",
            str(self.memory_mib),
            "-U",
            "0",
        ]
        serve(lab, self.server, argv, self.port)

    def run(self, lab: Any, duration_s: float, progress: Progress | None = None) -> WorkloadResult:
        """Load the server.

        Parameters
        ----------
        lab : Lab
        duration_s : float
            Rounded to whole seconds, at least 1. memcaslap itself ends about one second
            after its load.
        progress : callable, optional
            Is called with the seconds since the start, five times a second.

        Returns
        -------
        WorkloadResult
            Metrics: ops_per_s, ops, gets, sets, get_misses, written_bytes, read_bytes,
            load_s; latency_p50_ns, latency_p90_ns, latency_p99_ns, latency_p999_ns, from
            a histogram whose buckets double: they follow a shift of the distribution, but
            their absolute values are good to a fraction of their bucket only.

        Raises
        ------
        UnknownName
            The lab has no such container.
        WorkloadError
            The client failed (quotes its output), or the server ended.
        """
        check_containers(lab, self.containers)
        whole_s = seconds(duration_s)
        argv = [
            *("memcaslap", f"--servers={lab.address(self.server)}:{self.port}", f"--time={whole_s}s"),
            *(f"--threads={self.threads}", f"--concurrency={self.connections}", f"--fixed_size={self.value_bytes}"),
            # The distribution of all operations is printed at the end; a period longer than the load has no others.
            f"--stat_freq={10 * whole_s}s",
        ]
        client, started_ns, ended_ns = run_client(lab, self.client, argv, whole_s, progress)
        check_serving(lab, self.server, self.name, self.port)
        metrics = parse(client.stdout)
        parameters = asdict(self) | {"duration_s": whole_s}
        return WorkloadResult(self.name, parameters, started_ns, ended_ns, metrics, client.output)


def parse(output: str) -> dict[str, float]:
    """Return the metrics of memcaslap's report.

    Raises
    ------
    WorkloadError
        The report has no summary, or says that nothing was done.
    """
    summary = _SUMMARY.search(output)
    counters = dict(re.findall(r"^(\w+): (\d+)$", output, re.MULTILINE))
    if summary is None or int(summary[2]) == 0 or any(name not in counters for name in _COUNTERS):
        raise WorkloadError("memcaslap reported no operations", why=output.strip() or "it printed nothing")
    load_s, ops = float(summary[1]), float(summary[2])
    values = {name: float(counters[name]) for name in _COUNTERS}
    return {
        "ops_per_s": float(summary[3]),
        "ops": ops,
        "gets": values["cmd_get"],
        "sets": values["cmd_set"],
        "get_misses": values["get_misses"],
        "written_bytes": values["written_bytes"],
        "read_bytes": values["read_bytes"],
        "load_s": load_s,
        **_latencies(output),
    }


def _latencies(output: str) -> dict[str, float]:
    """Return the quantiles of memcaslap's histogram of all operations.

    Bucket i counts what took more than 2^(i-1) µs and at most 2^i (libmemcached,
    ``ms_local_log2``); within one, quantiles are interpolated on a logarithmic scale
    between what is known of its ends.
    """
    told = _DISTRIBUTION.search(output)
    if told is None:
        raise WorkloadError("memcaslap reported no distribution", why=output.strip())
    low_us, high_us = (float(re.search(rf"{word}:\s*(\d+)", told[1])[1]) for word in ("Min", "Max"))
    lines = re.findall(r"^\s+\d+:((?:\s+\d+)+)$", told[1], re.MULTILINE)
    first = int(re.search(r"^\s+(\d+):", told[1], re.MULTILINE)[1])
    counts = np.array([int(count) for line in lines for count in line.split()], float)
    ends_us = np.clip(2.0 ** (first + np.arange(-1, len(counts))), max(low_us, 0.5), max(high_us, 0.5))
    passed = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    return {name: float(1000 * np.exp(np.interp(q, passed, np.log(ends_us)))) for name, q in _LATENCIES.items()}
