"""sockperf: a message there and back, one at a time."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from cmonlab.errors import UnknownName, WorkloadError

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

PROTOCOLS = ("tcp", "udp")
_LEAST_BYTES = 14  # sockperf's own header
_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_TOTAL = re.compile(r"\[Total Run\] RunTime=([\d.]+) sec")
_VALID = re.compile(r"\[Valid Duration\] RunTime=([\d.]+) sec; SentMessages=(\d+); ReceivedMessages=(\d+)")
_FAULTS = re.compile(
    r"# dropped messages = (?P<dropped>\d+); # duplicated messages = (?P<duplicated>\d+);"
    r" # out-of-order messages = (?P<out_of_order>\d+)"
)
_PERCENTILE = re.compile(r"percentile ([\d.]+) =\s*([\d.]+)")
_LATENCIES = {50.0: "latency_p50_ns", 90.0: "latency_p90_ns", 99.0: "latency_p99_ns", 99.9: "latency_p999_ns"}


@dataclass(frozen=True)
class Sockperf(ClientServer):
    """A sockperf server and a client that sends a message, waits until it is back, and sends the next.

    Parameters
    ----------
    server, client : str
        Short names of the containers.
    protocol : str
        ``"tcp"`` or ``"udp"``.
    message_bytes : int
        Size of a message, at least 14.
    full_rtt : bool
        Latencies are those of the round trip; else half of it, which is sockperf's
        estimate of the one-way delay.
    port : int
        Port of the server.

    Raises
    ------
    UnknownName
        There is no such protocol.
    WorkloadError
        A parameter is out of range.
    """

    protocol: str = "tcp"
    message_bytes: int = 64
    full_rtt: bool = True
    port: int = 11111

    work: ClassVar[tuple[str, str]] = ("messages_per_s", "message")

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise UnknownName("protocol", self.protocol, PROTOCOLS)
        check_positive(self.name, message_bytes=self.message_bytes, port=self.port)
        if self.message_bytes < _LEAST_BYTES:
            raise WorkloadError(
                f"{self.name} cannot send messages of {self.message_bytes} bytes",
                why=f"its own header takes {_LEAST_BYTES}",
                fix=f"make message_bytes {_LEAST_BYTES} or more",
            )

    @property
    def name(self) -> str:
        """``sockperf-tcp`` or ``sockperf-udp``."""
        return f"sockperf-{self.protocol}"

    @property
    def default_rule(self) -> str:
        """Matches every packet of the server's port."""
        return f"{self.protocol} port {self.port}"

    def _argv(self, lab: Any, role: str) -> list[str]:
        argv = ["sockperf", role, "-i", lab.address(self.server), "-p", str(self.port)]
        return [*argv, "--tcp"] if self.protocol == "tcp" else argv

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
        serve(lab, self.server, self._argv(lab, "server"), self.port, self.protocol)

    def run(self, lab: Any, duration_s: float, progress: Progress | None = None) -> WorkloadResult:
        """Send messages there and back.

        Parameters
        ----------
        lab : Lab
        duration_s : float
            Rounded to whole seconds, at least 1. sockperf leaves out the first 0.4 s and
            the last 0.05 s of it, and takes about 10 MB of memory for each.
        progress : callable, optional
            Is called with the seconds since the start, five times a second.

        Returns
        -------
        WorkloadResult
            Metrics: messages_per_s, messages, dropped_messages, duplicated_messages,
            out_of_order_messages, latency_p50_ns, latency_p90_ns, latency_p99_ns,
            latency_p999_ns, load_s.

        Raises
        ------
        UnknownName
            The lab has no such container.
        WorkloadError
            The client failed (quotes its output), or the server ended.
        """
        check_containers(lab, self.containers)
        whole_s = seconds(duration_s)
        argv = [*self._argv(lab, "ping-pong"), "-m", str(self.message_bytes), "-t", str(whole_s)]
        argv += ["--full-rtt"] if self.full_rtt else []
        source = lab.source(self.client)
        argv += ["--client_ip", source] if source else []
        client, started_ns, ended_ns = run_client(lab, self.client, argv, whole_s, progress)
        check_serving(lab, self.server, "sockperf", self.port, self.protocol)
        metrics = parse(client.stdout)
        parameters = asdict(self) | {"duration_s": whole_s}
        return WorkloadResult(self.name, parameters, started_ns, ended_ns, metrics, client.output)


def parse(output: str) -> dict[str, float]:
    """Return the metrics of sockperf's report.

    Raises
    ------
    WorkloadError
        It tells of no messages.
    """
    text = _COLOUR.sub("", output)
    total, valid, faults = _TOTAL.search(text), _VALID.search(text), _FAULTS.search(text)
    told = {_LATENCIES.get(float(percent)): float(us) * 1000 for percent, us in _PERCENTILE.findall(text)}
    latencies = {name: told[name] for name in _LATENCIES.values() if name in told}
    if not (total and valid and faults) or int(valid[3]) == 0 or len(latencies) < len(_LATENCIES):
        raise WorkloadError("sockperf reported no messages", why=text.strip() or "it printed nothing")
    return {
        "messages_per_s": int(valid[3]) / float(valid[1]),
        "messages": float(valid[3]),
        **{f"{name}_messages": float(number) for name, number in faults.groupdict().items()},
        **latencies,
        "load_s": float(total[1]),
    }
