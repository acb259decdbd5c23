"""Statistics, targets and reports of the benchmarks, on known samples."""

import ast
import json
import math
import random
import subprocess
import sys
from dataclasses import asdict
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmonlab.data.analysis import stats
from cmonlab.data.analysis.stats import interleave, ratios, summarise
from cmonlab.errors import UnknownName
from tests.benchmarks import figures, live, manyflows, manyping, parts, report
from tests.benchmarks.outcome import Outcome
from tests.benchmarks.targets import GOALS, MEETS, judge, unjudged

FINITE = st.floats(-1e9, 1e9)


def test_summary_of_known_samples():
    found = summarise([4.0, 1.0, 3.0, 2.0, 5.0])
    assert (found.n, found.median, found.quartiles) == (5, 3.0, (2.0, 4.0))
    assert 1.0 <= found.interval[0] <= 3.0 <= found.interval[1] <= 5.0


def test_outlier_hardly_moves_median_and_interval():
    calm = [1.0 + i / 1000 for i in range(21)]
    wild = [*calm[:-1], 1000.0]
    assert abs(summarise(wild).median - summarise(calm).median) < 0.01
    assert summarise(wild).interval[1] < 1.1


@pytest.mark.parametrize("samples", [[], [1.0, math.nan], [math.inf], [[1.0], [2.0]]])
def test_summary_refuses_samples_without_a_median(samples):
    with pytest.raises(ValueError, match="finite sample"):
        summarise(samples)


@given(st.lists(FINITE, min_size=1, max_size=40))
def test_summary_is_ordered_and_repeatable(samples):
    found = summarise(samples)
    assert min(samples) <= found.quartiles[0] <= found.median <= found.quartiles[1] <= max(samples)
    assert found.interval[0] <= found.interval[1]
    assert found == summarise(samples)


def test_interval_contains_the_true_median_in_95_percent():
    draw = random.Random(1)
    runs = [summarise([draw.gauss(10, 2) for _ in range(15)]).interval for _ in range(200)]
    held = sum(low <= 10 <= high for low, high in runs)
    assert 175 <= held <= 200


