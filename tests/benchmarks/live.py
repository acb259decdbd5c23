"""Time of a live refresh: the tables of one window of mode aggregate, with many containers."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

import numpy as np

from cmonlab.data.analysis.histogram import bounds, bucket_of, middle
from cmonlab.data.analysis.stats import interleave
from cmonlab.data.store.directory import empty_columns
from cmonlab.recording.capture import Capture
from cmonlab.rules import Rule
from cmonlab.session.session import Session
from cmonlab.study.testbed.testbed import ip

from . import many
from .outcome import Outcome
from .traffic import until

CONTAINERS = 200
_WINDOW_S = 3.5  # contains two complete windows
_INTERFACE = {"kind": "veth", "master": 0, "peer": 0}


def links(prefix: str, count: int) -> list[dict]:
    """Return the rows of the links table for the containers' interfaces."""
    rows = []
    for number in range(count):
        name = f"{prefix}-{number}"
        (link,) = [link for link in json.loads(ip("-n", name, "-j", "addr")) if link["ifname"] == "eth0"]
        rows.append(
            _INTERFACE
            | {
                "netns": os.stat(f"/run/netns/{name}").st_ino,
                "namespace": f"c{number}",
                "ifindex": link["ifindex"],
                "name": "eth0",
                "mtu": link["mtu"],
                "mac": link["address"],
                "addresses": [address["local"] for address in link["addr_info"]],
            }
        )
    return rows


def windows(count: int) -> list[Session]:
    """Return one session per complete window of traffic between many containers, as a live view has it."""
    rule = Rule(name="everyone", match="udp", mode="aggregate")
    with many.namespaces(count) as prefix, many.messages(prefix, count):
        rows = links(prefix, count)
        with Capture([rule], lambda: rows) as capture:
            began_s = time.monotonic()
            until(lambda: time.monotonic() - began_s > _WINDOW_S, "a few windows", 2 * _WINDOW_S)
            session = capture.session()
    start_ns = session.cells["start_ns"]
    found = []
    for begin in np.unique(start_ns)[1:-1]:  # the first and the last are incomplete
        cells = {name: values[start_ns == begin] for name, values in session.cells.items()}
        found.append(Session(empty_columns(), session.manifest, cells))
    return found


def _fresh_ms(window: Session, look: Callable[[Session], object]) -> float:
    session = Session(empty_columns(), window.manifest, window.cells)
    began_ns = time.perf_counter_ns()
    look(session)
    return (time.perf_counter_ns() - began_ns) / 1e6


def run(rounds: int, budget_s: float, _quick: bool) -> Outcome:
    """Time one refresh of each live table, and judge the histograms' buckets."""
    outcome = Outcome()
    window = windows(CONTAINERS)[-1]
    tables = {name: lambda session, name=name: session.table(name) for name in ("pairs", "flows", "segments")}
    looks = tables | {"all three": lambda session: [look(session) for look in tables.values()]}
    calls = {name: lambda look=look: _fresh_ms(window, look) for name, look in looks.items()}
    for name, values in interleave(calls, rounds, budget_s).items():
        outcome.add("live", f"one refresh of live tables, {CONTAINERS} containers", name, "ms", values)
    outcome.notes.append(
        f"live: {CONTAINERS} containers, {len(window.cells['bucket']):,} cells and"
        f" {len(window.pairs())} pairs in the window of a second"
    )
    outcome.judge("histogram", [largest_error()])
    return outcome


def largest_error() -> float:
    """Return the largest relative error of a time from 1 ns to 100 s if its bucket's middle replaces it."""
    buckets = np.arange(1, int(bucket_of(np.array([100 * 10**9]))[0]) + 1)
    lower, upper = bounds(buckets)
    off = np.maximum(middle(buckets) - lower, upper - middle(buckets))
    return float((off / lower).max())
