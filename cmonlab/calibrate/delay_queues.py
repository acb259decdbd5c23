"""Delays of queues that are shaped: at a bridge's port, and at the sender's device."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

import pandas as pd

from ..errors import NotTraceable
from .check import Check, Unavailable, settled
from .score import GROUP, between, compared, hops_of, leaked, others, queueing
from .stamps import Tap, sent_stamps, stamp_sent
from .testbed import Testbed, command
from .traffic import ADDRESS, free_port, payload, receive_udp, recording, udp_socket

LINK_BYTES = 1000  # of a packet with its Ethernet header, as queueing disciplines count
SIZE = LINK_BYTES - 14 - 20 - 8
BURST = 4  # packets that the bucket holds: what a late timer costs one packet, the next ones do not wait for
_SO_SNDBUFFORCE = 32
ARRIVED = "c0:eth0 receive"


@dataclass(frozen=True)
class Sent:
    """What is known of datagrams: their hops, the stamps at places, and how long tracepoints were silent."""

    hops: pd.DataFrame
    came: Mapping[int, int]
    left: Mapping[int, int]
    arrived: Mapping[int, int]
    queued: Mapping[int, int]
    driven: Mapping[int, int]
    blind_ns: int


def run(bed: Testbed, quick: bool) -> Iterator[list[Check] | Unavailable]:
    """Yield the checks of each situation."""
    long, bursts = 150 if quick else 600, 20 if quick else 100
    yield settled(partial(_tbf, bed, 100, long, 1))
    # So slow that a burst has been queued before the first timer interrupts: one between the kernel's stamp of a
    # packet and the tracepoint beside it would look like an error.
    yield settled(partial(_tbf, bed, 50, 16, bursts))
    yield settled(partial(_htb, bed, 50, 16, bursts))
    try:
        with _qdisc(bed, "host", "veth0", "netem", "delay", "1ms"):
            pass
    except NotTraceable as error:
        yield Unavailable(GROUP, "delay: netem at the bridge's port", f"netem is refused: {error.why}")
    else:
        for delay_ms in (1, 10):
            yield settled(partial(_netem, bed, delay_ms, 16, bursts))


def _tbf(bed: Testbed, rate_mbit: int, length: int, bursts: int) -> Iterator[Check]:
    """Shape the bridge's port: the k-th packet of a burst waits for the bucket."""
    plain = send_bursts(bed, length, bursts)
    words = ("tbf", "rate", f"{rate_mbit}mbit", "burst", str(BURST * LINK_BYTES), "limit", "100mb")
    with _qdisc(bed, "host", "veth0", *words):
        shaped = send_bursts(bed, length, bursts)
    name = f"{bursts} x {length} packets, tbf of {rate_mbit} Mbit/s at the bridge's port"
    reported = queueing(shaped.hops, "host:veth0")
    if bursts == 1:  # the queue is long enough for a late timer to make no difference
        waits = bucket_waits(shaped.came, rate_mbit / 8e3, BURST * LINK_BYTES)
        held = {number: wait for number, wait in waits.items() if wait > 0}
        note = (
            f"Computed: the wait for tokens of a bucket of {BURST} packets of {LINK_BYTES} bytes, from when each came "
            "to the bridge (the kernel's stamps at a packet socket). The timer releases a packet late, never early."
        )
        yield from compared(f"{name}, computed", held, reported, sent=len(held), note=note,
                            blind_ns=shaped.blind_ns)[:3]  # fmt: skip
    clock = {number: left - shaped.came[number] for number, left in shaped.left.items() if number in shaped.came}
    note = (
        "The kernel's stamps of the same packets at packet sockets, where they came to the bridge and where they left "
        "its port, beside all segments between these places."
    )
    way = between(shaped.hops, "host:veth1 rx", "host:veth0 xmit")
    yield from compared(f"{name}, by packet sockets", clock, way, sent=length * bursts, note=note,
                        blind_ns=shaped.blind_ns)  # fmt: skip
    yield _leak(name, plain, shaped, reported)