def test_ratios_pair_the_rounds():
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError):
        ratios([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("key", "around", "met", "sure"),
    [
        ("memory", 2.5, True, True),  # at most 3
        ("memory", 3.0, True, False),  # the median is exactly the goal, the interval reaches beyond
        ("memory", 3.05, False, False),
        ("memory", 4.0, False, True),
        ("reading", 30.0, True, True),  # at least 25
        ("reading", 24.95, False, False),
        ("reading", 20.0, False, True),
    ],
)
def test_targets_are_met_by_the_median_and_sure_by_the_interval(key, around, met, sure):
    target = judge(key, [around + by for by in (-0.2, -0.1, 0.0, 0.1, 0.2)], "somewhere")
    assert (target.met, target.sure, target.value, target.rounds) == (met, sure, around, 5)
    assert target.name == f"{GOALS[key].name}, somewhere"


def test_judge_refuses_an_unknown_goal():
    with pytest.raises(UnknownName, match="reading"):
        judge("readin", [1.0])


def test_every_goal_has_a_part_and_is_judged_in_the_code():
    assert {goal.part for goal in GOALS.values()} <= set(parts.PARTS)
    assert {goal.sense for goal in GOALS.values()} <= set(MEETS)
    folder = Path(parts.__file__).parent
    sources = [path.read_text() for path in folder.rglob("*.py") if path.name != "targets.py"]
    words = {node.value for text in sources for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
    assert [key for key in GOALS if key not in words] == []


def test_unjudged_lists_goals_without_measurement():
    assert {goal.key for goal in unjudged([], list(parts.PARTS))} == set(GOALS)
    left = unjudged([judge("agent memory", [140.0])], ["agent"])
    assert {goal.key for goal in left} == {"agent idle", "agent first", "agent change"}


def test_interleave_measures_each_variant_once_per_round_in_changing_order():
    calls = []
    found = interleave({name: lambda name=name: calls.append(name) or float(len(calls)) for name in "abc"}, 20)
    assert {name: len(values) for name, values in found.items()} == {"a": 20, "b": 20, "c": 20}
    orders = {tuple(calls[at : at + 3]) for at in range(0, 60, 3)}
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert len(orders) > 2


def test_interleave_stops_at_its_budget_after_the_least_rounds(monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(stats.time, "monotonic", lambda: next(clock))
    assert len(interleave({"a": lambda: 1.0}, 50, budget_s=35, least=2)["a"]) == 5
    assert len(interleave({"a": lambda: 1.0}, 50, budget_s=0, least=7)["a"]) == 7


def a_result(*, quick=False, **samples):
    outcome = Outcome()
    for name, values in samples.items():
        outcome.judge("memory", values, name)
        outcome.add("events", "something", name, "s", values)
        outcome.notes.append(f"<{name}> & more")
    machine = {"cpu": "<b>", "cpus": 2, "memory_bytes": 2**33, "load": (0.1, 0.2, 0.3)}
    return {
        "created": "now",
        "seconds": 1.0,
        "quick": quick,
        "machine": machine,
        "kernel": {"kernel": "6"},
        "versions": {},
        "targets": [asdict(target) for target in outcome.targets],
        "notes": outcome.notes,
        "samples": [sample.described() for sample in outcome.samples],
    }


def test_missed_target_is_marked_everywhere(tmp_path):
    result = a_result(good=[1.0, 2.0, 2.5], bad=[3.5, 4.0, 4.5])
    lines = [line for line in report.text(result, colour=True).splitlines() if "at most" in line]
    bad, good = (next(line for line in lines if name in line) for name in ("bad", "good"))
    assert bad.startswith(report.RED) and "MISSED" in bad
    assert good.startswith(report.GREEN) and "MISSED" not in good
    assert "\033" not in report.text(result)
    assert "1 of 2 targets met" in report.text(result)
    report.write(tmp_path, result)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<tr class='failed'>") == 1
    assert "1 of 2 met, 1 missed" in page
    assert "&lt;bad&gt; &amp; more" in page and "<b>" not in page


def test_files_hold_every_sample(tmp_path):
    result = a_result(good=[1.0, 2.0, 2.5])
    report.write(tmp_path / "bench", result)
    read = json.loads((tmp_path / "bench/bench.json").read_text())
    assert [(sample["case"], sample["values"]) for sample in read["samples"]] == [("good", [1.0, 2.0, 2.5])]
    assert [{key: t[key] for key in ("name", "goal", "value", "met")} for t in read["targets"]] == [
        {"name": f"{GOALS['memory'].name}, good", "goal": 3.0, "value": 2.0, "met": True}
    ]
    assert sorted(path.name for path in (tmp_path / "bench").iterdir()) == ["bench.json", "report.html"]


def peers():
    """Return samples of a workload with two tracers."""
    outcome = Outcome()
    for way, p50 in (("untraced", [10.0, 10.0]), ("cmonlab capture", [11.0, 12.0]), ("tcpdump -i any", [20.0, 20.0])):
        outcome.add("peers", "sockperf UDP, 64 B: p50", way, "us", p50)
    outcome.add("peers", "sockperf UDP, 64 B: lost", "tcpdump -i any", "% of the events", [1.0, 3.0])
    outcome.add("containers", "run time a packet, namespaces", "floor", "ns", [1.0], 2)
    outcome.add("containers", "run time a packet, namespaces", "floor", "ns", [2.0], 200)
    return outcome.samples


def test_side_by_side_table_has_one_row_per_tracer():
    (table,) = report.side_tables(peers()).values()
    assert table["tracer"].tolist() == ["untraced", "cmonlab capture", "tcpdump -i any"]
    assert table["p50 (us)"].tolist() == [10.0, 11.5, 20.0]
    assert table["lost (% of the events)"].tolist()[2] == 2.0 and table["lost (% of the events)"].isna().sum() == 2


def test_figures_show_ratios_to_untraced_and_the_scale():
    found = report.drawn(peers())
    assert list(found) == ["Side by side: sockperf UDP, 64 B", "Containers"]
    ours, others = found["Side by side: sockperf UDP, 64 B"].data
    assert (list(ours.y), list(ours.x)) == (["cmonlab capture"], [1.15])
    assert (list(others.y), list(others.x)) == (["tcpdump -i any"], [2.0])
    (line,) = found["Containers"].data
    assert (list(line.x), list(line.y)) == ([2, 200], [1.0, 2.0])


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [(0.01, 1.0, [0.01, 0.05, 0.2, 1.0]), (1.0, 250.0, [1, 5, 20, 100]), (0.8, 1.0, [0.8, 1.0]), (1, 1.4, [1.0, 1.4])],
)
def test_logarithmic_ticks_are_few_and_round(low, high, found):
    assert figures.ticks(low, high) == pytest.approx(found)


def test_histogram_error_is_smaller_than_stated():
    assert 0 < live.largest_error() < 0.03


@pytest.mark.parametrize("flows", [1, 10, 50_000, 50_001, 100_000])
def test_ports_make_the_given_number_of_flows(flows):
    found = manyflows.ports(flows)
    assert sum(map(len, found)) == flows
    assert all(numbers[0] > 1024 and numbers[-1] < 65536 for numbers in found)


def test_command_without_root_says_what_it_needs(tmp_path):
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


def test_every_namespace_has_its_own_address():
    found = [manyping.address(number) for number in range(600)]
    assert len(set(found)) == 600
    assert found[:2] == ["10.78.0.1", "10.78.0.2"]
    assert all(ip_address(address) in ip_network("10.78.0.0/16") for address in found)
