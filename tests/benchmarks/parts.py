"""The parts of the benchmarks, with their rounds and their seconds of budget."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from .outcome import Outcome

ROUNDS, QUICK_ROUNDS = 12, 2
RECORDED = {"memcached": (2_100_000, 200_000), "iperf udp": (2_100_000, 100_000), "iperf tcp": (300_000, 50_000)}
SORTED = ("memcached", "iperf udp")  # iperf over TCP makes few packets: only its size on disk is measured
_PEER_ROUNDS, _SCALE_ROUNDS = 5, 10


def _rounds(quick: bool) -> int:
    return QUICK_ROUNDS if quick else ROUNDS


def _reading(quick: bool) -> Outcome:
    from . import reading

    return reading.run(_rounds(quick), 5 if quick else 30)


def _kernel(quick: bool) -> Outcome:
    from . import kernelcost

    return kernelcost.run(_rounds(quick), 15 if quick else 120, quick)


def _containers(quick: bool) -> Outcome:
    from . import scaling

    return scaling.containers(1 if quick else _SCALE_ROUNDS, 5 if quick else 80, quick)


def _flows(quick: bool) -> Outcome:
    from . import flows, scaling

    outcome = scaling.flows(1 if quick else _SCALE_ROUNDS, 5 if quick else 70, quick)
    counts = scaling.QUICK_FLOWS if quick else scaling.FLOWS
    outcome.merge(flows.correlator(QUICK_ROUNDS if quick else 5, counts, quick))
    return outcome


def _points(quick: bool) -> Outcome:
    from . import scaling

    return scaling.points(1 if quick else _SCALE_ROUNDS, 5 if quick else 30, quick)


def _live(quick: bool) -> Outcome:
    from . import live

    return live.run(_rounds(quick), 3 if quick else 15, quick)


def _peers(quick: bool) -> Outcome:
    from .peers import side

    return side.run(1 if quick else _PEER_ROUNDS, quick)


def _agent(quick: bool) -> Outcome:
    from . import agentcost

    return agentcost.run(_rounds(quick), 6 if quick else 45)


def _events(quick: bool) -> Outcome:
    from . import parquet, pipeline, recordings

    with tempfile.TemporaryDirectory(prefix="cmonlab-bench-") as scratch:
        saved = {}
        for number, (workload, events) in enumerate(RECORDED.items()):
            print(f"cmonlab: recording {workload} …", file=sys.stderr)
            saved[workload] = recordings.record(workload, events[quick]).save(Path(scratch, str(number)))
        sizes = parquet.run(saved, Path(scratch))
        sizes.merge(pipeline.run({name: saved[name] for name in SORTED}, _rounds(quick), 12 if quick else 60))
    return sizes


def _large(quick: bool) -> Outcome:
    from . import large

    return large.run(quick)


#: Name → function that runs the part; its argument is whether the run is quick.
PARTS: dict[str, Callable[[bool], Outcome]] = {
    "peers": _peers,
    "reading": _reading,
    "kernel": _kernel,
    "containers": _containers,
    "flows": _flows,
    "points": _points,
    "live": _live,
    "agent": _agent,
    "events": _events,
    "large": _large,
}
