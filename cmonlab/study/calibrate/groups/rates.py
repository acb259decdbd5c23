"""Throughput and round-trip times, compared with other programs that measure them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from ...testbed.programs import why_missing
from ...testbed.testbed import Testbed
from ..check import Check, Unavailable, repeat_over_trace_gaps
from .roundtrips import loaded, ping_pong, quiet
from .transfers import LOADS, connection, transfer


def run(bed: Testbed, quick: bool) -> Iterator[list[Check] | Unavailable]:
    """Yield the checks of throughput, then those of round-trip times.

    Parameters
    ----------
    bed : Testbed
        The testbed.
    quick : bool
        Shorter runs.
    """
    seconds = 2 if quick else 4
    for load in LOADS:
        yield _made("throughput", f"iperf3 {load.name}", "iperf3", partial(transfer, bed, load, seconds))
    yield _made("throughput", "a connection's bytes", "ss", partial(connection, bed, 2_000_003 if quick else 9_000_001))
    yield _made("rtt", "srtt of an idle connection", "ss", partial(quiet, bed, 20 if quick else 60))
    yield repeat_over_trace_gaps(partial(loaded, bed, seconds))
    for protocol in ("udp", "tcp"):
        yield _made("rtt", f"sockperf {protocol}", "sockperf", partial(ping_pong, bed, protocol, seconds))


def _made(group: str, name: str, program: str, make: Callable[[], list[Check]]) -> list[Check] | Unavailable:
    """Run a scenario if its program is installed."""
    why = why_missing(program)
    return Unavailable(group, f"{group}: {name}", why) if why else repeat_over_trace_gaps(make)
