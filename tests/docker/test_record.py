"""``cmonlab record`` and what its session is good for, through the command itself."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import cmonlab as cm

pytestmark = pytest.mark.docker

MAIN = "import sys; from cmonlab.cli import main; sys.argv[0] = 'cmonlab'; main()"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def cmonlab(*arguments, prefix=()) -> subprocess.CompletedProcess:
    command = [*prefix, sys.executable, "-c", MAIN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd="/")


@pytest.fixture(scope="module")
def recorded(client):
    """What ``record --json`` printed, and the session that it saved."""
    # pytest's own directory is closed to other users.
    with tempfile.TemporaryDirectory(prefix="cmonlab-test-") as folder:
        Path(folder).chmod(0o755)
        out = Path(folder, "run")
        done = cmonlab("record", "--workload", "memcached", "--duration", "1", "--out", out, "--json")
        assert done.returncode == 0, done
        yield done, out


def test_json_is_one_object_that_agrees_with_the_session(recorded):
    done, out = recorded
    printed = json.loads(done.stdout)
    assert list(printed) == ["packets", "journeys", "complete_journeys", "events", "lost_events", "seconds", "out"]
    session = cm.open(out)
    journeys = session.journeys()
    assert printed["events"] == len(session) == session.ledger()["recorded"].sum() > 0
    assert (printed["packets"], printed["journeys"]) == (journeys["gso_segs"].sum(), len(journeys))
    assert printed["complete_journeys"] == journeys["complete"].sum() > 0
    assert printed["lost_events"] == session.lost_events and printed["out"] == str(out)
    # The workload's own account: each operation is a request and its answer at least.
    assert (
        printed["packets"] >= 2 * session.manifest["workload"]["metrics"]["ops"]
        or session.trace_gap_ns
        or session.lost_events
    )
    assert session.manifest["workload"]["metrics"]["load_s"] <= printed["seconds"] < 60


def test_piped_output_has_no_control_characters(recorded):
    done, _ = recorded
    assert done.stdout.count("\n") == 1 and not [c for c in done.stdout + done.stderr if ord(c) < 32 and c != "\n"]


def test_show_prints_a_table_as_json_and_as_text(recorded):
    _, out = recorded
    journeys = cm.open(out).journeys()
    rows = json.loads(cmonlab("show", out, "--table", "journeys", "--format", "json").stdout)
    assert len(rows) == len(journeys) and list(rows[0]) == list(journeys.columns)
    shown = cmonlab("show", out, "--table", "journeys", "--rows", "3")
    assert len(shown.stdout.splitlines()) == 4 and "--rows N shows more" in shown.stderr


def test_closed_pipe_is_no_error(recorded):
    _, out = recorded
    for form in ("table", "csv"):
        shell = '"$0" -c "$1" show "$2" --table hops --rows 2000 --format "$3" | head -c 100 >/dev/null'
        done = subprocess.run(["sh", "-c", shell, sys.executable, MAIN, out, form], capture_output=True, text=True)
        assert done.returncode == 0 and "Traceback" not in done.stderr and "Broken" not in done.stderr, done


def test_user_without_rights_can_show_a_session(recorded):
    _, out = recorded
    if subprocess.run([*NOBODY, sys.executable, "-c", "import cmonlab"], cwd="/", capture_output=True).returncode:
        pytest.skip("optional: other users cannot read this interpreter or checkout")
    shown = cmonlab("show", out, prefix=NOBODY)
    assert shown.returncode == 0 and "c1:eth0" in shown.stdout, shown
    refused = cmonlab("report", out, prefix=NOBODY)
    assert refused.returncode == 1 and "Permission denied" in refused.stderr and "Traceback" not in refused.stderr
    with tempfile.TemporaryDirectory(prefix="cmonlab-test-") as folder:
        Path(folder).chmod(0o777)
        report = cmonlab("report", out, "--out", f"{folder}/r.html", prefix=NOBODY)
        assert report.returncode == 0 and Path(folder, "r.html").stat().st_size > 1 << 20, report
    for arguments in (["record", "--out", "/tmp/cmonlab-test-none"], ["demo", "--out", "/tmp/cmonlab-test-none"]):
        denied = cmonlab(*arguments, prefix=NOBODY)
        assert denied.returncode == 1 and "needs root" in denied.stderr and "sudo" in denied.stderr, denied
    doctor = cmonlab("doctor", "--json", prefix=NOBODY)
    assert doctor.returncode == 1 and json.loads(doctor.stdout)["ready"] is False
    clean = cmonlab("clean", prefix=NOBODY)
    assert "Traceback" not in clean.stderr and not Path("/tmp/cmonlab-test-none").exists()


def test_doctor_finds_no_problem():
    done = cmonlab("doctor", "--json")
    printed = json.loads(done.stdout)
    assert done.returncode == 0 and printed["ready"] is True
    assert {check["name"] for check in printed["checks"]} >= {"root", "BTF", "bcc", "points", "Docker", "workloads"}
    assert all(check["ok"] for check in printed["checks"] if check["required"])


def test_second_clean_finds_nothing():
    cmonlab("clean")
    again = cmonlab("clean", "--json")
    assert again.returncode == 0 and json.loads(again.stdout) == {"removed": []}
