"""Delays of queues that are shaped: at a bridge's port, and at the sender's device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import pandas as pd

from ..errors import NotTraceable
from .check import Check, Unavailable, settled
from .score import GROUP, between, compared, hops_of, leaked, others, queueing
from .stamps import Tap, sent_stamps, stamp_sent
from .testbed import Testbed, command
from .traffic import ADDRESS, free_port, receive_udp, recording, send_udp, udp_socket

LINK_BYTES = 1000  # of a packet with its Ethernet header, as queueing disciplines count
SIZE = LINK_BYTES - 14 - 20 - 8
BURST = 4  # packets that the bucket holds: what a late timer costs one packet, the next ones do not wait for
_SO_SNDBUFFORCE = 32
ARRIVED = "c0:eth0 receive"


@dataclass(frozen=True)
class Burst:
    """What is known of a burst: the hops, the stamps at places, and how long tracepoints were silent."""

    hops: pd.DataFrame
    came: Mapping[int, int]
    left: Mapping[int, int]
    queued: Mapping[int, int]
    driven: Mapping[int, int]
    blind_ns: int


def run(bed: Testbed, quick: bool) -> Iterator[list[Check] | Unavailable]:
    """Yield the checks of each situation."""
    count = 150 if quick else 600
    for rate_mbit in (20, 100):
        yield settled(partial(_tbf, bed, count, rate_mbit))
    yield settled(partial(_htb, bed, count))
    try:
        with _qdisc(bed, "host", "veth0", "netem", "delay", "1ms"):
            pass
    except NotTraceable as error:
        yield Unavailable(GROUP, "delay: netem at the bridge's port", f"netem is refused: {error.why}")
    else:
        for delay_ms in (1, 10):
            yield settled(partial(_netem, bed, count, delay_ms))


def _tbf(bed: Testbed, count: int, rate_mbit: int) -> Iterator[Check]:
    """Shape the bridge's port: the k-th packet of a burst waits for the bucket."""
    plain = send_burst(bed, count)
    words = ("tbf", "rate", f"{rate_mbit}mbit", "burst", str(BURST * LINK_BYTES), "limit", "100mb")
    with _qdisc(bed, "host", "veth0", *words):
        burst = send_burst(bed, count)
    name, reported = f"tbf of {rate_mbit} Mbit/s at the bridge's port", queueing(burst.hops, "host:veth0")
    waits = bucket_waits(burst.came, rate_mbit / 8e3, BURST * LINK_BYTES)
    held = [number for number, wait in waits.items() if wait > 0]
    note = (
        f"Computed: the wait for tokens of a bucket of {BURST} packets of {LINK_BYTES} bytes, from when each came to "
        "the bridge (the kernel's stamps at a packet socket). The kernel's timer releases a packet late, never early."
    )
    told = {number: waits[number] for number in held}
    yield from compared(f"{name}, computed", told, reported, sent=len(held), note=note, blind_ns=burst.blind_ns)[:3]
    clock = {number: left - burst.came[number] for number, left in burst.left.items() if number in burst.came}
    note = (
        "The kernel's stamps of the same packets at packet sockets, where they came to the bridge and where they left "
        "its port, beside all segments between these places."
    )
    way = between(burst.hops, "host:veth1 rx", "host:veth0 xmit")
    yield from compared(f"{name}, by packet sockets", clock, way, sent=count, note=note, blind_ns=burst.blind_ns)
    yield _leak(name, plain, burst, reported)


def _htb(bed: Testbed, count: int) -> Iterator[Check]:
    """Shape the sender's device, which the kernel stamps packets at for their socket."""
    plain = send_burst(bed, count, stamped=True)
    with _qdisc(bed, "c1", "eth0", "htb", "default", "1"):
        rate = ("rate", "50mbit", "burst", str(BURST * LINK_BYTES), "cburst", str(BURST * LINK_BYTES))
        _tc(bed, "c1", "class", "add", "dev", "eth0", "parent", "1:", "classid", "1:1", "htb", *rate)
        burst = send_burst(bed, count, stamped=True)
    reported = queueing(burst.hops, "c1:eth0")
    clock = {number: burst.driven[number] - at for number, at in burst.queued.items() if number in burst.driven}
    held = {number: wait for number, wait in clock.items() if number >= 2 * BURST}
    note = (
        "The kernel's transmit stamps of the sending socket (SO_TIMESTAMPING): where a packet comes to the device's "
        "queue, and where its driver has it; without the first, which the bucket lets pass."
    )
    name = "htb of 50 Mbit/s at the sender's device"
    yield from compared(name, held, reported, sent=count - 2 * BURST, note=note, blind_ns=burst.blind_ns)
    yield _leak(name, plain, burst, reported)


