"""A session of 50 million events: the memory of recording and saving it, and of its breakdown.

``python -m tests.benchmarks.large record|breakdown DIRECTORY EVENTS`` does one of them in
a process of its own and prints its peak of resident memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cmonlab
from cmonlab.recording.capture import Capture
from cmonlab.recording.record import rules_of
from cmonlab.session.session import Session
from cmonlab.study.testbed.testbed import testbed

from . import traffic
from .outcome import Outcome
from .pipeline import status_bytes

EVENTS, QUICK_EVENTS = 50_000_000, 2_000_000
_SETTLED_EVENTS = 600_000  # after these every page of the rings has been written to
_DEADLINE_S = 400.0
_GIB = 1 << 30


def recorded(directory: Path, events: int) -> dict[str, float]:
    """Record datagrams of 64 bytes at the default points until there are enough events, and save them."""
    with testbed() as lab, traffic.iperf(lab, "udp", 64, "10G") as rule:
        with Capture(rules_of(rule, None), lab.links) as capture:
            traffic.until(lambda: capture.events >= _SETTLED_EVENTS, "the first events", _DEADLINE_S)
            settled, before = capture.events, status_bytes("VmRSS")
            done = lambda: capture.events >= events or capture.full  # noqa: E731
            traffic.until(done, f"{events:,} events", _DEADLINE_S, every_s=0.02)
            session = capture.session()
        session.save(directory)
    Session({name: values[:2000] for name, values in session.columns.items()}, session.manifest).save(_small(directory))
    peak = status_bytes("VmHWM")
    return {"events": len(session), "peak": peak, "an_event": (peak - before) / (len(session) - settled)}


def _small(directory: Path) -> Path:
    """Return the directory for the first events of a session."""
    return directory.with_name("small")


def broken_down(directory: Path) -> dict[str, float]:
    """Open a session and compute its breakdown."""
    cmonlab.open(_small(directory)).breakdown()  # loads every library
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak (proc_pid_clear_refs(5))
    before, began_s = status_bytes("VmRSS"), time.perf_counter()
    session = cmonlab.open(directory)
    rows = len(session.breakdown())
    took_s, peak = time.perf_counter() - began_s, status_bytes("VmHWM")
    result = {"events": len(session), "peak": peak, "an_event": (peak - before) / len(session)}
    return result | {"rows": rows, "seconds": took_s}


def _in_fresh_process(what: str, directory: Path, events: int) -> dict[str, float]:
    command = [sys.executable, "-m", __name__, what, str(directory), str(events)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def run(quick: bool) -> Outcome:
    """Record and save a large session, open it and compute its breakdown; quick: a smaller one, scaled up."""
    outcome, wanted = Outcome(), QUICK_EVENTS if quick else EVENTS
    with tempfile.TemporaryDirectory(prefix="cmonlab-bench-") as folder:
        directory = Path(folder, "large")
        results = {what: _in_fresh_process(what, directory, wanted) for what in ("record", "breakdown")}
    for what, found in results.items():
        outcome.judge("large", [scaled(found) / _GIB], what)
    last = results["breakdown"]
    outcome.notes.append(
        f"a large session: {last['events']:,} events were opened and broken down in {last['seconds']:.1f} s"
        + ("; the memory is scaled to 50 million" if quick else "")
    )
    return outcome


def scaled(found: dict[str, float]) -> float:
    """Return the peak with 50 million events; the memory without events does not grow with them."""
    return found["peak"] + found["an_event"] * (EVENTS - found["events"])


if __name__ == "__main__":
    kind, path, number = sys.argv[1:]
    json.dump(recorded(Path(path), int(number)) if kind == "record" else broken_down(Path(path)), sys.stdout)
