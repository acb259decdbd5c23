"""Round-trip times: those of TCP compared with ``ss``, those of messages compared with sockperf."""

from __future__ import annotations

import re
import socket
import struct
import time
from dataclasses import replace

import numpy as np
import pandas as pd

from cmonlab.errors import WorkloadError
from cmonlab.rules import Rule
from cmonlab.session.session import Session

from ...testbed.programs import SERVER, sockets, sockperf
from ...testbed.stamps import now_ns, sent_stamps, stamp_sent
from ...testbed.testbed import Testbed
from ...testbed.traffic import free_port, recording, udp_socket
from ..check import Check
from .transfers import BACK, FORTH, connected, read_all

MESSAGE_BYTES = 64
_TOLERANCE_NS, _TOLERANCE = 2000, 0.05  # whichever is greater
_WARM_UP_NS, _COOL_DOWN_NS = 400_000_000, 50_000_000  # sockperf leaves these out
_EVERY_S = 0.002
_WAY_IN_MESSAGES = 400
_RTT_AT = 68  # of tcpi_rtt in struct tcp_info (include/uapi/linux/tcp.h), us
_MEDIAN_US = re.compile(r"percentile 50\.000 =\s*([\d.]+)")


def quiet(bed: Testbed, moments: int) -> list[Check]:
    """Check the srtt of an idle connection: run ss between messages, while no segment is in flight.

    tcp_probe is passed before a segment is processed, so the next segment's tcp_probe shows the same srtt as ss.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    moments : int
        How often to run ss.
    """
    port = free_port()
    asked: list[tuple[int, int, int]] = []
    rule = Rule(name="rtt", match=f"tcp port {port}", points=("default", "tcp"))
    with recording(bed, rule) as done, connected(bed, port) as (client, server):
        for number in range(moments + 1):
            for _ in range(3):
                _exchange(bed, client, server, number % 8 * 0.0003)
            if number < moments:
                before_ns, state = time.monotonic_ns(), sockets(bed, "c1", port)[0]
                asked.append((before_ns, round(1e6 * state["rtt"]), time.monotonic_ns()))
    table = done.session.rtt()
    table = table[(table["direction"] == FORTH) & (table["dport"] == port)]
    truth, found = _next_srtt(asked, table)
    worst = int(np.argmax(np.abs(found - truth)))
    return [
        Check(
            "rtt",
            "rtt: srtt of an idle connection",
            int(truth[worst]),
            int(found[worst]),
            "ns",
            0,
            f"`ss -ti` in c1, and the next segment's tcp_probe; the worst of {len(truth)} moments, with an srtt between"
            f" {truth.min() / 1000:.0f} and {truth.max() / 1000:.0f} µs",
            done.session.trace_gap_ns,
        )
    ]


def _exchange(bed: Testbed, client: socket.socket, server: socket.socket, wait_s: float) -> None:
    """Send a message and, after a while, an answer, so that the round-trip time varies."""
    client.sendall(bytes(MESSAGE_BYTES))
    read_all(server, MESSAGE_BYTES)
    time.sleep(wait_s)
    server.sendall(bytes(MESSAGE_BYTES))
    read_all(client, MESSAGE_BYTES)


def loaded(bed: Testbed, seconds: int) -> list[Check]:
    """Check the srtt of a connection that sends as fast as possible, by TCP_INFO of its socket.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    seconds : int
        How long to send.
    """
    port = free_port()
    asked: list[tuple[int, int, int]] = []
    rule = Rule(name="rtt", match=f"tcp port {port}", points=("default", "tcp"))
    with recording(bed, rule) as done, connected(bed, port) as (client, server):
        end = time.monotonic() + seconds
        reading = bed.start("c0", _drain, server)
        sending = bed.start("c1", _flood, client, end)
        while time.monotonic() < end:
            asked.append((time.monotonic_ns(), _srtt_ns(client), time.monotonic_ns()))
            time.sleep(_EVERY_S)
        sending.result(timeout=30)
        reading.result(timeout=30)
    table = done.session.rtt()
    table = table[(table["direction"] == FORTH) & (table["dport"] == port)]
    truth, found = _next_srtt(asked, table)
    same = np.count_nonzero(truth == found)
    return [
        _close(
            "srtt under load, median",
            float(np.median(truth)),
            float(np.median(found)),
            done.session,
            f"TCP_INFO (which `ss -ti` prints) of a socket that sends as fast as possible, and the next segment's"
            f" tcp_probe: equal in {same:,} of {len(truth):,} moments without an arriving segment, of {len(asked):,}",
        )
    ]


def _flood(connection: socket.socket, end: float) -> None:
    while time.monotonic() < end:
        connection.sendall(bytes(1 << 18))
    connection.shutdown(socket.SHUT_WR)


def _drain(connection: socket.socket) -> None:
    while connection.recv(1 << 18):
        pass