def _netem(bed: Testbed, count: int, delay_ms: int) -> Iterator[Check]:
    """Delay every packet at the bridge's port by the same time."""
    plain = send_burst(bed, count)
    with _qdisc(bed, "host", "veth0", "netem", "delay", f"{delay_ms}ms", "limit", "100000"):
        burst = send_burst(bed, count)
    name, reported = f"netem of {delay_ms} ms at the bridge's port", queueing(burst.hops, "host:veth0")
    note = "As netem was told; its timer releases a packet late, never early."
    told = dict.fromkeys(range(count), delay_ms * 1e6)
    yield from compared(name, told, reported, sent=count, note=note, blind_ns=burst.blind_ns)
    yield _leak(name, plain, burst, reported)


def _leak(name: str, plain: Burst, burst: Burst, reported: pd.Series) -> Check:
    note = (
        "Up to the arrival in c0; it is read after the burst, so packets wait in the socket for as long as that takes."
    )
    place = reported.iloc[:0]
    return leaked(name, others(plain.hops, place, ARRIVED), others(burst.hops, reported, ARRIVED),
                  float(reported.median()), note=note, blind_ns=plain.blind_ns + burst.blind_ns)  # fmt: skip


def send_burst(bed: Testbed, count: int, stamped: bool = False) -> Burst:
    """Send datagrams back to back from c1 to c0 and return what is known of them."""
    port = free_port()
    receiver, sender = udp_socket(bed, "c0", port), udp_socket(bed, "c1")
    with receiver, sender, Tap(bed, "host", "veth1", port) as came, Tap(bed, "host", "veth0", port) as left:
        sender.setsockopt(1, _SO_SNDBUFFORCE, 16 << 20)
        if stamped:
            stamp_sent(sender)
        with recording(bed, f"udp port {port}") as done:
            # Read afterwards: a reader beside the sender would keep it from sending back to back.
            bed.call("c1", send_udp, sender, (ADDRESS[4]["c0"], port), SIZE, count)
            bed.call("c0", receive_udp, receiver, count)
        stamps = sent_stamps(sender) if stamped else ({}, {})
        hops = hops_of(done.session, port, SIZE, count)
        return Burst(hops, came.stamps(), left.stamps(), *stamps, done.session.blind_ns)


def bucket_waits(came_ns: Mapping[int, int], rate_bytes_ns: float, bucket_bytes: float) -> dict[int, float]:
    """Return how long each packet waits for the tokens of a bucket that is full at first.

    Parameters
    ----------
    came_ns : mapping of int to int
        When each packet of `LINK_BYTES` comes, by its number.
    rate_bytes_ns : float
        Bytes a nanosecond.
    bucket_bytes : float
        What the bucket holds.
    """
    tokens, free, waits = float(bucket_bytes), 0.0, {}
    for number, came in sorted(came_ns.items()):
        start = max(float(came), free)
        tokens = min(bucket_bytes, tokens + (start - free) * rate_bytes_ns) if free else tokens
        free = start + max(0.0, (LINK_BYTES - tokens) / rate_bytes_ns)
        tokens = max(0.0, tokens - LINK_BYTES)
        waits[number] = free - came
    return waits


@contextmanager
def _qdisc(bed: Testbed, name: str, device: str, *words: str) -> Iterator[None]:
    """Give a device a queueing discipline while the block lasts."""
    handle = ("handle", "1:") if words[0] == "htb" else ()
    _tc(bed, name, "qdisc", "add", "dev", device, "root", *handle, *words)
    try:
        yield
    finally:
        _tc(bed, name, "qdisc", "del", "dev", device, "root")


def _tc(bed: Testbed, name: str, *words: str) -> None:
    command("tc", "-n", bed.namespaces[name], *words)
