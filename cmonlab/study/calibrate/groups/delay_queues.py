"""Delays of shaped queues: at a port of the bridge, and at the sender's device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pandas as pd

from cmonlab.errors import NotTraceable

from ...testbed.testbed import Testbed, command
from ..check import Check, Unavailable, repeat_over_trace_gaps
from ..score import GROUP, between, compared, known, leaked, others, queueing
from .bursts import LINK_BYTES, Sent, send_bursts

BURST = 4  # packets in the bucket: a late timer delays one packet, but not the next ones
ARRIVED = "c0:eth0 receive"


def run(bed: Testbed, quick: bool) -> Iterator[list[Check] | Unavailable]:
    """Yield the checks of each scenario.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    quick : bool
        Fewer packets.
    """
    long, bursts = 150 if quick else 600, 20 if quick else 100
    yield repeat_over_trace_gaps(partial(_tbf, bed, 100, long, 1))
    # The rate is so low that the whole burst is queued before the first timer interrupt: an interrupt between the
    # kernel's stamp of a packet and the tracepoint next to it would look like an error.
    yield repeat_over_trace_gaps(partial(_tbf, bed, 50, 16, bursts))
    yield repeat_over_trace_gaps(partial(_htb, bed, 50, 16, bursts))
    try:
        with _qdisc(bed, "host", "veth0", "netem", "delay", "1ms"):
            pass
    except NotTraceable as error:
        yield Unavailable(GROUP, "delay: netem at the bridge's port", f"netem is refused: {error.why}")
    else:
        for delay_ms in (1, 10):
            yield repeat_over_trace_gaps(partial(_netem, bed, delay_ms, 16, bursts))


def _tbf(bed: Testbed, rate_mbit: int, length: int, bursts: int) -> Iterator[Check]:
    """Shape the bridge's port with tbf: the k-th packet of a burst waits for tokens."""
    plain = send_bursts(bed, length, bursts)
    words = ("tbf", "rate", f"{rate_mbit}mbit", "burst", str(BURST * LINK_BYTES), "limit", "100mb")
    with _qdisc(bed, "host", "veth0", *words):
        shaped = send_bursts(bed, length, bursts)
    name = f"{bursts} x {length} packets, tbf of {rate_mbit} Mbit/s at the bridge's port"
    reported = queueing(shaped.hops, "host:veth0")
    if bursts == 1:  # the queue is so long that a late timer makes no difference
        waits = bucket_waits(shaped.came, rate_mbit / 8e3, BURST * LINK_BYTES)
        note = (
            f"Computed: the wait for tokens of a bucket of {BURST} packets of {LINK_BYTES} bytes, from each packet's "
            "arrival at the bridge (the kernel's stamps at a packet socket). The timer can be late, but never early."
        )
        held = known(waits[waits > 0])
        yield from compared(f"{name}, computed", held, reported, shaped.session, shaped.hops, note=note)[:3]
    # One tracepoint is immediately after the stamp at the bridge, the other after the stamp at its port. The sender's
    # call returns after the first tracepoint, and the packet arrives at c0 after the second.
    clock = known(shaped.left - shaped.returned, shaped.arrived - shaped.came)
    note = (
        "The kernel's stamps of the same packets at packet sockets, where they enter the bridge and where they leave "
        "its port, compared with all segments between these places."
    )
    delay = between(shaped.hops, "host:veth1 rx", "host:veth0 xmit")
    yield from compared(f"{name}, by packet sockets", clock, delay, shaped.session, shaped.hops, note=note)
    yield _leak(name, plain, shaped, reported)


