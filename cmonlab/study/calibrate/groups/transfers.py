"""Throughput: what cmonlab counts, beside iperf3's receiver, the interface's counters and the socket's."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmonlab.errors import WorkloadError
from cmonlab.rules import Rule
from cmonlab.session.session import Session

from ...testbed.programs import counters, iperf, report_of, sockets
from ...testbed.testbed import Testbed
from ...testbed.traffic import ADDRESS, free_port, new_bytes, recording
from ..check import Check

FORTH, BACK = "c1 → c0", "c0 → c1"
SHARE = 0.01  # of a throughput, by which it may be off
_ETHERNET_BYTES = 14
_WINDOW_S = 0.001
_LEAST_S = 0.5  # of iperf3's intervals: its last one is what is left
_DEADLINE_S = 20.0


@dataclass(frozen=True)
class Load:
    """What iperf3 sends.

    Attributes
    ----------
    name : str
    words : tuple of str
        iperf3's own.
    datagram_bytes : int
        Payload of a datagram, 0 for TCP.
    """

    name: str
    words: tuple[str, ...] = ()
    datagram_bytes: int = 0


LOADS = (
    Load("tcp"),
    Load("tcp 1 Gbit/s", ("-b", "1G")),
    Load("udp 1,400 B", ("-u", "-b", "50M", "-l", "1400"), 1400),
    Load("udp 64 B", ("-u", "-b", "2M", "-l", "64"), 64),
)


def transfer(bed: Testbed, load: Load, seconds: int) -> list[Check]:
    """Record one run of iperf3 by a rule that captures and one that aggregates."""
    port = free_port()
    rules = [
        Rule(name="capture", match=f"port {port}"),
        Rule(name="aggregate", match=f"port {port}", mode="aggregate"),
    ]
    with recording(bed, rules) as done:
        before = counters(bed, "c0")["rx"]
        with iperf(bed, port, seconds, *load.words) as server:
            report = report_of(server, seconds)
        after = counters(bed, "c0")["rx"]
    session, journeys = done.session, done.session.journeys()
    moved = {key: after[key] - before[key] for key in before}
    return [
        *(_seconds(load, session, journeys, report) if load.words else [_whole(load, session, journeys, report)]),
        *_interface(load, session, journeys, moved),
        *([_datagrams(load, session, journeys, report)] if load.datagram_bytes else []),
    ]


def _seconds(load: Load, session: Session, journeys: pd.DataFrame, report: dict) -> Iterator[Check]:
    """Compare goodput in each second of the receiver's own report."""
    table = session.throughput(_WINDOW_S)
    table = table[table["direction"] == FORTH]
    origin_s = (_clock_begins(load, journeys) - int(session.events["ts_ns"].iloc[0])) / 1e9
    for number, interval in enumerate(report["intervals"], 1):
        told = interval["sum"]
        if told["seconds"] < _LEAST_S:
            continue
        begin, end = origin_s + told["start"], origin_s + told["end"]
        within = np.clip(np.minimum(table["time_s"] + _WINDOW_S, end) - np.maximum(table["time_s"], begin), 0, None)
        measured = float((table["goodput_bps"] * within).sum() / (end - begin))
        note = "iperf3's receiver, that second of its report; its clock begins when it tells the client to run"
        yield _rate(f"{load.name}, second {number}", told["bits_per_second"], measured, session, note)


def _whole(load: Load, session: Session, journeys: pd.DataFrame, report: dict) -> Check:
    """Compare the goodput of the whole test: TCP that nothing paces comes in bursts, and seconds end within one."""
    told = report["end"]["sum_received"]
    read = journeys[(journeys["direction"] == FORTH) & _is_data(load, journeys) & (journeys["outcome"] == "delivered")]
    measured = float(new_bytes(read)[0]) * 8 / told["seconds"]
    note = "iperf3's receiver, what it read in all; cmonlab: bytes of journeys that were read, each once"
    return _rate(f"{load.name}, whole", told["bits_per_second"], measured, session, note)


def _clock_begins(load: Load, journeys: pd.DataFrame) -> int:
    """Return when iperf3's server began to count (ns).

    Its last word on the control connection before the data is one byte, TEST_RUNNING; right before that it starts
    its clock (iperf_server_api.c, ``iperf_run_server``).
    """
    data = journeys[(journeys["direction"] == FORTH) & _is_data(load, journeys)]
    words = journeys[(journeys["direction"] == BACK) & (journeys["proto"] == "tcp") & (journeys["payload_bytes"] == 1)]
    words = words[words["start_ns"] < data["start_ns"].min()]
    if words.empty:
        raise WorkloadError("iperf3's control connection was not seen", why=f"{len(data)} packets of data were")
    return int(words["start_ns"].max())


def _is_data(load: Load, journeys: pd.DataFrame) -> pd.Series:
    """Tell which journeys carry what is counted: not the control connection, not the words of a stream's begin."""
    if load.datagram_bytes:
        return (journeys["proto"] == "udp") & (journeys["payload_bytes"] == load.datagram_bytes)
    return journeys["payload_bytes"] > 1024


