"""What tracing does to the traced: round trips of small messages without and with it."""

from __future__ import annotations

import os
import re
from contextlib import nullcontext
from functools import partial

from cmonlab.kernel.tracer import Tracer
from tests.kernel.netlab import netlab

from .kernelcost import OTHER_RULE
from .stats import Outcome, interleave, ratios, summarise
from .traffic import PORT, PROTOCOLS, server, sockperf

_MEDIAN = re.compile(r"percentile 50\.000 =\s*([\d.]+)")


def _pinned(words: list[str], cpu: int) -> list[str]:
    """Let a program run on one CPU only: where the scheduler puts it decides more than tracing does."""
    return ["taskset", "-c", str(cpu), *words]


def _round_trip_us(lab, protocol: str, rule: str | None) -> float:
    """Return the median round trip of one second of ping-pong; no rule: nothing is traced."""
    with nullcontext() if rule is None else Tracer(rule) as tracer:
        if tracer:
            tracer.start()
        client = sockperf(protocol, "ping-pong", "-m", "64", "-t", "1", "--full-rtt")
        said = lab.run("c1", *_pinned(client, max(os.sched_getaffinity(0))))
    found = _MEDIAN.search(said)
    if not found:
        raise RuntimeError(f"sockperf told no median: {said[-300:]}")
    return float(found.group(1))


def run(rounds: int, budget_s: float) -> Outcome:
    """Compare untraced, traced with a rule that matches nothing here, and traced in full, at every point."""
    outcome = Outcome()
    with netlab() as lab:
        for protocol in PROTOCOLS:
            rules = {"untraced": None, "unmatched": OTHER_RULE, "recorded": f"{protocol} port {PORT}"}
            answer = _pinned(sockperf(protocol, "server"), min(os.sched_getaffinity(0)))
            with server(lab, protocol, PORT, *answer):
                calls = {name: partial(_round_trip_us, lab, protocol, rule) for name, rule in rules.items()}
                found = interleave(calls, rounds, budget_s / len(PROTOCOLS), least=min(rounds, 3))
            outcome.samples |= {f"round trip {protocol} {name} us": values for name, values in found.items()}
            for name in ("unmatched", "recorded"):
                longer = summarise(ratios(found[name], found["untraced"]))
                outcome.samples[f"round trip {protocol} {name} / untraced"] = ratios(found[name], found["untraced"])
                outcome.notes.append(
                    f"observer overhead: {protocol} round trip, all points attached, {name}: {longer.median:.2f} times"
                    f" the untraced p50 ({longer.quartiles[0]:.2f}–{longer.quartiles[1]:.2f}, {longer.n} rounds)"
                )
    return outcome
