"""Real recordings of traffic between two namespaces, for measurements on events."""

from __future__ import annotations

from cmonlab.recording.capture import Capture
from cmonlab.recording.record import rules_of
from cmonlab.session.session import Session
from cmonlab.study.testbed.testbed import testbed

from . import traffic

WORKLOADS = {
    "memcached": traffic.memcached,
    "iperf tcp": lambda lab: traffic.iperf(lab, "tcp"),
    "iperf udp": lambda lab: traffic.iperf(lab, "udp"),
}
DEADLINE_S = 40.0


def record(workload: str, events: int) -> Session:
    """Record a workload at every point until there are enough events.

    Raises
    ------
    TimeoutError
        The workload makes too few of them.
    """
    with testbed() as lab, WORKLOADS[workload](lab) as rule, Capture(rules_of(rule, ["all"]), lab.links) as capture:
        traffic.until(lambda: capture.events >= events, f"{events:,} events of {workload}", DEADLINE_S, every_s=0.02)
        return capture.session()
