"""The times of single hops, compared with the kernel's own stamps of the same packets at the same places."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ...testbed.testbed import Testbed
from ..check import Check, repeat_over_trace_gaps
from ..score import between, compared, known
from .bursts import send_bursts

#: From hop to hop → attributes of `bursts.Sent` with the stamps of both ends.
_PATHS = {
    "host:veth1 rx → host:veth0 xmit": ("came", "left"),
    "host:veth0 xmit → c0:eth0 rx": ("left", "arrived"),
    "host:veth1 rx → c0:eth0 rx": ("came", "arrived"),
}
_NOTE = (
    "The kernel's stamps at packet sockets. An outgoing packet is stamped before the socket's copy of it is made, and "
    "the tracepoint comes about 0.3 µs after that; an interrupt between the two is in one of the times only."
)


def run(bed: Testbed, quick: bool) -> Iterator[list[Check]]:
    """Yield the checks.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    quick : bool
        Fewer packets.
    """
    yield repeat_over_trace_gaps(partial(_nothing_delayed, bed, 16, 60 if quick else 250))


def _nothing_delayed(bed: Testbed, length: int, bursts: int) -> Iterator[Check]:
    sent = send_bursts(bed, length, bursts)
    for path, (first, last) in _PATHS.items():
        truth = known(getattr(sent, last) - getattr(sent, first))
        measured = between(sent.hops, *path.split(" → "))
        yield from compared(f"nothing delayed, {path}", truth, measured, sent.session, sent.hops, note=_NOTE)
