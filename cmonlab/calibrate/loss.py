"""Loss: exactly k of n packets are dropped at a known place, and that is what is told, of no other packet."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import NotTraceable
from . import loss_tcp, loss_udp, loss_unseen
from .check import Check, Unavailable, settled
from .testbed import Testbed


def run(bed: Testbed, quick: bool) -> Iterator[list[Check] | Unavailable]:
    """Yield the checks of each situation.

    Parameters
    ----------
    bed : Testbed
        Nobody else uses it meanwhile.
    quick : bool
        Send fewer packets.
    """
    for part in (loss_udp, loss_tcp, loss_unseen):
        for name, make in part.situations(bed, quick):
            try:
                yield settled(make)
            except NotTraceable as error:
                yield Unavailable(loss_udp.GROUP, name, f"{error.what}: {error.why}")