def _srtt_ns(connection: socket.socket) -> int:
    return 1000 * struct.unpack_from("=I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), _RTT_AT)[0]


def _next_srtt(asked: list[tuple[int, int, int]], table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the srtt of the socket at moments without an arriving segment, and that of the next segment's tcp_probe.

    Raises
    ------
    WorkloadError
        There is no such moment.
    """
    before_ns, answer_ns, after_ns = np.array(asked).T
    at = np.searchsorted(table["ts_ns"], after_ns)
    clear = (at < len(table)) & (np.searchsorted(table["ts_ns"], before_ns) == at)
    if not clear.any():
        raise WorkloadError(
            "no segment came after the socket was read", why=f"{len(table)} segments were seen in total"
        )
    return answer_ns[clear], table["srtt_ns"].to_numpy()[at[clear]]


def ping_pong(bed: Testbed, protocol: str, seconds: int) -> list[Check]:
    """Compare the median round-trip time of messages with that of sockperf.

    sockperf takes the time before it calls send and after recv has returned. In cmonlab a round trip begins where the
    message is first seen (TCP: when it is given to the socket; UDP: to the device) and ends when the answer is read. So
    the reference value has bounds: sockperf's median, and the same less the time from a call of send to the device,
    for which the kernel's own stamps give an upper bound (`way_in_ns`). The tolerance is added to both.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    protocol : {"tcp", "udp"}
        Protocol to use.
    seconds : int
        How long to run.

    Raises
    ------
    WorkloadError
        sockperf reported no median.
    """
    port = free_port()
    rule = Rule(name="messages", match=f"{protocol} port {port} and host {SERVER}", points=("default", "socket"))
    with recording(bed, rule) as done:
        output = sockperf(bed, protocol, port, seconds, MESSAGE_BYTES)
    found = _MEDIAN_US.search(output)
    if not found:
        raise WorkloadError("sockperf reported no median", why=output[-300:])
    took = round_trips(done.session)
    begin = (
        "tcp_sendmsg_locked" if protocol == "tcp" and "tcp_sendmsg_locked" in _points(done.session) else "the device"
    )
    reported_ns = 1000 * float(found[1])
    unseen_ns = way_in_ns(bed) if begin == "the device" else 0.0
    note = (
        f"sockperf --full-rtt: {found[1]} us; cmonlab: {len(took):,} round trips from {begin} to the read of the"
        f" answer. Of those of sockperf, up to {unseen_ns / 1000:.1f} us are before (SO_TIMESTAMPING); the truth"
        " is in the middle, and half of that time is in the tolerance"
    )
    check = _close(f"sockperf {protocol}, p50", reported_ns - unseen_ns / 2, float(np.median(took)), done.session, note)
    return [replace(check, tolerance=max(_TOLERANCE_NS, _TOLERANCE * reported_ns) + unseen_ns / 2)]


def way_in_ns(bed: Testbed) -> float:
    """Return an upper bound of the time from a program's clock before send to the queue of the device, for UDP.

    It is the median of messages that this program sends. Python and the stamp itself take longer than a program in C.
    The queue's time is the kernel's stamp (SOF_TIMESTAMPING_TX_SCHED, net/core/dev.c); no tracepoint is involved.

    Parameters
    ----------
    bed : Testbed
        The testbed.

    Returns
    -------
    float
        Time in ns.
    """
    port, message = free_port(), bytes(MESSAGE_BYTES)
    with udp_socket(bed, "c0", port), udp_socket(bed, "c1") as client:
        stamp_sent(client)
        called = []
        for _ in range(_WAY_IN_MESSAGES):
            called.append(now_ns())
            client.sendto(message, (SERVER, port))
        queued, _ = sent_stamps(client)
    return float(np.median(queued.to_numpy() - np.array(called)[queued.index.to_numpy()]))


def _points(session: Session) -> set[str]:
    return set(session.events["point"].cat.categories)


def round_trips(session: Session) -> np.ndarray:
    """Return the time from each message to the read of its answer, within sockperf's measurement time.

    Returns
    -------
    numpy.ndarray of int64, shape (messages,)
        Times in ns.

    Raises
    ------
    WorkloadError
        No message came back.
    """
    table = session.journeys()
    table = table[table["complete"] & (table["payload_bytes"] == MESSAGE_BYTES)]
    sent = np.sort(table.loc[table["direction"] == FORTH, "start_ns"].to_numpy())
    answers = table[(table["direction"] == BACK) & (table["outcome"] == "delivered")]
    read = np.sort((answers["start_ns"] + answers["one_way_delay_ns"]).to_numpy())
    if len(sent) == 0 or len(read) == 0:
        raise WorkloadError("no message came back")
    which = np.searchsorted(sent, read) - 1
    # If two answers have the same message, the message of the second one was not seen.
    first = np.flatnonzero(np.diff(which, prepend=-1) > 0)
    began, took = sent[which[first]], read[first] - sent[which[first]]
    return took[(began > sent[0] + _WARM_UP_NS) & (began < sent[-1] - _COOL_DOWN_NS)]


def _close(name: str, truth: float, measured: float, session: Session, note: str) -> Check:
    tolerance = max(_TOLERANCE_NS, _TOLERANCE * truth)
    return Check("rtt", f"rtt: {name}", truth, measured, "ns", tolerance, note, session.trace_gap_ns)
