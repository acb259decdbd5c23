"""memcached, loaded by memcaslap."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np

from cmonlab.errors import WorkloadError

from .client_server import ClientServer, check_positive

_COUNTERS = ("cmd_get", "cmd_set", "get_misses", "written_bytes", "read_bytes")
_LATENCIES = {"latency_p50_ns": 0.5, "latency_p90_ns": 0.9, "latency_p99_ns": 0.99, "latency_p999_ns": 0.999}
_DISTRIBUTION = re.compile(r"^Total Statistics \(\d+ events\)\n(.*?)\n\n", re.MULTILINE | re.DOTALL)
_RANGE = re.compile(r"Min:\s*(\d+)\s+Max:\s*(\d+)")
_BUCKETS = re.compile(r"^\s+(\d+):((?:\s+\d+)+)$", re.MULTILINE)
_SUMMARY = re.compile(r"^Run time:\s*([\d.]+)s\s+Ops:\s*(\d+)\s+TPS:\s*(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Memcached(ClientServer):
    """A memcached server and a client that sets and gets values as fast as it can.

    Each connection has one command under way at a time; nine of ten commands are gets (memcaslap's default).

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

    Notes
    -----
    Metrics: ops_per_s, ops, gets, sets, get_misses, written_bytes, read_bytes, load_s; latency_p50_ns,
    latency_p90_ns, latency_p99_ns and latency_p999_ns. The latencies come from a histogram whose buckets double.
    They follow a shift of the distribution, but their absolute values are only as exact as their bucket is wide.

    memcaslap ends about one second after its load.
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
                why="memcaslap gives every thread the same number of connections",
                fix="make connections a multiple of threads",
            )

    @property
    def endpoint(self) -> tuple[str, int]:
        """The TCP port of the server."""
        return "tcp", self.port

    def server_argv(self, address: str) -> list[str]:
        """Return the command of memcached, without its UDP port."""
        return ["memcached", "-l", address, "-p", str(self.port), "-m", str(self.memory_mib), "-U", "0"]

    def client_argv(self, address: str, duration_s: int, source: str | None = None) -> list[str]:
        """Return the command of memcaslap.

        Parameters
        ----------
        address : str
            IP address of the server.
        duration_s : int
            How long to run, in s.
        source : str, optional
            Not used: TCP connections have the right source without it.
        """
        return [
            *("memcaslap", f"--servers={address}:{self.port}", f"--time={duration_s}s"),
            *(f"--threads={self.threads}", f"--concurrency={self.connections}", f"--fixed_size={self.value_bytes}"),
            # memcaslap prints distributions periodically and one of all operations at the end; with a period longer
            # than the load it prints only the last one.
            f"--stat_freq={10 * duration_s}s",
        ]

    def parse(self, output: str) -> dict[str, float]:
        """Return the metrics in memcaslap's report.

        Raises
        ------
        WorkloadError
            The report has no summary, or says that nothing was done.
        """
        summary = _SUMMARY.search(output)
        counters = dict(re.findall(r"^(\w+): (\d+)$", output, re.MULTILINE))
        if summary is None or int(summary[2]) == 0 or any(name not in counters for name in _COUNTERS):
            raise WorkloadError("memcaslap reported no operations", why=output.strip() or "it printed nothing")
        values = {name: float(counters[name]) for name in _COUNTERS}
        return {
            "ops_per_s": float(summary[3]),
            "ops": float(summary[2]),
            "gets": values["cmd_get"],
            "sets": values["cmd_set"],
            "get_misses": values["get_misses"],
            "written_bytes": values["written_bytes"],
            "read_bytes": values["read_bytes"],
            "load_s": float(summary[1]),
            **_latencies(output),
        }


def _latencies(output: str) -> dict[str, float]:
    """Return quantiles, in ns, of memcaslap's histogram of all operations.

    Bucket i counts the operations that took more than 2^(i-1) µs and at most 2^i µs (libmemcached,
    ``ms_local_log2``). Within a bucket quantiles are interpolated on a logarithmic scale; the shortest and the
    longest operation bound the outer buckets.
    """
    distribution = _DISTRIBUTION.search(output)
    bounds = _RANGE.search(distribution[1]) if distribution else None
    lines = _BUCKETS.findall(distribution[1]) if distribution else []
    if bounds is None or not lines:
        raise WorkloadError("memcaslap reported no distribution", why=output.strip())
    first = int(lines[0][0])
    counts = np.array([int(count) for _, line in lines for count in line.split()], float)
    low_us, high_us = (max(float(bound), 0.5) for bound in bounds.groups())
    ends_us = np.clip(2.0 ** (first + np.arange(-1, len(counts))), low_us, high_us)
    cumulative = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    return {name: float(1000 * np.exp(np.interp(q, cumulative, np.log(ends_us)))) for name, q in _LATENCIES.items()}
