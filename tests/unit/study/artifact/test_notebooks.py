"""Notebooks of an artifact run again in a real kernel, and their declared results compared."""

import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat import v4

from cmonlab.session.session import Session
from cmonlab.study import artifact
from cmonlab.study.artifact import archive
from cmonlab.study.artifact.results import RUN
from cmonlab.study.artifact.run import run
from tests.support.archives import content_of, written, wrong
from tests.support.events import bulk, manifest

GOOD = """
import os
import cmonlab as cm

session = cm.open("../runs/second" if os.environ["CMONLAB_LIVE"] == "1" else "../runs/first")
cm.artifact.result("segments", session.breakdown()[["segment", "n", "p99_ns"]])
cm.artifact.result("run", session)
"""
BROKEN = """
cm.artifact.result("never", session.loss())
raise ValueError("out of luck")
"""


def recorded(factor=1.0):
    """Return a session whose segments last `factor` times as long."""
    columns = bulk(300)
    first = columns["ts_ns"][0]
    columns["ts_ns"] = first + ((columns["ts_ns"] - first) * factor).astype(np.int64)
    host = {"kernel": "6.1", "clocksource": "tsc", "cpu": "x", "cpus": 2, "machine": "x86_64"}
    return Session(columns, manifest() | {"host": host})


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """An artifact with a notebook that was run before it was packed."""
    folder = tmp_path_factory.mktemp("projects") / "paper"
    recorded().save(folder / "runs" / "first")
    recorded(1.5).save(folder / "runs" / "second")
    notebook = folder / "notebooks" / "a.ipynb"
    notebook.parent.mkdir()
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(GOOD)]), notebook)
    done = run(notebook, tmp_path_factory.mktemp("sessions"), live=False, timeout_s=300, keep=notebook)
    assert (done.failure, done.results.keys()) == ("", {"segments", "run"})
    return artifact.pack(folder)


def test_check_reports_changed_results_and_errors_of_notebooks(packed, tmp_path):
    content = content_of(packed)
    notebook = json.loads(content["paper/project/notebooks/a.ipynb"])
    notebook["cells"].append(v4.new_code_cell(BROKEN))
    content["paper/project/notebooks/a.ipynb"] = json.dumps(notebook).encode()
    expected = json.loads(content["paper/expected.json"])
    columns = {column["name"]: column for column in expected["results"]["segments"]["table"]["columns"]}
    columns["p99_ns"]["values"][1] *= 0.8
    expected["results"]["none"] = {"notebook": "notebooks/a.ipynb", "table": {"columns": []}}
    content["paper/expected.json"] = json.dumps(expected).encode()
    listed = json.loads(content["paper/artifact.json"])
    for name in ("expected.json", "project/notebooks/a.ipynb"):
        data = content[f"paper/{name}"]
        listed["files"][name] = {"bytes": len(data), "sha256": archive.sha256_of(io.BytesIO(data))}
    content["paper/artifact.json"] = json.dumps(listed).encode()
    report = artifact.check(written(tmp_path / "other.tar.gz", content))
    found = wrong(report)
    assert found.keys() == {"notebooks/a.ipynb", "segments (notebooks/a.ipynb)", "none (notebooks/a.ipynb)"}
    assert found["notebooks/a.ipynb"].note == "ValueError: out of luck"
    assert found["none (notebooks/a.ipynb)"].note == "not declared when run again"
    [one] = found["segments (notebooks/a.ipynb)"].differences
    assert (one.column, one.rows, one.unit) == ("p99_ns", 1, "ns") and one.relative == pytest.approx(0.25)
    noted = {finding.name: finding.note for finding in report.findings if finding.verdict == "noted"}
    assert noted["never (notebooks/a.ipynb)"] == "declared now, but not when it was packed"


def test_reproduce_keeps_outputs_and_compares_live_recordings(packed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = artifact.reproduce(packed, live=True)
    assert report.ok, report.text()
    results = [finding.name for finding in report.findings if finding.part == "result"]
    assert sorted(results) == ["run (notebooks/a.ipynb)", "segments (notebooks/a.ipynb)"]
    live = {finding.name: finding for finding in report.findings if finding.part == "live"}
    # Journeys take half as long again; numbers are not judged, sessions are compared with intervals.
    delays = [one for one in live["segments (notebooks/a.ipynb)"].differences if one.column == "p99_ns"]
    assert delays[0].relative == pytest.approx(0.5, abs=0.05)
    assert "one_way_delay" in live["run (notebooks/a.ipynb)"].note and "packed" in live["run (notebooks/a.ipynb)"].note
    kept = tmp_path / "paper"
    assert (kept / "report.txt").read_text() == report.text() + "\n"
    assert json.loads((kept / "report.json").read_text())["ok"] is True
    again = nbformat.read(kept / "reproduced" / "recorded" / "notebooks" / "a.ipynb", as_version=4)
    assert "segments" in artifact.results.stored(again)
    assert (kept / "reproduced" / "live" / "notebooks" / "a" / "run" / "manifest.json").exists()
    assert artifact.check(kept, notebooks=False).ok


def test_notebook_can_pack_and_check_its_own_folder(packed, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    shutil.copytree(packed.with_name("paper"), folder)
    (folder / "notebooks" / "a.ipynb").unlink()
    source = 'cm.artifact.result("fresh", session.loss())'
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(source)]), folder / "b.ipynb")  # never run
    artifact.result("fresh", recorded().loss())
    artifact.result("elsewhere", recorded().loss())
    out = artifact.pack(folder)
    assert json.loads(content_of(out)["mine/expected.json"])["results"].keys() == {"fresh"}
    monkeypatch.setenv(RUN, str(tmp_path))
    report = artifact.check(out)
    assert report.ok and "not run: this is already within a check" in report.text()


def test_run_reports_a_cell_that_takes_too_long(tmp_path):
    notebook = tmp_path / "slow.ipynb"
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("import threading\nthreading.Event().wait()")]), notebook)
    done = run(notebook, tmp_path / "sessions", live=False, timeout_s=1)
    assert done.failure == "a cell took longer than 1 s" and done.results == {}


def test_interrupted_check_leaves_no_kernel_and_no_files(tmp_path):
    folder = tmp_path / "endless"
    folder.mkdir()
    pipe = tmp_path / "kernel"
    os.mkfifo(pipe)
    source = f"import os, threading\nopen({str(pipe)!r}, 'w').write(str(os.getpid()))\nthreading.Event().wait()"
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(source)]), folder / "a.ipynb")
    out, scratch = artifact.pack(folder), tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "cmonlab", "artifact", "check", str(out)]
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with subprocess.Popen(command, env=os.environ | {"TMPDIR": str(scratch)}, stderr=subprocess.PIPE) as run:
        try:
            assert select.select([reader], [], [], 300)[0], "the notebook begins"
            kernel = int(os.read(reader, 20))
            run.send_signal(signal.SIGTERM)
            err = run.communicate(timeout=120)[1].decode()
        finally:
            run.kill()
            os.close(reader)
    assert run.returncode == 130 and "interrupted" in err and "Traceback" not in err
    assert not Path("/proc", str(kernel)).exists() and list(scratch.iterdir()) == []
