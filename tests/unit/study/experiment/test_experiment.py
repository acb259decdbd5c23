"""The grid, the plan and the tables of an experiment; tests/docker has the runs themselves."""

import json
from collections import Counter

import pytest

import cmonlab as cm
from cmonlab.errors import RuleError, SessionError, TopologyError, UnknownName, WorkloadError
from cmonlab.session.session import Session
from cmonlab.study.experiment import plan as plans
from cmonlab.study.experiment.grid import cells_of, factors_of
from tests.support.events import bulk
from tests.support.manifests import complete_manifest

GRID = {"workload": ["sockperf-tcp", "memcached"], "containers": [2, 3]}


def test_cells_are_every_combination_of_the_grid():
    cells = cells_of(factors_of(GRID | {"template": "bridge"}), 5.0)
    assert [cell.labels for cell in cells] == [
        {"template": "bridge", "workload": load, "containers": n} for load in GRID["workload"] for n in (2, 3)
    ]
    assert [len(cell.topology.containers) for cell in cells] == [2, 3, 2, 3]
    assert cells[0].workload == cm.Sockperf(protocol="tcp") and cells[0].rules[0].match.packets == "tcp port 11111"
    assert {cell.duration_s for cell in cells} == {5.0}


def test_labels_are_names_and_differing_parameters(tmp_path):
    file = tmp_path / "narrow.yaml"
    file.write_text("rules: [{name: web, match: tcp port 80}]")
    small, large = cm.Sockperf(message_bytes=64), cm.Sockperf(message_bytes=1000)
    factors = factors_of(
        {
            "workload": [small, large, "memcached"],
            "template": [cm.templates.bridge(3)],
            "duration_s": 2,
            "rule": {
                "all": "",
                "one": cm.Rule(name="x", match="udp"),
                "file": file,
                "two": [cm.Rule(name="y", match="")],
            },
        }
    )
    assert list(factors["workload"]) == [
        "sockperf-tcp(message_bytes=64)",
        "sockperf-tcp(message_bytes=1000)",
        "memcached",
    ]
    assert list(factors["template"]) == ["bridge"] and list(factors["rule"]) == ["all", "one", "file", "two"]
    cells = cells_of(factors, 10.0)
    assert len(cells) == 12 and cells[2].rules[0].name == "web" and cells[0].duration_s == 2.0
    assert list(factors_of({"workload": "memcached", "rule": [file]})["rule"]) == ["narrow"]


def test_factors_set_parameters_of_the_template_or_the_workload():
    cells = cells_of(factors_of({"workload": ["sockperf-udp", cm.Sockperf()], "message_bytes": [100]}), 1.0)
    assert [cell.workload.message_bytes for cell in cells] == [100, 100]
    assert [cell.workload.protocol for cell in cells] == ["udp", "tcp"]
    with pytest.raises(UnknownName, match="message_bytes"):
        cells_of(factors_of({"workload": "sockperf-udp", "mesage_bytes": [100]}), 1.0)
    with pytest.raises(
        UnknownName, match="message_bytes"
    ):  # memcached has no such parameter; refused before anything runs
        cells_of(factors_of({"workload": ["sockperf-udp", "memcached"], "message_bytes": [100]}), 1.0)


@pytest.mark.parametrize(
    ("grid", "error", "message"),
    [
        ({}, WorkloadError, "needs a workload"),
        ({"workload": []}, WorkloadError, "has no values"),
        ({"workload": "memcache"}, UnknownName, "memcached"),
        ({"workload": "memcached", "template": "brige"}, UnknownName, "bridge"),
        ({"workload": "memcached", "containers": [1]}, TopologyError, "two ends"),
        ({"workload": "memcached", "rule": "tcp prt 80"}, RuleError, "port"),
        ({"workload": "memcached", "rule": ["tcp", "tcp"]}, WorkloadError, "have the label 'tcp'"),
        ({"workload": "memcached", "duration_s": [0]}, WorkloadError, "above 0"),
        ({"workload": cm.Memcached(server="c7")}, UnknownName, "c7"),
    ],
)
def test_experiment_refuses_impossible_grids_before_anything_is_made(tmp_path, grid, error, message):
    with pytest.raises(error, match=message):
        cm.Experiment(tmp_path / "e", grid)
    assert not (tmp_path / "e").exists()


