"""Known delays at known places: the error in that segment, and leakage into other segments."""

from __future__ import annotations

from collections.abc import Iterator

from ...testbed.testbed import Testbed
from ..check import Check, Unavailable
from . import delay_clock, delay_queues, delay_sched, delay_waits


def run(bed: Testbed, quick: bool) -> Iterator[list[Check] | Unavailable]:
    """Yield the checks of each scenario.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    quick : bool
        Fewer packets.
    """
    for part in (delay_queues, delay_waits, delay_sched, delay_clock):
        yield from part.run(bed, quick)
