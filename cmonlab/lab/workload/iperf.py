"""iperf3: bulk TCP, or UDP at a fixed rate."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from cmonlab.errors import UnknownName, WorkloadError

from .client_server import ClientServer, check_positive

PROTOCOLS = ("tcp", "udp")
DEFAULT_UDP_BPS = 200_000_000


@dataclass(frozen=True)
class Iperf(ClientServer):
    """An iperf3 server and a client that sends to it: bulk TCP, or UDP at a fixed rate.

    Parameters
    ----------
    server, client : str
        Short names of the containers.
    protocol : str
        ``"tcp"`` or ``"udp"``.
    bitrate_bps : int, optional
        Rate of the payload; by default unlimited for TCP, 200 Mbit/s for UDP.
    length_bytes : int, optional
        Bytes of one write (TCP) or one datagram (UDP); by default iperf3's choice: 128 KiB for TCP, and for UDP
        the largest that fits the path's MTU.
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

    Notes
    -----
    Metrics of both protocols: goodput_bps, sent_bytes, received_bytes, load_s. TCP: retransmissions, srtt_mean_ns.
    UDP: datagrams_per_s (those that arrived), datagrams, lost_datagrams, out_of_order_datagrams,
    delay_variation_ns (iperf3's jitter, RFC 1889), datagram_bytes.
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
        """Throughput: bits that arrived (TCP), or datagrams that arrived (UDP)."""
        return ("goodput_bps", "bit") if self.protocol == "tcp" else ("datagrams_per_s", "datagram")

    @property
    def endpoint(self) -> tuple[str, int]:
        """The TCP port that controls the test, with UDP too."""
        return "tcp", self.port

    @property
    def default_rule(self) -> str:
        """A pcap expression that matches the data; with UDP it leaves out the TCP connection that controls the test."""
        return f"{self.protocol} port {self.port}"

    def server_argv(self, address: str) -> list[str]:
        """Return the command of the iperf3 server."""
        return ["iperf3", "--server", "--port", str(self.port), "--bind", address]

    def client_argv(self, address: str, duration_s: int, source: str | None = None) -> list[str]:
        """Return the command of the iperf3 client.

        Parameters
        ----------
        address : str
            IP address of the server.
        duration_s : int
            How long to run, in s.
        source : str, optional
            Not used: iperf3 connects its sockets, UDP too, and they have the right source without it.
        """
        argv = ["iperf3", "--json", "--client", address, "--port", str(self.port)]
        argv += ["--time", str(duration_s), "--parallel", str(self.streams)]
        argv += ["--udp"] if self.protocol == "udp" else []
        argv += ["--bitrate", str(self.bitrate_bps)] if self.bitrate_bps else []
        argv += ["--length", str(self.length_bytes)] if self.length_bytes else []
        return argv

    def parse(self, output: str) -> dict[str, float]:
        """Return the metrics in iperf3's JSON report.

        Raises
        ------
        WorkloadError
            The output is no report, or the report says why the test failed.
        """
        try:
            report = json.loads(output)
            if "error" in report:
                raise WorkloadError("iperf3 failed", why=report["error"])
            metrics = _udp(report) if self.protocol == "udp" else _tcp(report)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise WorkloadError("iperf3's report cannot be read", why=f"{error!r} in: {output[-500:]}") from error
        return {name: float(value) for name, value in metrics.items()}


def _tcp(report: dict[str, Any]) -> dict[str, float]:
    end = report["end"]
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


def _udp(report: dict[str, Any]) -> dict[str, float]:
    end = report["end"]
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
