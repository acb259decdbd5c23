"""The benchmarks' statistics, targets and reports, on samples that are known."""

import json
import math
import random
import subprocess
import sys
from dataclasses import asdict
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmonlab.analysis import stats
from cmonlab.analysis.stats import interleave, ratios, summarise
from tests.benchmarks import manyping, overhead, report
from tests.benchmarks.targets import Outcome, judge

FINITE = st.floats(-1e9, 1e9)


def test_summary_of_known_samples():
    found = summarise([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (found.n, found.median, found.quartiles) == (5, 3.0, (2.0, 4.0))
    assert 1.0 <= found.interval[0] <= 3.0 <= found.interval[1] <= 5.0


def test_one_outlier_moves_neither_median_nor_interval_far():
    calm = [1.0 + i / 1000 for i in range(21)]
    wild = [*calm[:-1], 1000.0]
    assert abs(summarise(wild).median - summarise(calm).median) < 0.01
    assert summarise(wild).interval[1] < 1.1


@pytest.mark.parametrize("samples", [[], [1.0, math.nan], [math.inf], [[1.0], [2.0]]])
def test_summary_refuses_what_has_no_middle(samples):
    with pytest.raises(ValueError, match="finite sample"):
        summarise(samples)


@given(st.lists(FINITE, min_size=1, max_size=40))
def test_summary_is_ordered_and_repeatable(samples):
    found = summarise(samples)
    assert min(samples) <= found.quartiles[0] <= found.median <= found.quartiles[1] <= max(samples)
    assert found.interval[0] <= found.interval[1]
    assert found == summarise(samples)


def test_interval_holds_the_true_median_about_nineteen_times_in_twenty():
    draw = random.Random(1)
    runs = [summarise([draw.gauss(10, 2) for _ in range(15)]).interval for _ in range(200)]
    held = sum(low <= 10 <= high for low, high in runs)
    assert 175 <= held <= 200


def test_ratios_pair_the_rounds():
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("sense", "goal", "met", "sure"),
    [
        ("at most", 3.0, True, True),
        ("at most", 2.0, True, False),  # the median is exactly the goal, the interval reaches beyond
        ("at most", 1.95, False, False),
        ("at most", 1.0, False, True),
        ("at least", 1.0, True, True),
        ("at least", 2.05, False, False),
        ("at least", 3.0, False, True),
    ],
)
def test_targets_are_met_by_the_median_and_sure_by_the_interval(sense, goal, met, sure):
    target = judge("x", sense, goal, [1.8, 1.9, 2.0, 2.1, 2.2])
    assert (target.met, target.sure, target.value, target.rounds) == (met, sure, 2.0, 5)


def test_a_goal_needs_a_known_sense():
    with pytest.raises(ValueError, match="at least"):
        judge("x", "about", 1.0, [1.0])


def test_interleave_measures_each_variant_once_a_round_in_changing_order():
    calls = []
    found = interleave({name: lambda name=name: calls.append(name) or float(len(calls)) for name in "abc"}, 20)
    assert {name: len(values) for name, values in found.items()} == {"a": 20, "b": 20, "c": 20}
    orders = {tuple(calls[at : at + 3]) for at in range(0, 60, 3)}
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len(orders) > 2


def test_interleave_stops_at_its_budget_but_not_before_the_least(monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(stats.time, "monotonic", lambda: next(clock))
    assert len(interleave({"a": lambda: 1.0}, 50, budget_s=35, least=2)["a"]) == 5
    assert len(interleave({"a": lambda: 1.0}, 50, budget_s=0, least=7)["a"]) == 7


def a_result(**samples):
    outcome = Outcome()
    for name, values in samples.items():
        outcome.merge(Outcome({name: values}, [judge(name, "at most", 3.0, values)], [f"<{name}> & more"]))
    about = {"created": "now", "machine": {"cpu": "<b>"}, "kernel": {}, "versions": {}}
    targets = [asdict(target) for target in outcome.targets]
    return about | {
        "samples": outcome.samples,
        "results": outcome.results(),
        "targets": targets,
        "notes": outcome.notes,
    }


def test_a_missed_target_is_marked_everywhere():
    result = a_result(good=[1.0, 2.0, 3.0], bad=[3.5, 4.0, 4.5])
    rows = {line.split()[0]: line for line in report.text(result, colour=True).splitlines() if "at most" in line}
    assert "MISSED" in next(line for name, line in rows.items() if "bad" in name)
    assert next(line for name, line in rows.items() if "bad" in name).startswith(report.RED)
    assert next(line for name, line in rows.items() if "good" in name).startswith(report.GREEN)
    assert "\033" not in report.text(result)
    page = report.page(result)
    assert page.count("class=missed") == 1
    assert "1 of 2 targets met, 1 missed" in page
    assert "&lt;bad&gt; &amp; more" in page and "<b>" not in page


def test_files_hold_every_sample(tmp_path):
    result = a_result(good=[1.0, 2.0, 3.0])
    report.write(tmp_path / "bench", result)
    read = json.loads((tmp_path / "bench/bench.json").read_text())
    assert read["samples"] == {"good": [1.0, 2.0, 3.0]}
    assert [{key: t[key] for key in ("name", "goal", "value", "met")} for t in read["targets"]] == [
        {"name": "good", "goal": 3.0, "value": 2.0, "met": True}
    ]
    assert sorted(path.name for path in (tmp_path / "bench").iterdir()) == ["bench.json", "report.html"]


def test_without_root_it_says_what_it_needs(tmp_path):
    code = (
        "import os, sys\n"
        "os.geteuid = lambda: 1000\n"
        "from tests.benchmarks.__main__ import main\n"
        f"sys.exit(main(['--quick', '--out', {str(tmp_path / 'out')!r}]))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "root" in run.stderr and "fix: sudo make bench" in run.stderr
    assert not (tmp_path / "out").exists()


def test_added_latency_is_compared_with_tcpdumps_in_the_same_round():
    found = {
        "untraced": [10.0, 20.0, 10.0],
        "tcpdump": [14.0, 24.0, 14.0],
        "capture": [15.0, 25.0, 15.0],
        "aggregate": [11.0, 21.0, 11.0],
    }
    outcome = overhead.judged("udp", found)
    values = {target.name: (target.value, target.met) for target in outcome.targets}
    assert values == {
        "round trip: us that capture adds, less tcpdump adds, udp": (1.0, False),
        "round trip: us that aggregate adds, less 0.5 of what tcpdump adds, udp": (-1.0, True),
    }
    assert any("capture adds 5.00 us" in note for note in outcome.notes)


def test_throughput_is_compared_within_its_round():
    found = {"untraced": [1.0, 10.0, 2.0], "aggregate": [0.98, 9.8, 1.96], "capture": [0.5, 5.0, 1.0]}
    outcome = overhead.judged_throughput(found)
    (target,) = outcome.targets
    assert target.value == pytest.approx(0.98) and target.met
    assert outcome.samples["throughput tcp capture / untraced"] == [0.5, 0.5, 0.5]


def test_each_namespace_has_an_address_of_its_own():
    found = [manyping.address(number) for number in range(600)]
    assert len(set(found)) == 600
    assert found[:2] == ["10.78.0.1", "10.78.0.2"]
    assert all(ip_address(address) in ip_network("10.78.0.0/16") for address in found)
