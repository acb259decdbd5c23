"""Loss of TCP segments: what was dropped, and what was sent again for it, by the kernel's counters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pandas as pd

from cmonlab.rules import Rule

from ...testbed.dropper import classifier, counter
from ...testbed.testbed import Testbed, ip
from ...testbed.traffic import free_port, recording, send_tcp
from ..check import Check
from .loss_udp import BACK, THERE, Told, checks_of, lost_of, reason_here

_EVERY = 50
_SEGMENTS_AT_MOST = 65535  # the default of a device's gso_max_segs
_NOTE = "dropped: counted by the tc program that drops each 50th segment; sent again: RetransSegs in /proc/net/snmp"


def scenarios(bed: Testbed, quick: bool) -> list[tuple[str, Callable[[], list[Check]]]]:
    """Return name and maker of each scenario."""
    size = 2 << 20 if quick else 4 << 20
    return [
        (name, partial(_score, bed, name, version, size))
        for name, version in (("TCP, each 50th segment", 4), ("TCP, each 50th segment, IPv6", 6))
    ]


@contextmanager
def single_segments(bed: Testbed, namespace: str, device: str) -> Iterator[None]:
    """Let TCP hand a device one segment at a time, so that packets are what the kernel's counters count."""
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
    return checks_of(name, _told(done.session, missing, repeated), _NOTE, done.session)


def _told(session, missing: int, repeated: dict[str, int]) -> list[Told]:
    drops, again, pairs = session.drops(), session.retransmissions(), session.pairs()
    loss = session.loss().set_index("direction")
    reason = reason_here(session, "TC_INGRESS")
    right = _right(drops, reason) & (drops["direction"] == THERE)
    journeys = session.journeys().set_index("journey")
    lost = journeys.loc[drops.loc[right & (drops["journey"] >= 0), "journey"]]
    bytes_lost = set(lost.loc[lost["payload_bytes"] > 0, "seq"].tolist())
    # What comes twice, as it was only late, the receiving TCP drops: no network lost it.
    twice = drops["reason"].astype(str).str.startswith("TCP_") & drops["place"].isin(["c0:eth0", "c1:eth0"])
    by_direction = pairs.groupby("direction", observed=True)["retransmissions"].sum()
    return [
        ("dropped there and for that", missing, right.sum()),
        ("anything else called lost", 0, (~right & ~twice).sum() + loss["unfinished"].sum()),
        ("dropped segments that were sent again", len(bytes_lost), len(bytes_lost & set(again["seq"].tolist()))),
        *((f"sent again, {way}", count, (again["direction"] == way).sum()) for way, count in repeated.items()),
        *(
            (f"sent again by the table of loss, {way}", count, loss["retransmissions"].get(way, 0))
            for way, count in repeated.items()
        ),
        ("aggregate, dropped there and for that", missing, _counted(session.drop_counts(), reason)),
        ("aggregate, sent and missing", missing, lost_of(pairs)),
        *((f"aggregate, sent again, {way}", count, by_direction.get(way, 0)) for way, count in repeated.items()),
    ]


def _right(drops: pd.DataFrame, reason: str) -> pd.Series:
    """Tell which drops are at the place and for the reason of this scenario."""
    return (drops["place"] == "host:veth1") & (drops["reason"] == reason)


def _counted(drops: pd.DataFrame, reason: str) -> int:
    return int(drops.loc[_right(drops, reason), "packets"].sum())
