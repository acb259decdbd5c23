"""What tracing does to the traced: round trips of small messages and throughput, without and with it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from cmonlab.analysis.stats import interleave, ratios, summarise
from cmonlab.calibrate.testbed import Testbed, testbed
from cmonlab.kernel.tracer import Tracer
from cmonlab.rules import Rule

from .kernelcost import OTHER_RULE, plans_of
from .targets import Outcome, judge
from .traffic import PORT, PROTOCOLS, SERVER, running, server, sockperf, until

_MEDIAN = re.compile(r"percentile 50\.000 =\s*([\d.]+)")
_LEAST_THROUGHPUT = 0.97
_THROUGHPUT_SHARE = 0.4  # of the budget
_MORE_ROUNDS = 3  # of throughput, whose target is a matter of 3%
Observer = Callable[[], AbstractContextManager]


def _pinned(words: list[str]) -> list[str]:
    """Let a program run on the first CPU only.

    Both ends do, and leave the other CPUs to whoever observes: where the scheduler puts
    them, and how long it takes to wake a CPU, would decide more than tracing does.
    """
    return ["taskset", "-c", str(min(os.sched_getaffinity(0))), *words]


@contextmanager
def traced(match: str, mode: str, points: str) -> Iterator[None]:
    """Trace with one rule for as long as the block lasts."""
    with Tracer() as tracer:
        tracer.start(plans_of([Rule(name=mode, match=match, mode=mode, points=points)]))
        yield


@contextmanager
def dumped(lab: Testbed) -> Iterator[None]:
    """Have tcpdump look at every interface of the namespace with the bridge, and throw away what it sees."""
    with running(lab, "host", "tcpdump", "-i", "any", "-w", "/dev/null") as process:
        until(lambda: _listens(process.pid), "tcpdump to listen")
        yield


def _listens(pid: int) -> bool:
    """Tell whether a packet socket is open in a process's namespace."""
    with open(f"/proc/{pid}/net/packet") as file:
        return len(file.readlines()) > 1


def observers(lab: Testbed, match: str) -> dict[str, Observer]:
    """Return ways to look at traffic by name."""
    return {
        "untraced": nullcontext,
        "unmatched": partial(traced, OTHER_RULE, "capture", "all"),
        "capture": partial(traced, match, "capture", "all"),
        "aggregate": partial(traced, match, "aggregate", "default"),
        "tcpdump": partial(dumped, lab),
    }


def round_trip_us(lab: Testbed, protocol: str, observer: Observer) -> float:
    """Return the median round trip of one second of ping-pong."""
    with observer():
        client = sockperf(protocol, "ping-pong", "-m", "64", "-t", "1", "--full-rtt")
        said = lab.run("c1", *_pinned(client))
    found = _MEDIAN.search(said)
    if not found:
        raise RuntimeError(f"sockperf told no median: {said[-300:]}")
    return float(found.group(1))


def throughput_bps(lab: Testbed, observer: Observer) -> float:
    """Return the throughput of one second of TCP."""
    with observer():
        client = ["iperf3", "-c", SERVER, "-p", str(PORT), "-t", "1", "-J"]
        said = lab.run("c1", *_pinned(client))
    return float(json.loads(said)["end"]["sum_received"]["bits_per_second"])


def run(rounds: int, budget_s: float) -> Outcome:
    """Compare round trips and throughput with nobody looking, with each mode, and with tcpdump."""
    outcome = Outcome()
    share_s = budget_s * (1 - _THROUGHPUT_SHARE) / len(PROTOCOLS)
    with testbed() as lab:
        for protocol in PROTOCOLS:
            with server(lab, protocol, PORT, *_pinned(sockperf(protocol, "server"))):
                ways = observers(lab, f"{protocol} port {PORT}").items()
                calls = {name: partial(round_trip_us, lab, protocol, way) for name, way in ways}
                outcome.merge(judged(protocol, interleave(calls, rounds, share_s, least=min(rounds, 3))))
        with server(lab, "tcp", PORT, *_pinned(["iperf3", "-s", "-B", SERVER, "-p", str(PORT)])):
            ways = observers(lab, f"tcp port {PORT}")
            calls = {name: partial(throughput_bps, lab, ways[name]) for name in ("untraced", "capture", "aggregate")}
            found = interleave(calls, rounds * _MORE_ROUNDS, budget_s * _THROUGHPUT_SHARE, least=min(rounds, 3))
            outcome.merge(judged_throughput(found))
    return outcome


def judged(protocol: str, found: Mapping[str, list[float]]) -> Outcome:
    """Judge round trips: what is added, beside what tcpdump adds in the same round.

    Parameters
    ----------
    found : mapping of str to list of float
        Round trips in microseconds by observer, as many of each as there were rounds.
    """
    outcome = Outcome({f"round trip {protocol} {name} us": values for name, values in found.items()})
    added = {
        name: [with_it - without for with_it, without in zip(values, found["untraced"], strict=True)]
        for name, values in found.items()
        if name != "untraced"
    }
    for name, share in (("capture", 1.0), ("aggregate", 0.5)):
        beyond = [own - share * others for own, others in zip(added[name], added["tcpdump"], strict=True)]
        beside = "tcpdump adds" if share == 1 else f"{share:g} of what tcpdump adds"
        outcome.targets.append(
            judge(f"round trip: us that {name} adds, less {beside}, {protocol}", "at most", 0.0, beyond)
        )
    for name, values in added.items():
        told = summarise(values)
        outcome.notes.append(
            f"observer overhead: {name} adds {told.median:.2f} us to the {protocol} round trip's p50"
            f" ({told.quartiles[0]:.2f} to {told.quartiles[1]:.2f}, {told.n} rounds)"
        )
    return outcome


def judged_throughput(found: Mapping[str, list[float]]) -> Outcome:
    """Judge throughput under aggregation; under capture it is told."""
    outcome = Outcome({f"throughput tcp {name} bit/s": values for name, values in found.items()})
    outcome.samples["throughput tcp capture / untraced"] = ratios(found["capture"], found["untraced"])
    kept = ratios(found["aggregate"], found["untraced"])
    outcome.targets.append(judge("throughput: tcp, aggregate / untraced", "at least", _LEAST_THROUGHPUT, kept))
    return outcome