def _interface(load: Load, session: Session, journeys: pd.DataFrame, moved: dict[str, int]) -> Iterator[Check]:
    """Compare what the receiver's interface counted with what cmonlab did, over the whole recording."""
    note = "c0's eth0, bytes received (`ip -s link`); {}: IP bytes, and 14 B of Ethernet header for each packet"
    came = journeys[(journeys["direction"] == FORTH) & journeys["outcome"].isin(["delivered", "arrived", "dropped"])]
    pairs = session.pairs()
    pairs = pairs[pairs["direction"] == FORTH]
    for name, bytes_of, packets in (
        ("journeys", came["len_bytes"].astype("int64").sum(), len(came)),
        ("pairs()", pairs["bytes"].sum(), pairs["packets_arrived"].sum()),
    ):
        truth, counted = (
            8 * size / session.duration_s for size in (moved["bytes"], bytes_of + _ETHERNET_BYTES * packets)
        )
        yield _rate(f"{load.name}, interface, {name}", truth, float(counted), session, note.format(name))


def _datagrams(load: Load, session: Session, journeys: pd.DataFrame, report: dict) -> Check:
    total = report["end"]["sum"]
    mine = journeys[(journeys["direction"] == FORTH) & _is_data(load, journeys)]
    ends = mine["outcome"].value_counts()
    return Check(
        "throughput",
        f"throughput: iperf3 {load.name}, datagrams received",
        total["packets"] - total["lost_packets"],
        int(ends["delivered"] + ends["arrived"]),
        "datagrams",
        0,
        f"iperf3's receiver; cmonlab: journeys of their size, {ends['delivered']:,} delivered, and {ends['arrived']:,}"
        " arrived, whose read was not seen",
        session.trace_gap_ns,
    )


def _rate(name: str, truth: float, measured: float, session: Session, note: str) -> Check:
    return Check(
        "throughput", f"throughput: iperf3 {name}", truth, measured, "bit/s", SHARE * truth, note, session.trace_gap_ns
    )


def connection(bed: Testbed, size: int) -> list[Check]:
    """Send bytes over a connection both ways, and compare with the counters of its two sockets."""
    port, back = free_port(), size // 1000 + 1
    with recording(bed, f"tcp port {port}") as done, connected(bed, port) as (client, server):
        reading = bed.start("c0", read_all, server, size)
        bed.call("c1", client.sendall, bytes(size))
        reading.result(timeout=30)
        bed.call("c0", server.sendall, bytes(back))
        bed.call("c1", read_all, client, back)
        here, there = _acknowledged(bed, port, size + 1, back)
    journeys = done.session.journeys()
    note = "`ss -i` of the open connection: {}; cmonlab: bytes of journeys that were read, each once"
    told = (
        ("received by c0", FORTH, there["bytes_received"], "bytes_received"),
        ("acknowledged to c1", FORTH, here["bytes_acked"] - 1, "bytes_acked, less 1 for the SYN"),
        ("received by c1", BACK, here["bytes_received"], "bytes_received"),
        ("acknowledged to c0", BACK, there["bytes_acked"], "bytes_acked"),
    )
    return [
        _bytes(name, truth, _delivered(journeys, direction), note.format(how), done.session)
        for name, direction, truth, how in told
    ]


def _bytes(name: str, truth: float, measured: int, note: str, session: Session) -> Check:
    name = f"throughput: a connection's bytes, {name}"
    return Check("throughput", name, truth, measured, "bytes", 0, note, session.trace_gap_ns)


class connected:
    """Both ends of a connection from c1 to c0, closed with the block."""

    def __init__(self, bed: Testbed, port: int):
        self._bed, self._address = bed, (ADDRESS[4]["c0"], port)

    def __enter__(self) -> tuple[socket.socket, socket.socket]:
        with self._bed.call("c0", socket.create_server, self._address) as listener:
            self._client = self._bed.call("c1", socket.create_connection, self._address, 30)
            self._server, _ = listener.accept()
        self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._client, self._server

    def __exit__(self, *_exc) -> None:
        self._client.close()
        self._server.close()


def read_all(connection: socket.socket, size: int) -> None:
    """Read so many bytes."""
    while size:
        size -= len(connection.recv(min(size, 1 << 16)))


def _acknowledged(bed: Testbed, port: int, forth: int, back: int) -> tuple[dict, dict]:
    """Return what ss tells of c1's and c0's socket when all has been acknowledged.

    Raises
    ------
    WorkloadError
        That takes too long.
    """
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        here, there = (sockets(bed, name, port)[0] for name in ("c1", "c0"))
        if here.get("bytes_acked") == forth and there.get("bytes_acked") == back:
            return here, there
    raise WorkloadError("a connection's last bytes were not acknowledged", why=f"c1: {here}, c0: {there}")


def _delivered(journeys: pd.DataFrame, direction: str) -> int:
    mine = journeys[(journeys["direction"] == direction) & (journeys["outcome"] == "delivered")]
    mine = mine[mine["payload_bytes"] > 0]
    return new_bytes(mine)[0] if len(mine) else 0
