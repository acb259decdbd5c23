"""Loss: exactly k of n packets are dropped at a known place; exactly these must be reported as dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from cmonlab.errors import NotTraceable

from ...testbed.testbed import Testbed
from ..check import Check, Unavailable, repeat_over_trace_gaps
from . import loss_tcp, loss_udp, loss_unseen


def run(bed: Testbed, quick: bool) -> Iterator[list[Check] | Unavailable]:
    """Yield the checks of each scenario.

    Parameters
    ----------
    bed : Testbed
        A testbed without other traffic.
    quick : bool
        Send fewer packets.
    """
    for name, make in scenarios(bed, quick).items():
        try:
            yield repeat_over_trace_gaps(make)
        except NotTraceable as error:
            yield Unavailable(loss_udp.GROUP, name, f"{error.what}: {error.why}")


def scenarios(bed: Testbed, quick: bool) -> dict[str, Callable[[], list[Check]]]:
    """Return the scenarios.

    Parameters
    ----------
    bed : Testbed
        A testbed without other traffic.
    quick : bool
        Send fewer packets.

    Returns
    -------
    dict of str to callable
        Name → function that runs the scenario and returns its checks.
    """
    return {name: make for part in (loss_udp, loss_tcp, loss_unseen) for name, make in part.scenarios(bed, quick)}
