"""Tracing overhead: the statistics of known samples, and the order of the rounds."""

import json
import os
import random
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from cmonlab import schema
from cmonlab.data.analysis import overhead as analysis
from cmonlab.data.analysis.overhead import UNTRACED, Overhead
from cmonlab.data.analysis.stats import paired
from cmonlab.errors import CmonlabError, UnknownName
from cmonlab.lab.workload import WorkloadResult
from cmonlab.recording.overhead import busy_seconds, cpu_seconds, measure
from cmonlab.session.report.page import write_report
from cmonlab.session.report.sections import overhead_report

METRICS = ["throughput", "p50", "p99", "p99.9", "CPU", "tracer CPU"]


class Load:
    """A workload with known results: each run is slower than the one before, and slower still when traced."""

    name, work = "made", ("operations_per_s", "operation")

    def __init__(self, latencies=True):
        self.runs, self.prepared, self.traced, self.latencies = 0, 0, False, latencies

    def prepare(self, lab):
        self.prepared += 1

    def run(self, lab, duration_s, progress=None):
        self.runs += 1
        delay = 1000.0 + 10 * self.runs + 200 * self.traced
        metrics = {"operations_per_s": 1e9 / delay, "load_s": duration_s}
        if self.latencies:
            metrics |= {"latency_p50_ns": delay, "latency_p99_ns": 2 * delay, "latency_p999_ns": 3 * delay}
        return WorkloadResult(self.name, {}, 0, 1, metrics, "")

    def describe(self):
        return {"name": self.name, "parameters": {}}


def tracer_of(load, pids=None):
    """Return a tracer that slows this load down."""

    @contextmanager
    def trace():
        load.traced = True
        yield pids
        load.traced = False

    return trace


def test_known_difference_is_within_its_interval_despite_drift():
    draw = random.Random(3)
    # What both have in common varies a hundred times as much as their difference.
    common = [1000 + 500 * draw.random() for _ in range(15)]
    untraced = [value + draw.gauss(0, 5) for value in common]
    observed = [value + 20 + draw.gauss(0, 5) for value in common]
    change = paired(observed, untraced)
    assert change.difference.interval[0] <= 20 <= change.difference.interval[1]
    assert change.difference.interval[1] - change.difference.interval[0] < 20
    assert 1 < change.ratio.interval[0] <= change.ratio.median <= change.ratio.interval[1] < 1.05


@pytest.mark.parametrize("rounds", [5, 6, 10])
def test_interval_contains_the_true_difference_with_its_confidence(rounds):
    draw = np.random.default_rng(5)
    held = 0
    for _ in range(200):
        untraced = draw.normal(100, 10, rounds)
        low, high = paired(untraced + draw.normal(3, 2, rounds), untraced).difference.interval
        held += low <= 3 <= high
    assert held >= 176  # 95% of 200 less three standard deviations


def test_few_rounds_have_no_interval_and_zero_has_no_ratio():
    few = paired([2.0, 4.0, 6.0, 8.0], [1.0, 2.0, 3.0, 4.0])
    assert few.ratio.median == 2 and np.isnan(few.difference.interval).all() and np.isnan(few.ratio.interval).all()
    assert paired([1.0], [0.0]).ratio is None
    with pytest.raises(ValueError):
        paired([1.0], [1.0, 2.0])


def test_each_round_has_every_tracer_once_in_random_order_after_the_warmup():
    load, calls = Load(), []
    tracer = tracer_of(load)
    found = measure(
        None, load, {"a": tracer, "b": tracer}, rounds=20, warmup=2, progress=lambda *said: calls.append(said)
    )
    assert load.prepared == 1 and load.runs == 3 * 22 and len(calls) == 3 * 22
    assert len(found.order) == 20 and all(sorted(turn) == ["a", "b", UNTRACED] for turn in found.order)
    assert len({tuple(turn) for turn in found.order}) == 6
    assert all(0 <= fraction < 1 for _, fraction in calls) and calls == sorted(calls, key=lambda call: call[1])
    # The delay grows with each run, and the six runs of the warm-up are left out.
    assert min(min(metrics["p50"]) for metrics in found.samples.values()) == 1000 + 10 * 7
    bare = {name: np.array(metrics["p50"]) - 200 * (name != UNTRACED) for name, metrics in found.samples.items()}
    assert [sorted(bare, key=lambda name: bare[name][number]) for number in range(20)] == found.order


def test_table_has_the_change_of_every_metric():
    load = Load()
    table = measure(None, load, {"watch": tracer_of(load)}, rounds=8, round_s=2.0).table()
    assert list(table.columns) == schema.columns("overhead") and table["metric"].tolist() == METRICS
    assert table["unit"].tolist() == ["operation/s", "ns", "ns", "ns", "ns/operation", "CPUs"]
    rows = table.set_index("metric")
    assert rows.loc["p50", "difference"] == pytest.approx(200, abs=10)
    assert rows.loc["p99", "difference"] == pytest.approx(400, abs=20)
    assert rows.loc["p50", "low"] <= 200 <= rows.loc["p50", "high"]
    assert 0.8 < rows.loc["throughput", "ratio_low"] <= rows.loc["throughput", "ratio"] < 0.9
    assert set(table["rounds"]) == {8} and set(table["tracer"]) == {"watch"}
    assert np.isnan(rows.loc["tracer CPU", "ratio"])