def test_order_has_every_combination_per_repetition_in_another_order():
    order = plans.ordered(6, 4, seed=0)
    blocks = [[run["cell"] for run in order[at : at + 6]] for at in range(0, 24, 6)]
    assert all(sorted(block) == list(range(6)) for block in blocks) and len(set(map(tuple, blocks))) > 1
    assert order == plans.ordered(6, 4, seed=0) != plans.ordered(6, 4, seed=1)
    assert Counter(run["repetition"] for run in order) == dict.fromkeys(range(4), 6)
    assert [run["run"] for run in order][:2] == ["run-001", "run-002"]


def test_plan_is_written_once_and_another_plan_is_refused(tmp_path):
    path = tmp_path / "deep" / "e"
    plans.write_or_check(path, cm.Experiment(path, GRID, repetitions=2).plan)
    plans.write_or_check(path, cm.Experiment(path, GRID, repetitions=2).plan)
    assert [file.name for file in path.iterdir()] == ["plan.json"]
    with pytest.raises(SessionError, match="repetitions was 2, now 3"):
        plans.write_or_check(path, cm.Experiment(path, GRID, repetitions=3).plan)
    with pytest.raises(SessionError, match="other cells"):
        plans.write_or_check(path, cm.Experiment(path, GRID, repetitions=2, duration_s=3).plan)
    with pytest.raises(SessionError, match="holds no experiment"):
        cm.Experiment.open(tmp_path)
    (path / "plan.json").write_text("{")
    with pytest.raises(SessionError, match="damaged"):
        cm.Experiment.open(path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(SessionError, match="not an empty directory"):
        plans.write_or_check(tmp_path / "other", {})


@pytest.fixture
def finished(tmp_path):
    """Return an experiment in which all runs but the last are done."""
    experiment = cm.Experiment(tmp_path / "e", GRID, repetitions=2)
    plans.write_or_check(experiment.path, experiment.plan)
    for number, entry in enumerate(experiment.plan["order"][:-1]):
        load = experiment.plan["cells"][entry["cell"]]["workload"]
        manifest = complete_manifest(workload={**load, "metrics": {"ops_per_s": 1000.0 + number}})
        Session(bulk(200, seed=number), manifest).save(experiment.path / entry["run"])
    return experiment


def test_table_has_one_row_per_run_with_factors_and_metrics(finished):
    table = finished.table()
    assert len(table) == 7 and table.columns[:5].tolist() == ["run", "repetition", "template", "workload", "containers"]
    assert (table["complete_journeys"] == 200).all() and table["ops_per_s"].tolist() == [1000.0 + n for n in range(7)]
    session = cm.open(finished.path / "run-003")
    assert table["one_way_delay_p50_ns"][2] == session.journeys()["one_way_delay_ns"].median()
    assert (table["loss"] == 0).all()
    assert finished.table(direction="c1 → c0").equals(table)
    with pytest.raises(UnknownName, match="c1 → c0"):
        finished.table(direction="c0 → c1")


def test_status_shows_missing_and_failed_runs(finished):
    last = finished.plan["order"][-1]["run"]
    assert Counter(finished.status()["state"]) == {"done": 7, "missing": 1}
    (finished.path / f"{last}.failed.json").write_text(json.dumps({"what": "no room", "why": "disk full"}))
    opened = cm.Experiment.open(finished.path)
    assert opened.status()["why"].iloc[-1] == "no room disk full" and "7 done, 1 failed" in repr(opened)


def test_sessions_and_comparisons_are_chosen_by_factor(finished):
    assert len(finished.sessions()) == 7
    assert len(finished.sessions(workload="memcached")) + len(finished.sessions(workload="sockperf-tcp")) == 7
    assert len(finished.sessions(containers=[2, 3])) == 7
    with pytest.raises(UnknownName, match="workload"):
        finished.sessions(workoad="memcached")
    with pytest.raises(UnknownName, match="memcached"):
        finished.sessions(workload="memcache")
    with pytest.raises(SessionError, match="but also containers"):
        finished.compare(by="workload")
    table = finished.compare(by="workload", where={"containers": 2}, quantiles=(0.5,)).table()
    assert table["name"].unique().tolist() == ["memcached"] and table["baseline"].iloc[0] == "sockperf-tcp"
    assert table[["runs", "baseline_runs"]].to_numpy().sum() in (6, 8)
