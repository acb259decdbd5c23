"""TCP: as many journeys as a packet socket sees packets, with and without retransmission, GSO, GRO and NAT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import pandas as pd

from cmonlab.session.session import Session

from ...testbed.paths import GRO, OUTSIDE, TSO, largest_segments, netfilter, offload, routed
from ...testbed.streams import Sniffer, Transfer, transfer
from ...testbed.testbed import Testbed
from ...testbed.traffic import ADDRESS, free_port, recording
from ..check import Check
from ..matches import exact, lost_hops, mixed, out_of_balance, wrong_stream_reads

_PAYLOAD_BYTES = 1448
_FORTH = "c1 → c0"
_EVERY, _LEAST_BYTES = 32, 512
#: iptables' u32: packets of at least that length whose identification is a multiple of `_EVERY`.
_KNOWN = f"0 & 0xffff = {_LEAST_BYTES}:65535 && 2 & {_EVERY - 1} = 0"


@dataclass(frozen=True)
class Route:
    """The path of a connection, and what happens to its segments.

    Attributes
    ----------
    bind, target : str
        Address of c0's server, and the one that c1 connects to.
    interface : str
        Interface on which segments leave c1.
    dropped : bool
        Data segments whose identification is a multiple of 32 are dropped at c0.
    parts : bool
        c1's device gets GSO packets, which the kernel splits before the packet socket sees them.
    """

    bind: str = ADDRESS[4]["c0"]
    target: str = ADDRESS[4]["c0"]
    interface: str = "eth0"
    dropped: bool = False
    parts: bool = False


@contextmanager
def small(bed: Testbed, route: Route) -> Iterator[Route]:
    """Send one segment per packet.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    route : Route
        The route to change.
    """
    with largest_segments(bed, 1):
        yield route


@contextmanager
def large(_bed: Testbed, route: Route) -> Iterator[Route]:
    """Send GSO packets of many segments.

    Parameters
    ----------
    _bed : Testbed
        Not needed.
    route : Route
        The route, unchanged.
    """
    yield route


@contextmanager
def repeated(bed: Testbed, route: Route) -> Iterator[Route]:
    """Drop known segments, so that TCP retransmits them.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    route : Route
        The route to change.
    """
    drop = ("filter", "INPUT", "-p", "tcp", "-m", "u32", "--u32", _KNOWN, "-j", "DROP")
    with largest_segments(bed, 1), netfilter(bed, "c0", *drop):
        yield replace(route, dropped=True)


@contextmanager
def merged(bed: Testbed, route: Route) -> Iterator[Route]:
    """Send GSO packets that are split in software at c1's device, and merged by GRO at c0's.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    route : Route
        The route to change.
    """
    switches = (("c0", "eth0", GRO, True), ("host", "veth0", TSO, False), ("c1", "eth0", TSO, False))
    with ExitStack() as stack:
        for switch in switches:
            stack.enter_context(offload(bed, *switch))
        yield replace(route, parts=True)


@contextmanager
def translated(bed: Testbed, route: Route) -> Iterator[Route]:
    """Send through a router that translates the addresses of both ends.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    route : Route
        The route to change.
    """
    there = ("nat", "PREROUTING", "-d", OUTSIDE["host"], "-p", "tcp", "-j", "DNAT", "--to-destination", route.bind)
    back = ("nat", "POSTROUTING", "-s", "10.78.0.0/24", "-j", "MASQUERADE")
    with routed(bed), netfilter(bed, "host", *there), netfilter(bed, "host", *back):
        yield replace(route, target=OUTSIDE["host"], interface="eth1")


_IPV6 = Route(ADDRESS[6]["c0"], ADDRESS[6]["c0"])
KINDS: dict[str, tuple[Callable, Route]] = {
    "TCP": (small, Route()),
    "TCP retransmission": (repeated, Route()),
    "TCP GSO": (large, Route()),
    "TCP GSO and GRO": (merged, Route()),
    "TCP NAT": (translated, Route()),
    "TCP IPv6": (small, _IPV6),
    "TCP IPv6 GSO": (large, _IPV6),
}


def checked(bed: Testbed, title: str, name: str, count: int, pace_pps: float | None) -> list[Check]:
    """Record a transfer of one kind, and return its checks.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    title : str
        Name of the scenario.
    name : str
        Key of `KINDS`.
    count : int
        Number of full segments to send.
    pace_pps : float, optional
        Segments per second; by default as fast as possible.
    """
    make, route = KINDS[name]
    port = free_port()
    pace_bps = None if pace_pps is None else pace_pps * _PAYLOAD_BYTES * 8
    with (
        make(bed, route) as route,
        recording(bed, f"tcp port {port}") as done,
        Sniffer(bed, route.interface) as sniffer,
    ):
        sent = transfer(bed, route.bind, port, route.target, count * _PAYLOAD_BYTES, pace_bps)
    return checks(title, route, done.session, sniffer, sent)


def checks(title: str, route: Route, session: Session, sniffer: Sniffer, sent: Transfer) -> list[Check]:
    """Return the checks of a recorded transfer.

    Parameters
    ----------
    title : str
        Name of the scenario.
    route : Route
        Path of the connection.
    session : Session
        The recording.
    sniffer : Sniffer
        Packets that the packet socket saw.
    sent : Transfer
        Result of the transfer.
    """
    check, table = exact(session), session.journeys()
    table = table[table["outcome"] != "split"] if route.parts else table
    seen = _packets(table)
    known = Counter(packet[:3] for packet in sniffer.packets.elements())
    note = (
        f"by a packet socket at c1's {route.interface}, which missed {sniffer.missed}; "
        f"{sent.reads.number[-1] * 8 / sent.seconds / 1e6:,.0f} Mbit/s; "
        f"{session.lost_events} lost events, {lost_hops(session)} of them hops"
    )
    whole = table["complete"] | (table["outcome"] == "dropped")
    found = [
        check(f"{title}: journeys without a packet", 0, (seen - known).total(), note=note),
        check(
            f"{title}: false matches",
            0,
            false_matches(session, sent, route),
            note=("by each packet's place at each hop among those of its sequence number, and by the reader's log"),
        ),
    ]
    if lost_hops(session):
        return [*found, check(f"{title}: ledger out of balance", 0, out_of_balance(session), note=note)]
    found += [
        check(f"{title}: journeys", known.total(), seen.total(), note=note),
        check(f"{title}: complete or dropped journeys", known.total(), int(whole.sum()), note=note),
    ]
    return [*found, *_repetitions(check, title, session, sniffer, sent)] if route.dropped else found


def _packets(table: pd.DataFrame) -> Counter:
    outgoing = table["direction"] == _FORTH
    return Counter(zip(outgoing.tolist(), table["seq"].tolist(), table["len_bytes"].tolist(), strict=True))


def false_matches(session: Session, sent: Transfer, route: Route) -> int:
    """Return how many journeys mix segments, or end with a read that did not take their last byte.

    Equal acknowledgements can come from two CPUs. Only their IPv4 identification distinguishes them, so over IPv6 only
    the direction of the data is checked.

    Parameters
    ----------
    session : Session
        The recording.
    sent : Transfer
        Result of the transfer.
    route : Route
        Path of the connection.
    """
    judged = _FORTH if ":" in route.bind else None
    return mixed(session, ("seq", "ident"), judged) + wrong_stream_reads(session, sent.reads, _FORTH)


def _repetitions(check: Callable, title: str, session: Session, sniffer: Sniffer, sent: Transfer) -> list[Check]:
    """Return the checks of dropped and retransmitted segments."""
    table = session.journeys()
    must = Counter(packet[1] for packet in sniffer.packets.elements() if is_dropped(packet))
    dropped = table[(table["outcome"] == "dropped") & (table["drop_reason"] == "NETFILTER_DROP")]
    right = (Counter(dropped["seq"].tolist()) & must).total()
    note = "the rule drops data whose identification is a multiple of 32; the packet socket saw these"
    again = session.retransmissions()
    return [
        check(f"{title}: segments dropped", must.total(), right, note=note),
        check(f"{title}: other segments dropped", 0, len(dropped) - right, note=note),
        check(f"{title}: retransmitted segments", sent.retransmitted, len(again), note="by the kernel's tcp_info"),
        check(f"{title}: retransmissions with known original", len(again), int((again["original"] >= 0).sum())),
    ]


def is_dropped(packet: tuple[bool, int, int, int]) -> bool:
    """Return whether the rule of `repeated` drops this packet of a `Sniffer`."""
    outgoing, _, length, identification = packet
    return outgoing and length >= _LEAST_BYTES and identification % _EVERY == 0
