"""Tracing overhead between real containers: in a recording, and as a command."""

import json
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

import cmonlab as cm
from cmonlab import schema
from cmonlab.cli.app import app
from cmonlab.data.analysis.overhead import Overhead
from cmonlab.recording.overhead import cpu_seconds, measure
from cmonlab.recording.record import rules_of
from cmonlab.recording.traced import Traced

from .test_record import cmonlab

pytestmark = pytest.mark.docker

ALL = ["throughput", "p50", "p99", "p99.9", "CPU", "tracer CPU"]


def test_recording_contains_its_tracing_overhead(lab, tmp_path):
    session = cm.record(lab, cm.Sockperf(protocol="udp"), duration_s=1, overhead=2)
    table = session.overhead()
    assert list(table.columns) == schema.columns("overhead") and table["metric"].tolist() == ALL
    assert set(table["tracer"]) == {"traced"} and set(table["rounds"]) == {2} and table["low"].isna().all()
    assert (table[["untraced", "observed"]] > 0).all(axis=None)
    times = session.program_times()
    assert set(times["point"]) <= {point["name"] for point in session.manifest["points"]}
    passed = times.set_index("point").loc[["net_dev_queue", "netif_rx", "netif_receive_skb"]]
    assert (passed["runs"] > 1000).all() and passed["mean_ns"].between(20, 5_000).all()
    again = cm.open(session.save(tmp_path / "run"))
    assert again.program_times().equals(times)
    assert again.overhead().equals(table) and "tracing overhead: throughput" in repr(again)
    # The session is of the recording only: its servers were restarted, and its events are those of one run.
    sent = session.manifest["workload"]["metrics"]["messages_per_s"]
    assert 0 < session.journeys()["complete"].sum() < 2 * sent * 2


def test_cpu_time_of_a_process_that_a_tracer_names_is_the_tracers(lab):
    shares = []

    @contextmanager
    def burning():
        process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            began_s, began_cpu_s = time.monotonic(), cpu_seconds([process.pid])
            yield [process.pid]
            shares.append((cpu_seconds([process.pid]) - began_cpu_s) / (time.monotonic() - began_s))
        finally:
            process.kill()
            process.wait()

    load = cm.Iperf(protocol="udp")
    found = measure(lab, load, {"traced": Traced(rules_of("udp")), "burning": burning}, rounds=1, warmup=0)
    cpu = {name: metrics["tracer CPU"][0] for name, metrics in found.samples.items()}
    assert sorted(found.order[0]) == ["burning", "traced", "untraced"] and min(cpu.values()) > 0
    # The CPU time of this process is added.
    assert 0.95 * shares[0] < cpu["burning"] < shares[0] + 0.5


def test_record_measures_overhead_on_request(client, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    monkeypatch.setattr("cmonlab.recording.overhead.ROUNDS", 1)
    app(
        ["record", "--workload", "iperf-udp", "--duration", "1", "--overhead", "--out", str(out), "--json"],
        standalone_mode=False,
    )
    assert json.loads(capsys.readouterr().out)["out"] == str(out)
    table = cm.open(out).overhead()
    assert table["metric"].tolist() == ["throughput", "CPU", "tracer CPU"] and set(table["rounds"]) == {1}
    assert "tracer CPU" in cmonlab("show", out, "--table", "overhead").stdout


def test_overhead_command_prints_and_writes_its_results(client, tmp_path):
    out = tmp_path / "overhead"
    done = cmonlab(
        "overhead", "--workload", "sockperf-tcp", "--points", "path", "--rounds", "1", "--out", out, "--json"
    )
    assert done.returncode == 0, done
    printed = json.loads(done.stdout)
    assert printed == json.loads((out / "overhead.json").read_text())
    assert printed["rules"][0]["points"] == ["path"] and printed["host"]["kernel"] and printed["order"]
    table = Overhead.read(printed).table()
    assert table["metric"].tolist() == ALL == [row["metric"] for row in printed["table"]]
    page = (out / "report.html").read_text()
    assert "Tracing overhead" in page and "sockperf-tcp" in page
