"""Work on several threads has the same result as on one."""

import threading

import numpy as np
import pytest

from cmonlab.data.analysis import latency, times
from cmonlab.data.analysis.walk import Walk
from cmonlab.data.correlation import correlate as correlation
from cmonlab.data.correlation import order, packets
from cmonlab.data.correlation.correlate import correlate
from cmonlab.data.correlation.threads import both, spread
from cmonlab.session.session import Session
from tests.support.events import STAGES, manifest
from tests.support.network import Network


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_are_in_the_order_of_the_items(threads):
    assert spread(lambda a, b: a * b, range(40), range(1, 41), threads=threads) == [i * (i + 1) for i in range(40)]


def test_one_thread_is_the_callers():
    assert spread(lambda _: threading.get_ident(), range(3), threads=1) == [threading.get_ident()] * 3


def test_two_functions_run_at_the_same_time():
    meet = threading.Barrier(2, timeout=10)
    assert sorted(both(meet.wait, meet.wait, 2)) == [0, 1]


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_a_thread_is_raised(threads):
    with pytest.raises(ZeroDivisionError):
        spread(lambda number: 1 // number, [1, 0, 1], threads=threads)


def results(session, threads):
    """Return the result of correlation with this number of threads, and its breakdown."""
    found = correlate(session.columns, STAGES, threads=threads)
    walk = Walk(session.columns, found, session.facts.names, session.facts.kinds)
    complete = np.flatnonzero(session.ends.complete)
    sent_ns, direction = session.columns["ts_ns"][found.first_tx[complete]], session.ends.direction[complete]
    arrays = [
        *(getattr(found, name) for name in ("event", "start", "repeats", "segmented_from", "merged_into")),
        found.hops.code,
    ]
    table = latency.breakdown(walk, complete, sent_ns, direction, 1.0, threads)
    return arrays, table, latency.by_kind(walk, complete, direction, 1.0, threads)


def test_journeys_and_breakdown_are_independent_of_threads(monkeypatch):
    network = Network(np.random.default_rng(3), 6, gro=True)
    network.run(300)
    session = Session(network.columns(), manifest())
    alone, *alone_tables = results(session, 1)
    assert len(alone_tables[0]) > 5
    for module, part in ((order, 37), (packets, 41), (correlation, 80), (times, 64)):
        monkeypatch.setattr(module, "PART", part)
    for threads in (1, 3):
        arrays, *tables = results(session, threads)
        assert all(np.array_equal(a, b) for a, b in zip(arrays, alone, strict=True))
        assert all(a.equals(b) for a, b in zip(tables, alone_tables, strict=True))
