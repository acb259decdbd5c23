"""Judge the overhead of cmonlab's modes against the peer with the lowest overhead."""

from __future__ import annotations

import statistics

from cmonlab.data.analysis.overhead import UNTRACED, Overhead
from cmonlab.data.analysis.stats import ratios

from ..outcome import Outcome

CAPTURE, ALL, AGGREGATE = "cmonlab capture", "cmonlab capture, all points", "cmonlab aggregate"
ANY = "tcpdump -i any"
OURS = (CAPTURE, ALL, AGGREGATE)
#: Metric → factor from a sample to the shown value (worse when it grows), and the unit.
JUDGED = {"p50": (1e-3, "us"), "p99": (1e-3, "us"), "p99.9": (1e-3, "us"), "CPU": (1.0, "")}


def judged(name: str, found: Overhead) -> Outcome:
    """Judge the overhead of each of cmonlab's modes against the lowest one among the peers."""
    outcome, samples = Outcome(), found.samples
    peers = [way for way in samples if way not in (*OURS, UNTRACED)]
    changes = changed(samples)
    for metric, by_way in changes.items():
        if metric == "throughput" and name.startswith("sockperf"):
            continue  # with one message at a time, it is the inverse of the delay
        unit = {"throughput": "% of untraced", "CPU": found.units["CPU"]}.get(metric, "us")
        for way in OURS:
            if way in by_way and peers:
                lowest = min(peers, key=lambda peer: statistics.median(by_way[peer]))
                beyond = [own - other for own, other in zip(by_way[way], by_way[lowest], strict=True)]
                outcome.judge("peers", beyond, f"{name} {metric}: {way.removeprefix('cmonlab ')} less {lowest}", unit)
    if name.startswith("sockperf") and {ALL, AGGREGATE, ANY} <= samples.keys():
        for key, way, share in (("capture adds", ALL, 1.0), ("aggregate adds", AGGREGATE, 0.5)):
            pairs = zip(changes["p50"][way], changes["p50"][ANY], strict=True)
            outcome.judge(key, [own - share * other for own, other in pairs], name)
    if name == "iperf3 TCP" and AGGREGATE in samples:
        outcome.judge("throughput", ratios(samples[AGGREGATE]["throughput"], samples[UNTRACED]["throughput"]), name)
    return outcome


def changed(samples: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, list[float]]]:
    """Return metric → tracer → how much worse each round was than the untraced one.

    Throughput in percent of the untraced one, delays in microseconds, CPU as it was measured.
    """
    base = samples[UNTRACED]
    found: dict[str, dict[str, list[float]]] = {}
    for way, metrics in samples.items():
        for metric, values in metrics.items() if way != UNTRACED else ():
            pairs = list(zip(values, base[metric], strict=True))
            if metric == "throughput":
                found.setdefault(metric, {})[way] = [100 * (1 - value / free) for value, free in pairs]
            elif metric in JUDGED:
                found.setdefault(metric, {})[way] = [JUDGED[metric][0] * (value - free) for value, free in pairs]
    return found
