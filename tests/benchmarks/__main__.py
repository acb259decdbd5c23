"""Measure speed, memory and tracing overhead: ``python -m tests.benchmarks [--out DIR] [--quick] [--only PART]``.

Every result is a ratio or a difference within one run, and a median over interleaved rounds. A missed target is marked
in the report and does not fail the run. A part that ends with an error fails it; so does a goal without a measurement.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from cmonlab.errors import CmonlabError
from cmonlab.system.host import now

from . import machine, report
from .outcome import Outcome
from .parts import PARTS
from .targets import unjudged


def main(words: list[str] | None = None) -> int:
    """Run the benchmarks and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="Measure cmonlab's speed, memory and tracing overhead."
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), help="directory for bench.json and report.html")
    parser.add_argument("--quick", action="store_true", help="a few minutes: few rounds, for a first look only")
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part only; can be repeated")
    options = parser.parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as after Ctrl-C
    try:
        machine.check()
        result = measure(options.only or list(PARTS), options.quick)
        report.write(options.out, result)
    except CmonlabError as error:
        print(f"cmonlab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cmonlab: interrupted; nothing was written, everything was removed", file=sys.stderr)
        return 130
    print(report.text(result, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    print(f"{options.out}/bench.json {options.out}/report.html ({result['seconds']:.0f} s)")
    for name in result["not_measured"]:
        print(f"cmonlab: nothing was measured for the target {name!r}", file=sys.stderr)
    return 1 if result["not_measured"] else 0


def measure(names: list[str], quick: bool) -> dict:
    """Run the named parts and return the content of bench.json."""
    result = {"created": now(), **machine.describe(), "quick": quick}
    outcome, seconds = Outcome(), {}
    for name in names:
        print(f"cmonlab: measuring {name} …", file=sys.stderr)
        began_s = time.monotonic()
        outcome.merge(PARTS[name](quick))
        seconds[name] = time.monotonic() - began_s
    return result | {
        "seconds": sum(seconds.values()),
        "seconds_by_part": seconds,
        "targets": [asdict(target) for target in outcome.targets],
        "not_measured": [goal.name for goal in unjudged(outcome.targets, names)],
        "notes": outcome.notes,
        "samples": [sample.described() for sample in outcome.samples],
    }


if __name__ == "__main__":
    sys.exit(main())
