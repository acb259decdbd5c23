"""Measure speed and memory: ``python -m tests.benchmarks --out runs/bench [--quick] [--only NAME]``.

Everything is a ratio within one run, a median over interleaved rounds.  A target
that is missed is marked in the report and does not fail the run.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from cmonlab import manifest
from cmonlab.errors import CmonlabError

from . import machine, report
from .targets import Outcome

#: Seconds of budget by benchmark, for a full run and a quick one.
BUDGET_S = {
    "reading": (30, 5),
    "kernel": (160, 20),
    "scaling": (60, 10),
    "overhead": (180, 20),
    "agent": (60, 15),
    "events": (70, 12),
}
RECORDED = {"memcached": (2_100_000, 200_000), "iperf udp": (2_100_000, 100_000), "iperf tcp": (300_000, 50_000)}
SORTED = ("memcached", "iperf udp")  # iperf over TCP makes few packets: only its bytes on disk count
ROUNDS, QUICK_ROUNDS = 12, 3


def main(words: list[str] | None = None) -> int:
    """Run the benchmarks and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Measure cmonlab's speed and memory."
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="directory for bench.json and report.html")
    parser.add_argument("--quick", action="store_true", help="two minutes: few rounds, for a look, not for a claim")
    parser.add_argument("--only", choices=BUDGET_S, action="append", help="leave the others out; may be given again")
    options = parser.parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    try:
        machine.check()
        result = measure(options.only or list(BUDGET_S), options.quick)
        report.write(options.out, result)
    except CmonlabError as error:
        print(f"cmonlab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cmonlab: interrupted; nothing was written, nothing is left behind", file=sys.stderr)
        return 130
    print(report.text(result, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    print(f"{options.out}/bench.json {options.out}/report.html ({result['seconds']:.0f} s)")
    return 0


def measure(names: list[str], quick: bool) -> dict:
    """Run the named benchmarks and return what bench.json holds."""
    result = {
        "created": manifest.now(),
        **machine.describe(),
        "quick": quick,
        "rounds": QUICK_ROUNDS if quick else ROUNDS,
    }
    outcome, began = Outcome(), time.monotonic()
    for name in names:
        print(f"cmonlab: measuring {name} …", file=sys.stderr)
        outcome.merge(_RUNS[name](result["rounds"], BUDGET_S[name][quick], quick))
    return result | {
        "seconds": time.monotonic() - began,
        "samples": outcome.samples,
        "results": outcome.results(),
        "targets": [asdict(target) for target in outcome.targets],
        "notes": outcome.notes,
    }


def _reading(rounds: int, budget_s: float, _quick: bool) -> Outcome:
    from . import reading

    return reading.run(rounds, budget_s)


def _kernel(rounds: int, budget_s: float, quick: bool) -> Outcome:
    from . import kernelcost

    return kernelcost.run(rounds, budget_s, quick)


def _scaling(rounds: int, budget_s: float, quick: bool) -> Outcome:
    from . import scaling

    return scaling.run(rounds, budget_s, quick)


def _overhead(rounds: int, budget_s: float, _quick: bool) -> Outcome:
    from . import overhead

    return overhead.run(rounds, budget_s)


def _agent(rounds: int, budget_s: float, _quick: bool) -> Outcome:
    from . import agentcost

    return agentcost.run(rounds, budget_s)


def _events(rounds: int, budget_s: float, quick: bool) -> Outcome:
    from . import parquet, pipeline, recordings

    with tempfile.TemporaryDirectory(prefix="cmonlab-bench-") as scratch:
        saved = {}
        for number, (workload, events) in enumerate(RECORDED.items()):
            print(f"cmonlab: recording {workload} …", file=sys.stderr)
            saved[workload] = recordings.record(workload, events[quick]).save(Path(scratch, str(number)))
        sizes = parquet.run(saved, Path(scratch))
        sizes.merge(pipeline.run({name: saved[name] for name in SORTED}, rounds, budget_s))
    return sizes


_RUNS = {
    "reading": _reading,
    "kernel": _kernel,
    "scaling": _scaling,
    "overhead": _overhead,
    "agent": _agent,
    "events": _events,
}

if __name__ == "__main__":
    sys.exit(main())