def _htb(bed: Testbed, rate_mbit: int, length: int, bursts: int) -> Iterator[Check]:
    """Shape the sender's device with htb; the kernel stamps packets there for the sending socket."""
    plain = send_bursts(bed, length, bursts, stamped=True)
    with _qdisc(bed, "c1", "eth0", "htb", "default", "1"):
        rate = ("rate", f"{rate_mbit}mbit", "burst", str(BURST * LINK_BYTES), "cburst", str(BURST * LINK_BYTES))
        _tc(bed, "c1", "class", "add", "dev", "eth0", "parent", "1:", "classid", "1:1", "htb", *rate)
        shaped = send_bursts(bed, length, bursts, stamped=True)
    reported = queueing(shaped.hops, "c1:eth0")
    clock = known(shaped.leaves - shaped.returned, shaped.driven - shaped.queued)
    note = (
        "The kernel's transmit stamps for the sending socket (SO_TIMESTAMPING), before a packet is queued and when the "
        "driver has it, compared with all segments between these places. The sender's call returns after the first "
        "stamp, and a packet socket's stamp is before the second."
    )
    name = f"{bursts} x {length} packets, htb of {rate_mbit} Mbit/s at the sender's device"
    delay = between(shaped.hops, "c1:eth0 queue", "c1:eth0 xmit")
    yield from compared(name, clock, delay, shaped.session, shaped.hops, note=note)
    yield _leak(name, plain, shaped, reported)


def _netem(bed: Testbed, delay_ms: int, length: int, bursts: int) -> Iterator[Check]:
    """Delay every packet at the bridge's port by the same time."""
    plain = send_bursts(bed, length, bursts)
    with _qdisc(bed, "host", "veth0", "netem", "delay", f"{delay_ms}ms", "limit", "100000"):
        delayed = send_bursts(bed, length, bursts)
    name, reported = f"netem of {delay_ms} ms at the bridge's port", queueing(delayed.hops, "host:veth0")
    note = "The configured delay of netem; its timer can be late, but never early."
    configured = known(pd.Series(delay_ms * 1e6, range(length * bursts)))
    yield from compared(name, configured, reported, delayed.session, delayed.hops, note=note)
    yield _leak(name, plain, delayed, reported)


def _leak(name: str, plain: Sent, delayed: Sent, reported: pd.Series) -> Check:
    note = "Up to the arrival at c0, because packets wait in the socket until the whole burst has been sent."
    sums = others(plain.hops, reported.iloc[:0], ARRIVED), others(delayed.hops, reported, ARRIVED)
    trace_gap_ns = plain.session.trace_gap_ns + delayed.session.trace_gap_ns
    return leaked(name, *sums, float(reported.median()), note=note, trace_gap_ns=trace_gap_ns)


def bucket_waits(came_ns: pd.Series, rate_bytes_ns: float, bucket_bytes: float) -> pd.Series:
    """Return how long each packet waits for the tokens of a token bucket, which is full at first.

    Parameters
    ----------
    came_ns : Series
        Arrival (ns) of each packet of `LINK_BYTES`, by number, in order of time.
    rate_bytes_ns : float
        Rate of the tokens, in bytes per nanosecond.
    bucket_bytes : float
        Size of the bucket.

    Returns
    -------
    Series
        Wait in ns, by number.
    """
    tokens, free, waits = float(bucket_bytes), float(came_ns.iloc[0]), {}
    for number, came in came_ns.items():
        start = max(float(came), free)
        tokens = min(bucket_bytes, tokens + (start - free) * rate_bytes_ns)
        free = start + max(0.0, (LINK_BYTES - tokens) / rate_bytes_ns)
        tokens = max(0.0, tokens - LINK_BYTES)
        waits[number] = free - came
    return pd.Series(waits)


@contextmanager
def _qdisc(bed: Testbed, name: str, device: str, *words: str) -> Iterator[None]:
    """Give a device a qdisc for the duration of the block."""
    handle = ("handle", "1:") if words[0] == "htb" else ()
    _tc(bed, name, "qdisc", "add", "dev", device, "root", *handle, *words)
    try:
        yield
    finally:
        _tc(bed, name, "qdisc", "del", "dev", device, "root")


def _tc(bed: Testbed, name: str, *words: str) -> None:
    command("tc", "-n", bed.namespaces[name], *words)
