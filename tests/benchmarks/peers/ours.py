"""cmonlab in a separate process, like the other tracers.

``python -m tests.benchmarks.peers.ours RULE [DIRECTORY]``: a rule as JSON; looks until
SIGINT, then prints what it got, and saves the session where a directory is given.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence

from cmonlab.recording.capture import Capture
from cmonlab.rules import Rule

from .callback import counts
from .tracer import Program


def program(expression: str, mode: str, points: Sequence[str], directory: str = "") -> Program:
    """Return the process that traces with one rule."""
    rule = Rule(name=mode, match=expression, mode=mode, points=list(points)).model_dump_json()
    command = [sys.executable, "-m", __name__, rule, *filter(None, [directory])]
    return Program([command], lambda _, said: "ready" in said, lambda said: counts(said[0]))


def main(rule: Rule, directory: str) -> None:
    """Trace until SIGINT."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # before there are threads
    with Capture([rule], list) as capture:
        print("ready", flush=True)
        signal.sigwait({signal.SIGINT})
        session = capture.session()
    ledger = session.ledger()
    found = {"capture": "recorded", "aggregate": "aggregated", "count": "counted"}[rule.mode]
    lost = int(ledger[["lost", "overflowed"]].to_numpy().sum())
    if directory:
        session.save(directory)
    print(json.dumps({"events": int(ledger[found].sum()), "lost": lost}))


if __name__ == "__main__":
    main(Rule.model_validate_json(sys.argv[1]), (*sys.argv[2:], "")[0])
