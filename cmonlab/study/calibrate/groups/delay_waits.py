"""Delays in user space: a late reader, and a forwarder that waits before it sends each packet on.

One thread sends, waits and reads through sockets of all namespaces, so the order of its actions is known. It waits
busily, because a sleeping thread wakes up late.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pandas as pd

from cmonlab.session.session import Session

from ...testbed.stamps import now_ns, received, sent_stamps, stamp_received, stamp_sent
from ...testbed.testbed import Testbed, ip
from ...testbed.traffic import ADDRESS, free_port, payload, recording, udp_socket
from ..check import Check, repeat_over_trace_gaps
from ..score import compared, hops_of, known, leaked, queueing

SIZE = 400
_HOST = "10.77.0.1"
_WAITS = {200_000: 400, 2_000_000: 150}


def run(bed: Testbed, quick: bool) -> Iterator[list[Check]]:
    """Yield the checks of each scenario.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    quick : bool
        Fewer packets.
    """
    times = 1 if quick else 5
    yield repeat_over_trace_gaps(partial(_late_reader, bed, times))
    with _address(bed):
        yield repeat_over_trace_gaps(partial(_forwarder, bed, times))


def _wait(wait_ns: int) -> None:
    until = time.monotonic_ns() + wait_ns
    while time.monotonic_ns() < until:
        pass


def _late_reader(bed: Testbed, times: int) -> Iterator[Check]:
    plain, _, _ = _read_late(bed, 0, 150 * times)
    for wait_ns, count in _WAITS.items():
        session, truth, port = _read_late(bed, wait_ns, count * times)
        hops = hops_of(session, port, SIZE, count * times)
        reported = queueing(hops, "c0:eth0")
        note = (
            "From the kernel's stamp of the datagram at c0's device (SO_TIMESTAMPNS) to the reader's system call, by "
            "the reader's clock before and after it."
        )
        name = f"a reader {wait_ns / 1e6:g} ms late"
        yield from compared(name, truth, reported, session, hops, note=note)
        yield leaked(
            name,
            _without_queueing(plain, "c0:eth0"),
            _without_queueing(session, "c0:eth0"),
            float(reported.median()),
            trace_gap_ns=plain.trace_gap_ns + session.trace_gap_ns,
        )


def _without_queueing(session: Session, place: str) -> pd.Series:
    """Return the one-way delay of each journey without its queueing at a place, in ns."""
    journeys = session.journeys()
    hops = session.hops(journeys["journey"].tolist())
    rows = hops[hops["segment"].astype(str).str.startswith(f"{place} ") & (hops["kind"] == "queueing")]
    spent = rows.groupby("journey")["segment_ns"].sum()
    delay = journeys.set_index("journey")["one_way_delay_ns"]
    return delay - spent.reindex(delay.index).fillna(0)


def _read_late(bed: Testbed, wait_ns: int, count: int) -> tuple[Session, pd.DataFrame, int]:
    """Send, wait and read `count` times; return the session, the bounds of each wait, and the port."""
    port, rows = free_port(), []
    receiver, sender = udp_socket(bed, "c0", port), udp_socket(bed, "c1")
    stamp_received(receiver)

    def exchange() -> None:
        for number in range(count):
            sender.sendto(payload(number, SIZE), (ADDRESS[4]["c0"], port))
            _wait(wait_ns)
            before = now_ns()
            _, came = received(receiver, SIZE)
            rows.append((before - came, now_ns() - came))

    with receiver, sender, recording(bed, f"udp port {port}") as done:
        bed.call("c1", exchange)
    return done.session, pd.DataFrame(rows, columns=["low", "high"]), port


def _forwarder(bed: Testbed, times: int) -> Iterator[Check]:
    plain, _, _ = _forward(bed, 0, 150 * times)
    for wait_ns, count in _WAITS.items():
        session, truth, ports = _forward(bed, wait_ns, count * times)
        into, out = (hops_of(session, port, SIZE, count * times) for port in ports)
        gap = (out.groupby("number")["ts_ns"].min() - into.groupby("number")["ts_ns"].max()).dropna()
        note = (
            "From the forwarder's receiving system call, by its clock before and after it, to the kernel's stamps of "
            "the packet it sends: before the first device's queue, and when a driver has it (SO_TIMESTAMPING). "
            "Measured: from the end of the first journey to the beginning of the second."
        )
        name = f"a forwarder that waits {wait_ns / 1e6:g} ms"
        yield from compared(name, truth, gap, session, into, note=note)
        yield leaked(
            name,
            _journeys_ns(plain),
            _journeys_ns(session),
            float(gap.median()),
            note="Both journeys together.",
            trace_gap_ns=plain.trace_gap_ns + session.trace_gap_ns,
        )


def _journeys_ns(session: Session) -> pd.Series:
    """Return the sum of the one-way delays of each packet's two journeys, in ns."""
    delays = session.journeys().groupby("seq")["one_way_delay_ns"]
    return delays.sum()[delays.count() == 2]


def _forward(bed: Testbed, wait_ns: int, count: int) -> tuple[Session, pd.DataFrame, tuple[int, int]]:
    """Send `count` packets to the forwarder, which waits and sends on; return session, reference delays and ports."""
    ports, rows = (free_port(), free_port()), []
    inlet = bed.call("host", _bound, ports[0])
    outlet = bed.call("host", _bound, 0)
    receiver, sender = udp_socket(bed, "c0", ports[1]), udp_socket(bed, "c1")
    stamp_sent(outlet)

    def exchange() -> None:
        for number in range(count):
            sender.sendto(payload(number, SIZE), (_HOST, ports[0]))
            before = now_ns()
            data = inlet.recv(SIZE)
            rows.append((before, now_ns()))
            _wait(wait_ns)
            outlet.sendto(data, (ADDRESS[4]["c0"], ports[1]))
            receiver.recv(SIZE)

    with inlet, outlet, receiver, sender:
        with recording(bed, f"udp port {ports[0]} or udp port {ports[1]}") as done:
            bed.call("c1", exchange)
        queued, driven = sent_stamps(outlet)
    read = pd.DataFrame(rows, columns=["before", "after"])
    return done.session, known(queued - read["after"], driven - read["before"]), ports


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(20)
    sock.bind((_HOST, port))
    return sock


@contextmanager
def _address(bed: Testbed) -> Iterator[None]:
    """Give the bridge the forwarder's address for the duration of the block."""
    words = ("addr", f"{_HOST}/24", "dev", "br0")
    ip("-n", bed.namespaces["host"], words[0], "add", *words[1:])
    try:
        yield
    finally:
        ip("-n", bed.namespaces["host"], words[0], "del", *words[1:])
