"""Loss of datagrams at filters, rules, full queues, full sockets and closed ports, which count what they drop."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial

import pandas as pd

from cmonlab.errors import WorkloadError
from cmonlab.rules import Rule
from cmonlab.session.session import Session

from ...testbed.dropper import Count, classifier, counter, nft_rule, queue
from ...testbed.testbed import Testbed
from ...testbed.traffic import ADDRESS, free_port, hash_of, receive_udp, recording, send_udp, udp_socket
from ..check import Check

GROUP = "loss"
THERE, BACK = "c1 → c0", "c0 → c1"
SIZE = 100

#: Name, reference value and measured value.
Value = tuple[str, float, float]

_EVERY, _ANSWERS, _READ_S = 10, 100, 20
_LARGE_BYTES, _SMALL_BYTES = 64 << 20, 20_000
_BY_PROGRAM = "counter of the tc program that drops every 10th datagram"
_BY_RULE = "counter of the nftables rule that drops every 10th datagram"
_BY_QDISC = "the qdisc's own counter (tc -s)"


@dataclass(frozen=True)
class Scenario:
    """One way to lose packets from c1 to c0.

    Attributes
    ----------
    name : str
        Name of the scenario.
    place, reason : str
        Place and reason of the drops, as in the table of drops.
    note : str
        Where the reference value comes from.
    drops : callable
        Takes a testbed and a destination port; returns a context manager that drops packets, and yields a function
        that returns how many.
    version : int
        IP version, 4 or 6.
    buffer_bytes : int
        Receive buffer of the receiving socket; 0: there is no socket.
    between : bool
        Whether the drops are between the points that count sent and arrived packets.
    """

    name: str
    place: str
    reason: str
    note: str
    drops: Callable[[Testbed, int], AbstractContextManager[Count]]
    version: int = 4
    buffer_bytes: int = _LARGE_BYTES
    between: bool = True


def dropping_program(bed: Testbed, port: int, every: int) -> AbstractContextManager[Count]:
    """Drop packets to a port where they enter the bridge.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    port : int
        Destination port.
    every : int
        Drop the last one of this many packets.

    Returns
    -------
    context manager
        See `dropper.classifier`.
    """
    return classifier(bed, ("host", "veth1", "ingress"), port, every)


def _program(place: tuple[str, str, str], version: int = 4) -> Callable:
    return lambda bed, port: classifier(bed, place, port, _EVERY, version)


def _rule(version: int = 4) -> Callable:
    return lambda bed, port: nft_rule(bed, "host", port, _EVERY, version)


def _queue(*qdiscs: str) -> Callable:
    return lambda bed, port: queue(bed, "host", "veth0", *qdiscs)


def _counted(file: str, name: str) -> Callable:
    return lambda bed, port: counter(bed, "c0", file, name)


SCENARIOS = (
    Scenario("tc program at ingress", "host:veth1", "TC_INGRESS", _BY_PROGRAM, _program(("host", "veth1", "ingress"))),
    Scenario("tc program at egress", "host:veth0", "TC_EGRESS", _BY_PROGRAM, _program(("host", "veth0", "egress"))),
    Scenario(
        "tc program at the source",
        "c1:eth0",
        "TC_EGRESS",
        _BY_PROGRAM,
        _program(("c1", "eth0", "egress")),
        between=False,
    ),
    Scenario("tc program, IPv6", "host:veth1", "TC_INGRESS", _BY_PROGRAM, _program(("host", "veth1", "ingress"), 6), 6),
    Scenario("nftables rule on the bridge", "host:veth0", "NETFILTER_DROP", _BY_RULE, _rule()),
    Scenario("nftables rule on the bridge, IPv6", "host:veth0", "NETFILTER_DROP", _BY_RULE, _rule(6), 6),
    Scenario(
        "full tbf queue", "host:veth0", "QDISC_DROP", _BY_QDISC, _queue("root tbf rate 10mbit burst 4000 limit 8000")
    ),
    Scenario(
        "full pfifo queue of htb",
        "host:veth0",
        "QDISC_DROP",
        _BY_QDISC,
        _queue(
            "root handle 1: htb default 1",
            "parent 1: classid 1:1 htb rate 10mbit quantum 1500",
            "parent 1:1 pfifo limit 20",
        ),
    ),
    Scenario(
        "full socket buffer",
        "c0:eth0",
        "SOCKET_RCVBUFF",
        "RcvbufErrors in /proc/net/snmp",
        _counted("snmp", "UdpRcvbufErrors"),
        buffer_bytes=_SMALL_BYTES,
        between=False,
    ),
    Scenario(
        "no listener",
        "c0:eth0",
        "NO_SOCKET",
        "NoPorts in /proc/net/snmp",
        _counted("snmp", "UdpNoPorts"),
        buffer_bytes=0,
        between=False,
    ),
    Scenario(
        "no listener, IPv6",
        "c0:eth0",
        "NO_SOCKET",
        "NoPorts in /proc/net/snmp6",
        _counted("snmp6", "Udp6NoPorts"),
        6,
        buffer_bytes=0,
        between=False,
    ),
)


def scenarios(bed: Testbed, quick: bool) -> list[tuple[str, Callable[[], list[Check]]]]:
    """Return the scenarios.

    Parameters
    ----------
    bed : Testbed
        A testbed without other traffic.
    quick : bool
        Send fewer packets.

    Returns
    -------
    list of (str, callable)
        Name, and function that runs the scenario and returns its checks.
    """
    count = 1_009 if quick else 5_003
    return [(scenario.name, partial(_score, bed, scenario, count)) for scenario in SCENARIOS]


def checks_of(scenario: str, values: list[Value], note: str, session: Session) -> list[Check]:
    """Return exact checks of values.

    Parameters
    ----------
    scenario : str
        Name of the scenario.
    values : list of Value
        Numbers of packets.
    note : str
        Where the reference values come from.
    session : Session
        The recording.
    """
    return [
        Check(GROUP, f"{scenario}: {name}", float(truth), float(measured), "packets", 0, note, session.trace_gap_ns)
        for name, truth, measured in values
    ]


def _score(bed: Testbed, scenario: Scenario, count: int) -> list[Check]:
    port = free_port()
    match = f"udp port {port}"
    rules = [Rule(name="each", match=match), Rule(name="sum", match=match, mode="aggregate")]
    with scenario.drops(bed, port) as dropped, recording(bed, rules) as done:
        read, answers = _exchange(bed, scenario, port, count, dropped)
        missing = dropped()
    session = done.session
    reason = reason_here(session, scenario.reason)
    values = _captured(scenario, reason, session, count, missing, read, answers)
    values += _aggregated(scenario, reason, session, missing)
    return checks_of(scenario.name, values, scenario.note, session)


def reason_here(session: Session, reason: str) -> str:
    """Return the drop reason that this kernel reports: kernels without that reason report NOT_SPECIFIED.

    Parameters
    ----------
    session : Session
        Its manifest has the drop reasons that the kernel knows.
    reason : str
        The reason in newer kernels.
    """
    return reason if reason in session.manifest["drop_reasons"].values() else "NOT_SPECIFIED"


def _exchange(bed: Testbed, scenario: Scenario, port: int, count: int, dropped: Count) -> tuple[set[int], int]:
    """Send from c1 to c0, read when all is sent, and send answers back if c0 has a socket.

    Returns
    -------
    set of int
        The numbers of the datagrams that were read.
    int
        How many answers came back.
    """
    version = scenario.version
    with ExitStack() as stack:
        sender = stack.enter_context(udp_socket(bed, "c1", 0, version))
        receiver = None
        if scenario.buffer_bytes:
            receiver = stack.enter_context(udp_socket(bed, "c0", port, version, scenario.buffer_bytes))
        bed.call("c1", send_udp, sender, (ADDRESS[version]["c0"], port), SIZE, count)
        read = read_rest(receiver, count, dropped)
        if receiver is None:
            return read, 0
        home = ADDRESS[version]["c1"], sender.getsockname()[1]
        bed.call("c0", send_udp, receiver, home, SIZE, _ANSWERS)
        return read, len(bed.call("c1", receive_udp, sender, _ANSWERS))


def read_rest(receiver: socket.socket | None, count: int, dropped: Count) -> set[int]:
    """Read until every datagram is read or dropped.

    Parameters
    ----------
    receiver : socket.socket, optional
        The receiving socket; None if nobody receives.
    count : int
        Number of datagrams that were sent.
    dropped : callable
        Returns how many datagrams have been dropped.

    Returns
    -------
    set of int
        Numbers of the datagrams that were read.

    Raises
    ------
    WorkloadError
        Some datagrams are neither read nor dropped after some time.
    """
    read: set[int] = set()
    deadline = time.monotonic() + _READ_S
    while len(read) + (missing := dropped()) < count:
        if time.monotonic() > deadline:
            raise WorkloadError(f"of {count} datagrams {len(read)} arrived and {missing} were dropped")
        while receiver is not None and select.select([receiver], [], [], 0.01)[0]:
            read.add(int.from_bytes(receiver.recv(2048)[:4], "big"))
    return read


def _captured(
    scenario: Scenario, reason: str, session: Session, count: int, missing: int, read: set[int], answers: int
) -> list[Value]:
    """Return reference values, and values of the tables of mode capture."""
    loss, drops = session.loss().set_index("direction"), session.drops()
    journeys, events = session.journeys(), session.events
    right = (drops["place"] == scenario.place) & (drops["reason"] == reason) & (drops["direction"] == THERE)
    gone = {hash_of(number, SIZE) for number in set(range(count)) - read}
    freed = set(events.loc[events["point"] == "kfree_skb", "seq"].tolist())
    called = set(journeys.loc[journeys["outcome"] == "dropped", "seq"].tolist())

    def of(direction: str, *columns: str) -> int:
        return int(loss.loc[direction, list(columns)].sum()) if direction in loss.index else 0

    return [
        ("sent", count, of(THERE, "packets")),
        ("dropped", missing, of(THERE, "dropped")),
        (f"dropped at {scenario.place}", missing, (drops["place"] == scenario.place).sum()),
        (f"dropped for {reason}", missing, (drops["reason"] == reason).sum()),
        ("dropped and missed by the receiver", count - len(read), len(gone & freed)),
        ("journeys reported as dropped, but read", 0, len(called - gone)),
        ("arrived", len(read), of(THERE, "delivered", "arrived")),
        ("answers that arrived", answers, of(BACK, "delivered", "arrived")),
        ("anything else reported as lost", 0, (~right).sum() + of(BACK, "dropped") + loss["unfinished"].sum()),
    ]


def _aggregated(scenario: Scenario, reason: str, session: Session, missing: int) -> list[Value]:
    """Return reference values, and values of the tables of mode aggregate, for the same packets."""
    drops, pairs = session.drop_counts(), session.pairs()
    right = (drops["place"] == scenario.place) & (drops["reason"] == reason) & (drops["direction"] == THERE)
    return [
        ("aggregate, dropped at that place for that reason", missing, drops.loc[right, "packets"].sum()),
        ("aggregate, dropped anywhere", missing, pairs["dropped"].sum()),
        ("aggregate, sent and missing", missing if scenario.between else 0, lost_of(pairs)),
    ]


def lost_of(pairs: pd.DataFrame) -> float:
    """Return how many packets of a table of pairs are missing at the end, over all directions."""
    return pairs.groupby(["rule", "direction"], observed=True)["lost_total"].last().sum(skipna=False)
