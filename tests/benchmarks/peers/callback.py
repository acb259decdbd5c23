"""bcc's own method: a callback in Python for each record, in a separate process.

``python -m tests.benchmarks.peers.callback PROTOCOL PORT`` looks until SIGINT, then prints what it got.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

from ..bccobject import compiled
from .tracer import Program

SOURCE = Path(__file__).with_name("same_points.c")
_POLL_MS = 100  # longest wait for an event
EVENTS_PAGES = 4096  # 16 MiB, as much as cmonlab has for one CPU


def program(protocol: str, port: int) -> Program:
    """Return the process that traces the packets of one port."""
    command = [sys.executable, "-m", __name__, protocol, str(port)]
    return Program([command], lambda _, said: "ready" in said, lambda said: counts(said[0]))


def counts(said: str) -> tuple[int, int]:
    """Return events and lost events from the last line that the process printed."""
    found = json.loads(said.strip().splitlines()[-1])
    return found["events"], found["lost"]


def main(protocol: str, port: int) -> None:
    """Trace until SIGINT; the callback decodes each record and stores nothing, which is the least possible work."""
    macros = {"RULES": 16, "EVENTS_PAGES": EVENTS_PAGES, "PORT": port, "PROTOCOL": {"tcp": 6, "udp": 17}[protocol]}
    module, count = compiled(SOURCE, macros), 0
    table = module[b"events"]

    def on_event(_cpu, data, _size) -> None:
        nonlocal count
        table.event(data)
        count += 1

    # KeyboardInterrupt would be raised in the callback, which swallows it.
    stopping = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    table.open_ring_buffer(on_event)
    print("ready", flush=True)
    while not stopping.is_set():
        module.ring_buffer_poll(_POLL_MS)
    module.ring_buffer_consume()
    print(json.dumps({"events": count, "lost": int(module[b"lost"][0].value)}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
