"""Datagrams of many flows between two namespaces, and the time to correlate them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmonlab.recording.capture import Capture
from cmonlab.recording.record import rules_of
from cmonlab.study.testbed.testbed import Testbed, ip, testbed

from . import manyflows
from .outcome import Outcome
from .traffic import running, sent_packets, until

#: An address without an owner, so that there are no replies: its packets go to c0, which drops them.
DESTINATION = "10.77.0.99"
EVENTS, QUICK_EVENTS = 600_000, 100_000


@contextmanager
def datagrams(lab: Testbed, flows: int) -> Iterator[None]:
    """Send datagrams of 64 bytes from c1 through the bridge to c0, one flow after the other."""
    _lead_to_nowhere(lab)
    with running(lab, "c1", sys.executable, "-S", manyflows.__file__, DESTINATION, str(flows)) as sender:
        until(lambda: sent_packets(sender) > 1000, "datagrams to flow", 20.0)
        yield


def _lead_to_nowhere(lab: Testbed) -> None:
    device = ip("-n", lab.namespaces["c0"], "-o", "link", "show", "eth0").split()
    mac = device[device.index("link/ether") + 1]
    words = ("neigh", "replace", DESTINATION, "lladdr", mac, "dev", "eth0", "nud", "permanent")
    ip("-n", lab.namespaces["c1"], *words)
    # A new namespace may inherit the host's setting, and would then forward the packets.
    lab.call("c0", Path("/proc/sys/net/ipv4/conf/all/forwarding").write_text, "0")


def correlator(rounds: int, counts: tuple[int, ...], quick: bool) -> Outcome:
    """Record many flows, and measure the time from events to journeys."""
    outcome, events = Outcome(), QUICK_EVENTS if quick else EVENTS
    with testbed() as lab:
        for count in counts:
            rules = rules_of(f"udp and host {DESTINATION}", ["path", "drops"])
            with datagrams(lab, count), Capture(rules, lab.links) as capture:
                until(lambda capture=capture: capture.events >= events, f"{events:,} events", 60.0)
                session = capture.session()
            spent_ns = [_correlate_ns(session) / len(session) for _ in range(rounds)]
            outcome.add("flows", "events to journeys, an event, flows", "correlator", "ns", spent_ns, count)
    return outcome


def _correlate_ns(session) -> int:
    """Return the CPU time of the correlation of a session, all threads together."""
    session.__dict__.pop("_found", None)
    before_ns = time.process_time_ns()
    _ = session.correlated
    return time.process_time_ns() - before_ns
