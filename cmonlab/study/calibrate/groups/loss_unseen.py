"""Events that the tracer lost are no packet loss: the reported loss of the network must not grow with them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from cmonlab.rules import Rule
from cmonlab.session.session import Session

from ...testbed.testbed import Testbed
from ...testbed.traffic import ADDRESS, free_port, recording, send_udp, udp_socket
from ..check import Check
from .loss_udp import SIZE, Value, checks_of, dropping_program, lost_of, read_rest
from .overload import BLOCKED_S

_COUNT, _RING_BYTES = 1_009, 8192
_NOTE = f"rings of {_RING_BYTES} bytes that are read at the end only"


def scenarios(bed: Testbed, quick: bool) -> list[tuple[str, Callable[[], list[Check]]]]:
    """Return the scenarios.

    Parameters
    ----------
    bed : Testbed
        A testbed without other traffic.
    quick : bool
        Send fewer packets.

    Returns
    -------
    list of (str, callable)
        Name, and function that runs the scenario and returns its checks.
    """
    return [
        (name, partial(_score, bed, name, every))
        for name, every in (("lost events, none dropped", _COUNT + 1), ("lost events, every 10th dropped", 10))
    ]


def _score(bed: Testbed, name: str, every: int) -> list[Check]:
    port = free_port()
    match = f"udp port {port}"
    rules = [Rule(name="each", match=match), Rule(name="sum", match=match, mode="aggregate")]
    with (
        dropping_program(bed, port, every) as dropped,
        udp_socket(bed, "c0", port) as receiver,
        udp_socket(bed, "c1") as sender,
        recording(bed, rules, ring_bytes=_RING_BYTES, poll_s=BLOCKED_S) as done,
    ):
        bed.call("c1", send_udp, sender, (ADDRESS[4]["c0"], port), SIZE, _COUNT)
        read_rest(receiver, _COUNT, dropped)
        missing = dropped()
    return checks_of(name, _values(done.session, missing), _NOTE, done.session)


def _values(session: Session, missing: int) -> list[Value]:
    dropped, counted = int(session.loss()["dropped"].sum()), session.drop_counts()
    return [
        ("recordings with lost events", 1, int(session.lost_events > 0)),
        ("reported as dropped, but not dropped", 0, max(0, dropped - missing)),
        ("in the table of drops, but not dropped", 0, max(0, len(session.drops()) - missing)),
        ("aggregate, dropped", missing, counted["packets"].sum()),
        ("aggregate, sent and missing", missing, lost_of(session.pairs())),
    ]
