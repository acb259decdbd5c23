"""Experiments that are killed, interrupted and gone on with."""

import os
import signal
from pathlib import Path

import pytest

import cmonlab as cm
from cmonlab.errors import SessionError, WorkloadError
from cmonlab.lab.topology.deploy import clean

from .conftest import owned, wait_for

pytestmark = pytest.mark.docker

CODE = """
import cmonlab as cm
grid = {{"workload": ["sockperf-udp", "iperf-udp"]}}
experiment = cm.Experiment({path!r}, grid, repetitions=2, duration_s=1, warm_up_s=1, deploy={deploy!r})
experiment.run(progress=lambda phrase, fraction: print("progress", phrase, flush=True))
print("finished", flush=True)
"""
GRID = {"workload": ["sockperf-udp", "iperf-udp"]}


def experiment(path, **changes):
    return cm.Experiment(path, GRID, **{"repetitions": 2, "duration_s": 1, "warm_up_s": 1, **changes})


def test_killed_experiment_continues_with_the_missing_runs(client, child, tmp_path):
    path = tmp_path / "e"
    process = child(CODE.format(path=str(path), deploy="run"))
    while not process.read("progress run 2 of 4"):
        pass
    while "events" not in process.read("progress run 2 of 4"):
        pass
    process.signal(signal.SIGKILL)
    process.wait()
    assert owned(client, process.pid)
    clean(client)
    assert not owned(client, process.pid)
    found = experiment(path)
    assert (path / "plan.json").is_file() and found.status()["state"].tolist() == ["done", *["missing"] * 3]
    first = Path(path, "run-001", "manifest.json").stat().st_mtime_ns
    phrases = []
    status = found.run(progress=lambda phrase, fraction: phrases.append(phrase))
    assert (status["state"] == "done").all() and Path(path, "run-001", "manifest.json").stat().st_mtime_ns == first
    assert any(phrase.startswith("run 1 of 3") for phrase in phrases) and any("warming up" in p for p in phrases)
    table = found.table()
    assert len(table) == 4 and (table["complete_journeys"] > 0).all() and table["repetition"].tolist() == [0, 0, 1, 1]
    session = found.sessions(workload="iperf-udp")[1]
    assert session.manifest["experiment"]["factors"]["workload"] == "iperf-udp"
    assert session.manifest["experiment"]["repetition"] == 1
    # Nothing is missing, so nothing is made; and another plan is refused before anything is.
    assert found.run(progress=False).equals(status)
    with pytest.raises(SessionError, match="repetitions was 2, now 3"):
        experiment(path, repetitions=3).run()
    assert not owned(client, os.getpid())
    rows = found.compare(by="workload", quantiles=(0.5,), where={}).table()
    assert set(rows["runs"]) == {2} and (rows["value"] > 0).all()


def test_interrupted_experiment_leaves_nothing_and_continues(client, child, tmp_path):
    path = tmp_path / "e"
    process = child(CODE.format(path=str(path), deploy="topology"))
    while "events" not in process.read("progress run 1 of 4"):
        pass
    process.signal(signal.SIGINT)
    code, output = process.wait()
    assert code != 0 and "KeyboardInterrupt" in output and "finished" not in output
    assert wait_for(lambda: not owned(client, process.pid))
    assert [file.name for file in path.iterdir()] == ["plan.json"]


def test_failed_run_is_reported_and_repeated(client, tmp_path, monkeypatch):
    found = cm.Experiment(
        tmp_path / "e", {"workload": "sockperf-udp"}, repetitions=2, duration_s=1, warm_up_s=0, deploy="topology"
    )
    run, fails = cm.Sockperf.run, [True]

    def once(self, lab, duration_s, progress=None):
        if fails and fails.pop():
            raise WorkloadError("the client fell over", why="it was pushed")
        return run(self, lab, duration_s, progress)

    monkeypatch.setattr(cm.Sockperf, "run", once)
    with pytest.warns(UserWarning, match="1 runs failed: run-001 .*the client fell over"):
        status = found.run(progress=False)
    assert status["state"].tolist() == ["failed", "done"] and "it was pushed" in status["why"][0]
    assert len(found.table()) == 1
    assert (found.run(progress=False)["state"] == "done").all() and len(found.table()) == 2