def _htb(bed: Testbed, rate_mbit: int, length: int, bursts: int) -> Iterator[Check]:
    """Shape the sender's device, which the kernel stamps packets at for their socket."""
    plain = send_bursts(bed, length, bursts, stamped=True)
    with _qdisc(bed, "c1", "eth0", "htb", "default", "1"):
        rate = ("rate", f"{rate_mbit}mbit", "burst", str(BURST * LINK_BYTES), "cburst", str(BURST * LINK_BYTES))
        _tc(bed, "c1", "class", "add", "dev", "eth0", "parent", "1:", "classid", "1:1", "htb", *rate)
        shaped = send_bursts(bed, length, bursts, stamped=True)
    reported = queueing(shaped.hops, "c1:eth0")
    # What the bucket lets pass at once has no delay that is known.
    held = [number for number in shaped.queued if number % length > BURST and number in shaped.driven]
    clock = {number: shaped.driven[number] - shaped.queued[number] for number in held}
    way = between(shaped.hops, "c1:eth0 queue", "c1:eth0 xmit")
    note = (
        "The kernel's transmit stamps for the sending socket (SO_TIMESTAMPING): before a packet is queued, and when "
        "the driver has it, beside all segments between, of the packets that the bucket held. The first stamp's own "
        "work lies in the truth."
    )
    known = (length - BURST - 1) * bursts
    name = f"{bursts} x {length} packets, htb of {rate_mbit} Mbit/s at the sender's device"
    yield from compared(name, clock, way, sent=known, note=note, blind_ns=shaped.blind_ns)
    yield _leak(name, plain, shaped, reported)


def _netem(bed: Testbed, delay_ms: int, length: int, bursts: int) -> Iterator[Check]:
    """Delay every packet at the bridge's port by the same time."""
    plain = send_bursts(bed, length, bursts)
    with _qdisc(bed, "host", "veth0", "netem", "delay", f"{delay_ms}ms", "limit", "100000"):
        delayed = send_bursts(bed, length, bursts)
    name, reported = f"netem of {delay_ms} ms at the bridge's port", queueing(delayed.hops, "host:veth0")
    note = "As netem was told; its timer releases a packet late, never early."
    told = dict.fromkeys(range(length * bursts), delay_ms * 1e6)
    yield from compared(name, told, reported, sent=length * bursts, note=note, blind_ns=delayed.blind_ns)
    yield _leak(name, plain, delayed, reported)


def _leak(name: str, plain: Sent, delayed: Sent, reported: pd.Series) -> Check:
    note = "Up to the arrival in c0: a burst is read when all of it was sent, so packets wait in the socket until then."
    return leaked(name, others(plain.hops, reported.iloc[:0], ARRIVED), others(delayed.hops, reported, ARRIVED),
                  float(reported.median()), note=note, blind_ns=plain.blind_ns + delayed.blind_ns)  # fmt: skip


def send_bursts(bed: Testbed, length: int, bursts: int = 1, stamped: bool = False) -> Sent:
    """Send bursts of datagrams from c1 to c0, each when the one before has been read; return what is known of them.

    Parameters
    ----------
    bed : Testbed
    length, bursts : int
        Packets of a burst, and how many bursts.
    stamped : bool
        Let the kernel stamp for the sending socket as well.
    """
    port, count = free_port(), length * bursts
    receiver, sender = udp_socket(bed, "c0", port), udp_socket(bed, "c1")

    def exchange() -> None:
        for first in range(0, count, length):
            for number in range(first, first + length):
                sender.sendto(payload(number, SIZE), (ADDRESS[4]["c0"], port))
            receive_udp(receiver, length)

    places = (("host", "veth1"), ("host", "veth0"), ("c0", "eth0"))
    with receiver, sender, ExitStack() as stack:
        taps = [stack.enter_context(Tap(bed, *place, port)) for place in places]
        sender.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 16 << 20)
        if stamped:
            stamp_sent(sender)
        with recording(bed, f"udp port {port}") as done:
            bed.call("c1", exchange)
        stamps = sent_stamps(sender) if stamped else ({}, {})
        hops = hops_of(done.session, port, SIZE, count)
        return Sent(hops, *(tap.stamps() for tap in taps), *stamps, done.session.blind_ns)


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
