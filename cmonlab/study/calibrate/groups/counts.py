"""Counts: n packets in, n journeys out, and no hop or read in the journey of another packet.

The packets are sent at 1, 10 and 100% of the machine's packet rate, over every kind of packet path.
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

#: Share of the machine's packet rate → number of packets; 1 is as fast as possible.
PACKETS = {1.0: 50_021, 0.1: 5_003, 0.01: 1_009}
_MADE, _MADE_QUICK = 5_003, 1_009  # scapy needs half a millisecond per packet
_SEGMENTS, _PACED_SEGMENTS = 3_001, 1_009  # a short recording has fewer trace gaps
#: The quick form sends these at every rate, and all others at the full rate only.
PACED = ("UDP", "20% duplicated and reordered", "TCP retransmission")


def run(bed: Testbed, quick: bool) -> Iterator[list[Check] | Unavailable]:
    """Yield the checks of every scenario.

    Parameters
    ----------
    bed : Testbed
        The testbed.
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
    """Return functions that run each scenario, given its title, and return the checks."""
    pace = share * rate if share < 1 else None
    paths = {name: partial(make, bed, count) for name, make in flows.KINDS.items()} | {
        "made by scapy": partial(flows.made, bed, frames, port, False),
        "20% duplicated and reordered": partial(flows.made, bed, frames, port, True),
    }
    some = min(count, _SEGMENTS if pace is None else _PACED_SEGMENTS)
    return {
        **{name: partial(messages.checked, bed, make=make, rate=rate, share=share) for name, make in paths.items()},
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
