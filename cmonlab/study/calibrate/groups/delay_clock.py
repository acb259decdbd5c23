"""The times of single hops, beside the kernel's own stamps of the same packets at the same places."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ...testbed.testbed import Testbed
from ..check import Check, repeat_over_trace_gaps
from ..score import between, compared, known
from .bursts import send_bursts

#: From hop to hop, and what stamps each end: attributes of `bursts.Sent`.
_WAYS = {
    "host:veth1 rx → host:veth0 xmit": ("came", "left"),
    "host:veth0 xmit → c0:eth0 rx": ("left", "arrived"),
    "host:veth1 rx → c0:eth0 rx": ("came", "arrived"),
}
_NOTE = (
    "The kernel's stamps at packet sockets. A packet that leaves is stamped before the socket's copy of it, and the "
    "tracepoint comes after, some 0.3 µs later; an interrupt between the two is in one of the times only."
)


def run(bed: Testbed, quick: bool) -> Iterator[list[Check]]:
    """Yield the checks."""
    yield repeat_over_trace_gaps(partial(_ways, bed, 16, 60 if quick else 250))


def _ways(bed: Testbed, length: int, bursts: int) -> Iterator[Check]:
    sent = send_bursts(bed, length, bursts)
    for way, (first, last) in _WAYS.items():
        truth = known(getattr(sent, last) - getattr(sent, first))
        measured = between(sent.hops, *way.split(" → "))
        yield from compared(f"nothing delayed, {way}", truth, measured, sent.session, sent.hops, note=_NOTE)
