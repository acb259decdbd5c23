"""sockperf: round trips of small messages, one at a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from cmonlab.errors import UnknownName, WorkloadError

from .client_server import ClientServer, check_positive

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
    """A sockperf server and a client that sends a message, waits for the reply, and sends the next one.

    Parameters
    ----------
    server, client : str
        Short names of the containers.
    protocol : str
        ``"tcp"`` or ``"udp"``.
    message_bytes : int
        Size of a message, at least 14.
    full_rtt : bool
        Report round-trip times; else half of them, which is sockperf's estimate of the one-way delay.
    port : int
        Port of the server.

    Raises
    ------
    UnknownName
        There is no such protocol.
    WorkloadError
        A parameter is out of range.

    Notes
    -----
    Metrics: messages_per_s, messages, dropped_messages, duplicated_messages, out_of_order_messages,
    latency_p50_ns, latency_p90_ns, latency_p99_ns, latency_p999_ns, load_s.

    sockperf leaves out the first 0.4 s and the last 0.05 s of the duration, and takes about 10 MB of memory for
    each second.
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
    def endpoint(self) -> tuple[str, int]:
        """The port of the server."""
        return self.protocol, self.port

    def _argv(self, role: str, address: str) -> list[str]:
        argv = ["sockperf", role, "-i", address, "-p", str(self.port)]
        return [*argv, "--tcp"] if self.protocol == "tcp" else argv

    def server_argv(self, address: str) -> list[str]:
        """Return the command of the sockperf server."""
        return self._argv("server", address)

    def client_argv(self, address: str, duration_s: int, source: str | None = None) -> list[str]:
        """Return the command of the sockperf client.

        Parameters
        ----------
        address : str
            IP address of the server.
        duration_s : int
            How long to run, in s.
        source : str, optional
            IP address to send from: sockperf does not connect its UDP socket.
        """
        argv = [*self._argv("ping-pong", address), "-m", str(self.message_bytes), "-t", str(duration_s)]
        argv += ["--full-rtt"] if self.full_rtt else []
        return [*argv, "--client_ip", source] if source else argv

    def parse(self, output: str) -> dict[str, float]:
        """Return the metrics in sockperf's report.

        Raises
        ------
        WorkloadError
            The report counts no messages.
        """
        text = _COLOUR.sub("", output)
        total, valid, faults = _TOTAL.search(text), _VALID.search(text), _FAULTS.search(text)
        reported_ns = {float(percent): float(us) * 1000 for percent, us in _PERCENTILE.findall(text)}
        latencies = {name: reported_ns[percent] for percent, name in _LATENCIES.items() if percent in reported_ns}
        if not (total and valid and faults) or int(valid[3]) == 0 or len(latencies) < len(_LATENCIES):
            raise WorkloadError("sockperf reported no messages", why=text.strip() or "it printed nothing")
        return {
            "messages_per_s": int(valid[3]) / float(valid[1]),
            "messages": float(valid[3]),
            **{f"{name}_messages": float(number) for name, number in faults.groupdict().items()},
            **latencies,
            "load_s": float(total[1]),
        }
