"""iperf3: bulk TCP or paced UDP."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

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
DEFAULT_UDP_BPS = 200_000_000


@dataclass(frozen=True)
class Iperf(ClientServer):
    """An iperf3 server and a client that sends to it.

    Parameters
    ----------
    server, client : str
        Short names of the containers.
    protocol : str
        ``"tcp"`` or ``"udp"``.
    bitrate_bps : int, optional
        Rate of the payload; by default unlimited for TCP, 200 Mbit/s for UDP.
    length_bytes : int, optional
        Bytes of a write (TCP) or a datagram (UDP); by default iperf3's choice: 128 KiB
        for TCP, for UDP what fits the path's MTU.
    streams : int
        Parallel connections.
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
    bitrate_bps: int | None = None
    length_bytes: int | None = None
    streams: int = 1
    port: int = 5201

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise UnknownName("protocol", self.protocol, PROTOCOLS)
        if self.protocol == "udp" and self.bitrate_bps is None:
            object.__setattr__(self, "bitrate_bps", DEFAULT_UDP_BPS)
        numbers = {key: getattr(self, key) for key in ("bitrate_bps", "length_bytes", "streams", "port")}
        check_positive(self.name, **numbers)

    @property
    def name(self) -> str:
        """``iperf-tcp`` or ``iperf-udp``."""
        return f"iperf-{self.protocol}"

    @property
    def work(self) -> tuple[str, str]:
        """What it is measured by: bits that arrived, of UDP datagrams."""
        return ("goodput_bps", "bit") if self.protocol == "tcp" else ("datagrams_per_s", "datagram")

    @property
    def default_rule(self) -> str:
        """Matches the data; with UDP not the TCP connection that controls the test."""
        return f"{self.protocol} port {self.port}"

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
        argv = ["iperf3", "--server", "--port", str(self.port), "--bind", lab.address(self.server)]
        serve(lab, self.server, argv, self.port)

    def run(self, lab: Any, duration_s: float, progress: Progress | None = None) -> WorkloadResult:
        """Send from the client to the server.

        Parameters
        ----------
        lab : Lab
        duration_s : float
            Rounded to whole seconds, at least 1.
        progress : callable, optional
            Is called with the seconds since the start, five times a second.

        Returns
        -------
        WorkloadResult
            Metrics, both: goodput_bps, sent_bytes, received_bytes, load_s. TCP:
            retransmissions, srtt_mean_ns. UDP: datagrams_per_s (that arrived),
            datagrams, lost_datagrams, out_of_order_datagrams, delay_variation_ns, datagram_bytes.

        Raises
        ------
        UnknownName
            The lab has no such container.
        WorkloadError
            The client failed (quotes its output), or the server ended.
        """
        check_containers(lab, self.containers)
        whole_s = seconds(duration_s)
        argv = ["iperf3", "--json", "--client", lab.address(self.server), "--port", str(self.port)]
        argv += ["--time", str(whole_s), "--parallel", str(self.streams)]
        argv += ["--udp"] if self.protocol == "udp" else []
        argv += ["--bitrate", str(self.bitrate_bps)] if self.bitrate_bps else []
        argv += ["--length", str(self.length_bytes)] if self.length_bytes else []
        client, started_ns, ended_ns = run_client(lab, self.client, argv, whole_s, progress)
        check_serving(lab, self.server, "iperf3", self.port)
        metrics = parse(client.stdout, self.protocol)
        parameters = asdict(self) | {"duration_s": whole_s}
        return WorkloadResult(self.name, parameters, started_ns, ended_ns, metrics, client.output)


def parse(output: str, protocol: str) -> dict[str, float]:
    """Return the metrics of iperf3's JSON report.

    Raises
    ------
    WorkloadError
        The report says why the test failed, or is none.
    """
    try:
        report = json.loads(output)
        if "error" in report:
            raise WorkloadError("iperf3 failed", why=report["error"])
        end = report["end"]
        metrics = _udp(report, end) if protocol == "udp" else _tcp(end)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise WorkloadError("iperf3's report cannot be read", why=f"{error!r} in: {output[-500:]}") from error
    return {name: float(value) for name, value in metrics.items()}


def _tcp(end: dict[str, Any]) -> dict[str, float]:
    sent, received = end["sum_sent"], end["sum_received"]
    round_trips_us = [stream["sender"]["mean_rtt"] for stream in end["streams"]]
    return {
        "goodput_bps": received["bits_per_second"],
        "sent_bytes": sent["bytes"],
        "received_bytes": received["bytes"],
        "retransmissions": sent["retransmits"],
        "srtt_mean_ns": sum(round_trips_us) / len(round_trips_us) * 1000,
        "load_s": sent["seconds"],
    }


def _udp(report: dict[str, Any], end: dict[str, Any]) -> dict[str, float]:
    total = end["sum"]
    arrived = total["packets"] - total["lost_packets"]
    size_bytes = report["start"]["test_start"]["blksize"]
    return {
        "goodput_bps": arrived * size_bytes * 8 / total["seconds"],
        "sent_bytes": total["bytes"],
        "received_bytes": arrived * size_bytes,
        "datagrams_per_s": arrived / total["seconds"],
        "datagrams": total["packets"],
        "lost_datagrams": total["lost_packets"],
        "out_of_order_datagrams": sum(stream["udp"].get("out_of_order", 0) for stream in end["streams"]),
        "delay_variation_ns": total["jitter_ms"] * 1e6,
        "datagram_bytes": size_bytes,
        "load_s": total["seconds"],
    }
