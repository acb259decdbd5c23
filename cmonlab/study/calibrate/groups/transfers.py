"""Throughput, compared with iperf3's receiver, the counters of the interface and those of the socket."""

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
SHARE = 0.01  # tolerance, as a share of the throughput
_ETHERNET_BYTES = 14
_WINDOW_S = 0.001
_LEAST_S = 0.5  # shorter intervals of iperf3 are left out: its last one can be short
_DEADLINE_S = 20.0


@dataclass(frozen=True)
class Load:
    """A load of iperf3.

    Attributes
    ----------
    name : str
        Name of the load.
    words : tuple of str
        Options of iperf3.
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
    """Record one run of iperf3 with a rule of mode capture and one of mode aggregate, and return the checks.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    load : Load
        What to send.
    seconds : int
        How long to send.
    """
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
    """Compare the goodput of each second in the receiver's report."""
    table = session.throughput(_WINDOW_S)
    table = table[table["direction"] == FORTH]
    origin_s = (_clock_begins(load, journeys) - int(session.events["ts_ns"].iloc[0])) / 1e9
    for number, interval in enumerate(report["intervals"], 1):
        found = interval["sum"]
        if found["seconds"] < _LEAST_S:
            continue
        begin, end = origin_s + found["start"], origin_s + found["end"]
        within = np.clip(np.minimum(table["time_s"] + _WINDOW_S, end) - np.maximum(table["time_s"], begin), 0, None)
        measured = float((table["goodput_bps"] * within).sum() / (end - begin))
        note = "iperf3's receiver, that second of its report; its clock starts when it makes the client run"
        yield _rate(f"{load.name}, second {number}", found["bits_per_second"], measured, session, note)


def _whole(load: Load, session: Session, journeys: pd.DataFrame, report: dict) -> Check:
    """Compare the goodput of the whole test, because unpaced TCP sends bursts, and seconds end within one."""
    found = report["end"]["sum_received"]
    read = journeys[(journeys["direction"] == FORTH) & _is_data(load, journeys) & (journeys["outcome"] == "delivered")]
    measured = float(new_bytes(read)[0]) * 8 / found["seconds"]
    note = "iperf3's receiver, all bytes it read; cmonlab: distinct bytes of delivered journeys"
    return _rate(f"{load.name}, whole", found["bits_per_second"], measured, session, note)


def _clock_begins(load: Load, journeys: pd.DataFrame) -> int:
    """Return when iperf3's server began to count (ns).

    The last message on its control connection before the data is one byte, TEST_RUNNING; it starts its clock
    immediately before that (iperf_server_api.c, ``iperf_run_server``).
    """
    data = journeys[(journeys["direction"] == FORTH) & _is_data(load, journeys)]
    words = journeys[(journeys["direction"] == BACK) & (journeys["proto"] == "tcp") & (journeys["payload_bytes"] == 1)]
    words = words[words["start_ns"] < data["start_ns"].min()]
    if words.empty:
        raise WorkloadError("iperf3's control connection was not seen", why=f"only {len(data)} data packets were seen")
    return int(words["start_ns"].max())


def _is_data(load: Load, journeys: pd.DataFrame) -> pd.Series:
    """Return which journeys carry counted data; not those of the control connection or of the start of a stream."""
    if load.datagram_bytes:
        return (journeys["proto"] == "udp") & (journeys["payload_bytes"] == load.datagram_bytes)
    return journeys["payload_bytes"] > 1024


def _interface(load: Load, session: Session, journeys: pd.DataFrame, moved: dict[str, int]) -> Iterator[Check]:
    """Compare the byte counter of the receiver's interface with cmonlab, over the whole recording."""
    note = "c0's eth0, bytes received (`ip -s link`); {}: IP bytes plus 14 B of Ethernet header per packet"
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
        f"iperf3's receiver; cmonlab: journeys of that size, {ends['delivered']:,} delivered, and {ends['arrived']:,}"
        " arrived, whose read was not seen",
        session.trace_gap_ns,
    )


def _rate(name: str, truth: float, measured: float, session: Session, note: str) -> Check:
    return Check(
        "throughput", f"throughput: iperf3 {name}", truth, measured, "bit/s", SHARE * truth, note, session.trace_gap_ns
    )


def connection(bed: Testbed, size: int) -> list[Check]:
    """Compare the bytes of a connection, in both directions, with the counters of its two sockets.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    size : int
        Bytes from c1 to c0; a thousandth of them goes back.
    """
    port, back = free_port(), size // 1000 + 1
    with recording(bed, f"tcp port {port}") as done, connected(bed, port) as (client, server):
        reading = bed.start("c0", read_all, server, size)
        bed.call("c1", client.sendall, bytes(size))
        reading.result(timeout=30)
        bed.call("c0", server.sendall, bytes(back))
        bed.call("c1", read_all, client, back)
        here, there = _acknowledged(bed, port, size + 1, back)
    journeys = done.session.journeys()
    note = "`ss -i` of the open connection: {}; cmonlab: distinct bytes of delivered journeys"
    counted = (
        ("received by c0", FORTH, there["bytes_received"], "bytes_received"),
        ("acknowledged to c1", FORTH, here["bytes_acked"] - 1, "bytes_acked minus 1 for the SYN"),
        ("received by c1", BACK, here["bytes_received"], "bytes_received"),
        ("acknowledged to c0", BACK, there["bytes_acked"], "bytes_acked"),
    )
    return [
        _bytes(name, truth, _delivered(journeys, direction), note.format(how), done.session)
        for name, direction, truth, how in counted
    ]


def _bytes(name: str, truth: float, measured: int, note: str, session: Session) -> Check:
    name = f"throughput: a connection's bytes, {name}"
    return Check("throughput", name, truth, measured, "bytes", 0, note, session.trace_gap_ns)


class connected:
    """A connection from c1 to c0, as a context manager that yields both sockets and closes them.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    port : int
        Port of c0.
    """

    def __init__(self, bed: Testbed, port: int):
        self._bed, self._address = bed, (ADDRESS[4]["c0"], port)

    def __enter__(self) -> tuple[socket.socket, socket.socket]:
        with self._bed.call("c0", socket.create_server, self._address) as listener:
            self._client = self._bed.call("c1", socket.create_connection, self._address, 30)
            self._server, _ = listener.accept()
        self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._client, self._server

    def __exit__(self, *_exc: object) -> None:
        self._client.close()
        self._server.close()


def read_all(connection: socket.socket, size: int) -> None:
    """Read and discard bytes.

    Parameters
    ----------
    connection : socket.socket
        A connected socket.
    size : int
        How many bytes to read.
    """
    while size:
        size -= len(connection.recv(min(size, 1 << 16)))


def _acknowledged(bed: Testbed, port: int, forth: int, back: int) -> tuple[dict, dict]:
    """Return what ss reports of the sockets of c1 and c0 when all bytes have been acknowledged.

    Raises
    ------
    WorkloadError
        This takes too long.
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
