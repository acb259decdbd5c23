"""The analysis after the capture: ``python -m tests.benchmarks.peers.offline DIRECTORY``.

Prints how many events a second of CPU become segments: those of a session of cmonlab, or
of tcpdump's captures, whichever the directory holds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cmonlab

from . import join


def main(scratch: Path) -> None:
    """Run the analysis once."""
    began_s = time.process_time()
    if (scratch / "session").exists():
        session = cmonlab.open(scratch / "session")
        session.breakdown()
        events = len(session)
    else:
        events, _ = join.segments(list(scratch.glob("*.pcap")))
    print(events / (time.process_time() - began_s))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
