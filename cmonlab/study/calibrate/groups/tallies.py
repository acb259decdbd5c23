"""Packets that rules sample, count and aggregate: as many as were sent, or as are in the sample."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

from cmonlab.rules import Rule
from cmonlab.session.session import Session
from cmonlab.tracing.kernel.addresses import mix

from ...testbed.flow import SIZE_BYTES, Flow
from ...testbed.flows import made, plain
from ...testbed.senders import Reads, read_messages
from ...testbed.testbed import Testbed
from ...testbed.traffic import recording
from ..check import Check
from ..matches import exact, mixed

_UDP = 17
_PACKET_BYTES = 20 + 8 + SIZE_BYTES
#: How often a datagram passes each point on its path over the bridge.
_HOPS = {"net_dev_queue": 2, "net_dev_start_xmit": 2, "netif_rx": 2, "netif_receive_skb": 2}
SAMPLES = (0.01, 0.1, 0.5)


def is_sampled(seq: int, identification: int, share: float) -> bool:
    """Return whether a UDP datagram over IPv4 is in a sample.

    Parameters
    ----------
    seq : int
        ``seq`` of its events: the hash of the first 8 bytes of its payload.
    identification : int
        Identification of its IP header.
    share : float
        The rule's sample, from 0 to 1.
    """
    return mix(seq ^ _UDP << 24, identification) < round(share * 2**32)


def _send(bed: Testbed, flow: Flow, rule: Rule, rate_pps: float | None) -> tuple[Session, Reads]:
    with recording(bed, rule) as done:
        reading = bed.start("c0", read_messages, flow.receiver, len(flow.numbers))
        bed.call("c1", flow.batch.send, flow.sender, rate_pps)
        reads = reading.result(timeout=60)
    return done.session, reads


def sampled(
    bed: Testbed, title: str, frames: list[bytes], port: int, share: float, rate_pps: float | None
) -> list[Check]:
    """Check a sampling rule with frames whose identification is their number; 20% are sent twice.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    title : str
        Name of the scenario.
    frames : list of bytes
        From `packets.datagrams`.
    port : int
        Their destination port.
    share : float
        The rule's sample, from 0 to 1.
    rate_pps : float, optional
        Packets per second; None: as fast as possible.
    """
    with made(bed, frames, port, repeated=True) as flow:
        rule = Rule(name="some", match=flow.rule, sample=share, points="path")
        session, reads = _send(bed, flow, rule, rate_pps)
    check, table = exact(session), session.journeys()
    truth = [flow.seq_of(number) for number in flow.numbers if is_sampled(flow.seq_of(number), number, share)]
    note = f"hashes of {len(reads):,} packets, computed from the frames; {session.lost_events} lost events"
    wrong = sum(a != b for a, b in zip(table["seq"].tolist(), truth, strict=False))
    left_out = session.ledger().set_index("point")["sampled_out"]
    return [
        check(f"{title}: journeys", len(truth), int(table["complete"].sum()), note=note),
        check(f"{title}: incomplete journeys", 0, int((~table["complete"]).sum()), note=note),
        check(f"{title}: journeys outside of the sample", 0, wrong, note=note),
        check(f"{title}: false matches", 0, mixed(session), note="by each packet's place in the order at each hop"),
        *(
            check(f"{title}: sampled out at {point}", times * (len(flow.numbers) - len(truth)), int(left_out[point]))
            for point, times in _HOPS.items()
        ),
    ]


def counted(bed: Testbed, title: str, count: int, rate_pps: float | None) -> list[Check]:
    """Check a rule of mode count.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    title : str
        Name of the scenario.
    count : int
        How many datagrams to send.
    rate_pps : float, optional
        Packets per second; None: as fast as possible.
    """
    with plain(bed, count) as flow:
        session, _ = _send(bed, flow, Rule(name="n", match=flow.rule, mode="count"), rate_pps)
    return list(_at_points(session, title, count))


def aggregated(bed: Testbed, title: str, count: int, rate_pps: float | None) -> list[Check]:
    """Check a rule of mode aggregate.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    title : str
        Name of the scenario.
    count : int
        How many datagrams to send.
    rate_pps : float, optional
        Packets per second; None: as fast as possible.
    """
    with plain(bed, count) as flow:
        session, _ = _send(bed, flow, Rule(name="sum", match=flow.rule, mode="aggregate", by="flow"), rate_pps)
    flows, check = session.flows(), exact(session)
    flows = flows[flows["direction"] == "c1 → c0"]
    ledger = session.ledger().set_index("point")
    return [
        *_at_points(session, title, count),
        check(f"{title}: packets sent", count, int(flows["packets_sent"].sum())),
        check(f"{title}: packets arrived", count, int(flows["packets_arrived"].sum())),
        check(f"{title}: bytes arrived", count * _PACKET_BYTES, int(flows["bytes"].sum())),
        check(f"{title}: packets lost", 0, float(flows["lost_total"].iloc[-1]) if len(flows) else math.nan),
        check(f"{title}: not aggregated because the map is full", 0, int(ledger["overflowed"].sum())),
    ]


def _at_points(session: Session, title: str, count: int) -> Iterator[Check]:
    check = partial(exact(session), note="sent packets times their hops at this point")
    tallies = {row["point"]: row for row in session.manifest["tallies"]}
    for name, times in _HOPS.items():
        yield check(f"{title}: packets at {name}", times * count, tallies[name]["packets"])
        yield check(f"{title}: bytes at {name}", times * count * _PACKET_BYTES, tallies[name]["bytes"])
