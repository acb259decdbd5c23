"""Counts: n packets in, n journeys out, and no hop or read in the journey of another packet.

At 1, 10 and 100% of the machine's packet rate, over every kind of way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from cmonlab.errors import NotTraceable

from ...testbed import flows
from ...testbed.packets import datagrams
from ...testbed.senders import machine_rate
from ...testbed.testbed import Testbed
from ...testbed.traffic import free_port
from ..check import Check, Unavailable, repeat_over_trace_gaps
from ..matches import GROUP
from . import messages, segments, tallies

#: Shares of the machine's packet rate, and how many packets are sent; 1 is as fast as it goes.
PACKETS = {1.0: 50_021, 0.1: 5_003, 0.01: 1_009}
_MADE, _MADE_QUICK = 5_003, 1_009  # scapy takes half a millisecond for each
_SEGMENTS, _PACED_SEGMENTS = 3_001, 1_009  # a short time is less often blind
#: What is sent at every rate also where little time is; everything else is then sent at the full rate only.
PACED = ("UDP", "20% duplicated and reordered", "TCP retransmission")


def run(bed: Testbed, quick: bool) -> Iterator[list[Check] | Unavailable]:
    """Yield the checks of every scenario.

    Parameters
    ----------
    bed : Testbed
    quick : bool
        Send a fifth of the packets, and most kinds at the full rate only.
    """
    rate, port = machine_rate(bed), free_port()
    frames = datagrams(bed, port, _MADE_QUICK if quick else _MADE)
    for share, packets in PACKETS.items():
        count = packets // 5 if quick else packets
        for name, make in _scenarios(bed, rate, share, count, port, frames[:count]).items():
            if quick and share < 1 and name not in PACED:
                continue
            title = f"{name} at {share:.0%} of the packet rate"
            try:
                yield repeat_over_trace_gaps(partial(make, title))
            except NotTraceable as error:
                yield Unavailable(GROUP, title, str(error))


def _scenarios(
    bed: Testbed, rate: float, share: float, count: int, port: int, frames: list[bytes]
) -> dict[str, Callable[[str], list[Check]]]:
    """Return what makes the checks of each scenario, given its title."""
    pace = share * rate if share < 1 else None
    ways = {name: partial(make, bed, count) for name, make in flows.KINDS.items()} | {
        "made by scapy": partial(flows.made, bed, frames, port, False),
        "20% duplicated and reordered": partial(flows.made, bed, frames, port, True),
    }
    some = min(count, _SEGMENTS if pace is None else _PACED_SEGMENTS)
    return {
        **{name: partial(messages.checked, bed, make=make, rate=rate, share=share) for name, make in ways.items()},
        **{name: partial(segments.checked, bed, name=name, count=some, pace_pps=pace) for name in segments.KINDS},
        **{
            f"a sample of {part:.0%}": partial(
                tallies.sampled, bed, frames=frames, port=port, share=part, rate_pps=pace
            )
            for part in tallies.SAMPLES
        },
        "mode count": partial(tallies.counted, bed, count=count, rate_pps=pace),
        "mode aggregate": partial(tallies.aggregated, bed, count=count, rate_pps=pace),
    }