def test_workload_without_latencies_has_no_rows_for_them():
    load = Load(latencies=False)
    table = measure(None, load, {"watch": tracer_of(load)}, rounds=1, warmup=0).table()
    assert table["metric"].tolist() == ["throughput", "CPU", "tracer CPU"]


def test_overhead_is_the_same_after_json():
    load = Load()
    found = measure(None, load, {"watch": tracer_of(load)}, rounds=3)
    described = json.loads(json.dumps(found.describe(), allow_nan=False))
    assert Overhead.read(described) == found and len(described["table"]) == len(METRICS)
    assert (
        described["table"][0]["low"] is None and described["table"][1]["difference"] == found.table()["difference"][1]
    )
    pd.testing.assert_frame_equal(Overhead.read(described).table(), found.table())


def test_impossible_rounds_and_names_of_tracers_are_refused():
    load = Load()
    for arguments in ({"rounds": 0}, {"warmup": -1}):
        with pytest.raises(CmonlabError, match="tracing overhead cannot be measured"):
            measure(None, load, {"watch": tracer_of(load)}, **arguments)
    for tracers in ({}, {UNTRACED: tracer_of(load)}):
        with pytest.raises(UnknownName, match="tracer"):
            measure(None, load, tracers)
    assert load.runs == 0


def test_cpu_time_of_other_processes_counts_and_their_end_is_an_error():
    code = "import sys\nwhile True:\n for _ in range(10**6): pass\n print(flush=True)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        before, machine = cpu_seconds([process.pid]), busy_seconds()
        for _ in range(20):
            process.stdout.readline()
        spent = cpu_seconds([process.pid]) - before
        assert spent > 0.05 and busy_seconds() - machine > 0.5 * spent
        assert cpu_seconds([os.getpid(), process.pid]) > cpu_seconds([process.pid])
    finally:
        process.kill()
        process.wait()
    load = Load()
    with pytest.raises(CmonlabError, match="has ended"):
        measure(None, load, {"watch": tracer_of(load, [process.pid])}, rounds=1)


def test_summary_is_one_line():
    samples = {
        UNTRACED: {"throughput": [1000.0] * 6, "p50": [20_000.0] * 6, "p99": [1.0] * 6, "CPU": [100.0] * 6},
        "traced": {
            "throughput": [988.0, 990.0, 986.0, 987.0, 989.0, 988.0],
            "p50": [20_800.0] * 6,
            "p99": [2.0] * 6,
            "CPU": [150.0] * 6,
        },
    }
    units = {"throughput": "piece/s", "p50": "ns", "p99": "ns", "CPU": "ns/piece"}
    table = analysis.table(samples, units)
    said = analysis.summary(table)
    assert said.startswith("throughput −1.2% (95% −1.4…−1.0), p50 +0.80 µs (95% +0.80…+0.80), CPU +50.0% (95%")
    few = {name: {metric: values[:2] for metric, values in metrics.items()} for name, metrics in samples.items()}
    assert "p50 +0.80 µs (2 rounds only)" in analysis.summary(analysis.table(few, units))
    several = analysis.table(samples | {"other": samples["traced"]}, units)
    assert analysis.summary(several) == "of 2 tracers, see its table"
    assert analysis.table({}, {}).empty and list(analysis.table({}, {})) == schema.columns("overhead")


def test_program_times_are_kept_if_a_tracer_has_programs():
    times = {"traced": {"netif_rx": [104.5, 2_000], "net_dev_queue": [91.0, 4_000]}}
    table = analysis.program_times(times)
    assert list(table.columns) == schema.columns("program_times")
    assert table.set_index("point").loc["netif_rx"].tolist() == ["traced", 104.5, 2_000]
    found = measure(None, Load(), {"watch": tracer_of(Load())}, rounds=1)
    assert found.programs == {} and analysis.program_times(found.programs).empty
    older = {name: value for name, value in found.describe().items() if name != "programs"}
    assert Overhead.read(older).programs == {} and Overhead.read(json.loads(json.dumps(found.describe()))) == found


def test_report_says_what_was_measured_and_whether_rounds_are_too_few(tmp_path):
    load = Load()
    host = {"kernel": "6.1", "clocksource": "tsc", "cpu": "x", "cpus": 2, "machine": "x86_64"}
    for rounds, short in ((5, False), (2, True)):
        found = measure(None, load, {"traced": tracer_of(load)}, rounds=rounds)
        section = overhead_report(found, ["tcp port 1"], host)
        assert dict(section.summary)["rules"] == "tcp port 1" and dict(section.summary)["kernel"] == "6.1 (tsc)"
        assert any("too few" in note for note in section.notes) == short
        assert write_report(tmp_path / "report.html", [section]).stat().st_size > 1 << 20
