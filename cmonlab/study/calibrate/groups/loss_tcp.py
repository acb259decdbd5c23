"""Loss of TCP segments: drops and retransmissions, compared with the kernel's counters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pandas as pd

from cmonlab.rules import Rule
from cmonlab.session.session import Session

from ...testbed.dropper import classifier, counter
from ...testbed.testbed import Testbed, ip
from ...testbed.traffic import free_port, recording, send_tcp
from ..check import Check
from .loss_udp import BACK, THERE, Value, checks_of, lost_of, reason_here

_EVERY = 50
_SEGMENTS_AT_MOST = 65535  # the default of a device's gso_max_segs
_NOTE = "dropped: counter of the tc program that drops every 50th segment; retransmitted: RetransSegs in /proc/net/snmp"


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
    size = 2 << 20 if quick else 4 << 20
    return [
        (name, partial(_score, bed, name, version, size))
        for name, version in (("TCP, every 50th segment", 4), ("TCP, every 50th segment, IPv6", 6))
    ]


@contextmanager
def single_segments(bed: Testbed, namespace: str, device: str) -> Iterator[None]:
    """Limit GSO packets to one segment, so that packets are the segments that the kernel's counters count.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    namespace, device : str
        Namespace and device.
    """
    words = ("-n", bed.namespaces[namespace], "link", "set", "dev", device, "gso_max_segs")
    ip(*words, "1")
    try:
        yield
    finally:
        ip(*words, str(_SEGMENTS_AT_MOST))


def _score(bed: Testbed, name: str, version: int, size: int) -> list[Check]:
    port = free_port()
    match = f"tcp port {port}"
    rules = [Rule(name="each", match=match), Rule(name="sum", match=match, mode="aggregate")]
    with (
        single_segments(bed, "c1", "eth0"),
        classifier(bed, ("host", "veth1", "ingress"), port, _EVERY, version) as dropped,
        counter(bed, "c1", "snmp", "TcpRetransSegs") as again,
        counter(bed, "c0", "snmp", "TcpRetransSegs") as back,
        recording(bed, rules) as done,
    ):
        send_tcp(bed, port, size, version)
        done.capture.drain()
        missing, repeated = dropped(), {THERE: again(), BACK: back()}
    return checks_of(name, _values(done.session, missing, repeated), _NOTE, done.session)


def _values(session: Session, missing: int, repeated: dict[str, int]) -> list[Value]:
    drops, again, pairs = session.drops(), session.retransmissions(), session.pairs()
    loss = session.loss().set_index("direction")
    reason = reason_here(session, "TC_INGRESS")
    right = _right(drops, reason) & (drops["direction"] == THERE)
    journeys = session.journeys().set_index("journey")
    lost = journeys.loc[drops.loc[right & (drops["journey"] >= 0), "journey"]]
    bytes_lost = set(lost.loc[lost["payload_bytes"] > 0, "seq"].tolist())
    # The receiving TCP drops a segment that comes twice because it was only late; the network has not lost it.
    twice = drops["reason"].astype(str).str.startswith("TCP_") & drops["place"].isin(["c0:eth0", "c1:eth0"])
    by_direction = pairs.groupby("direction", observed=True)["retransmissions"].sum()
    return [
        ("dropped at that place for that reason", missing, right.sum()),
        ("anything else reported as lost", 0, (~right & ~twice).sum() + loss["unfinished"].sum()),
        ("dropped segments that were retransmitted", len(bytes_lost), len(bytes_lost & set(again["seq"].tolist()))),
        *((f"retransmitted, {way}", count, (again["direction"] == way).sum()) for way, count in repeated.items()),
        *(
            (f"retransmitted by the table of loss, {way}", count, loss["retransmissions"].get(way, 0))
            for way, count in repeated.items()
        ),
        ("aggregate, dropped at that place for that reason", missing, _counted(session.drop_counts(), reason)),
        ("aggregate, sent and missing", missing, lost_of(pairs)),
        *((f"aggregate, retransmitted, {way}", count, by_direction.get(way, 0)) for way, count in repeated.items()),
    ]


def _right(drops: pd.DataFrame, reason: str) -> pd.Series:
    """Return which drops have the place and the reason of this scenario."""
    return (drops["place"] == "host:veth1") & (drops["reason"] == reason)


def _counted(drops: pd.DataFrame, reason: str) -> int:
    return int(drops.loc[_right(drops, reason), "packets"].sum())
