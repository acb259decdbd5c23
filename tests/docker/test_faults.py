"""Failures while containers run: nothing is left behind, and recorded data is kept."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cmonlab as cm
from cmonlab.errors import CmonlabError, RuleError, SessionError, UnknownName, WorkloadError
from cmonlab.recording.record import record
from cmonlab.session.rescue import save_somewhere
from cmonlab.system import tempdirs
from cmonlab.system.signals import defer_signals
from cmonlab.tracing import tracer

from .conftest import wait_for

pytestmark = pytest.mark.docker

# The command; it prints what its progress bar would show, one line per call.
COMMAND = """
import contextlib, sys
from cmonlab import progress
@contextlib.contextmanager
def shown(report=None, title=""):
    yield report or (lambda phrase, fraction: print("progress", phrase, flush=True))
progress.shown = shown
from cmonlab.cli import main
sys.argv = ["cmonlab", *{arguments!r}]
main()
"""
CLEAN = [sys.executable, "-c", "from cmonlab.cli import main; import sys; sys.argv = ['cmonlab', 'clean']; main()"]


@pytest.fixture
def command(child, client, tmp_path):
    """Return a function that starts ``cmonlab record``; afterwards what it made must be gone."""

    def start(*more: str):
        arguments = ["record", "--out", str(tmp_path / "deep" / "run"), "--duration", "2", *more]
        return child(COMMAND.format(arguments=arguments))

    yield start


def _made(client, pid: int) -> list[str]:
    """Return the containers and networks that a process made."""
    filters = {"label": "cmonlab.owner"}
    found = [*client.api.containers(all=True, filters=filters), *client.api.networks(filters=filters)]
    return [thing["Id"] for thing in found if thing["Labels"]["cmonlab.owner"].startswith(f"{pid}/")]


def _scratch(pid: int) -> list[Path]:
    return list(Path("/tmp").glob(f"*cmonlab-{pid}-*"))


def _read_events(process) -> None:
    while not int(process.read("progress").removesuffix(" events").replace(",", "")):
        pass


@pytest.mark.parametrize("phase", ["compiling the eBPF programs", "starting the workload's"])
def test_ctrl_c_before_the_workload_saves_nothing(command, client, tmp_path, phase):
    process = command()
    process.read(f"progress {phase}")
    process.signal(signal.SIGINT)
    code, output = process.wait()
    assert (
        code == 130 and output.splitlines()[-1] == "interrupted; everything that cmonlab had created has been removed"
    ), output
    assert list(tmp_path.iterdir()) == [] and _made(client, process.pid) == [] and _scratch(process.pid) == []


@pytest.mark.parametrize(("number", "times"), [(signal.SIGINT, 5), (signal.SIGTERM, 1)])
def test_signal_during_the_workload_keeps_the_session_until_then(command, client, tmp_path, number, times):
    process = command()
    process.read("progress starting the workload's servers")
    _read_events(process)
    for _ in range(times):
        process.signal(number)
        time.sleep(0.02)  # not a wait for something: impatience
    code, output = process.wait()
    assert code == 130 and "the session up to the interruption was saved to" in output and "Traceback" not in output
    session = cm.open(tmp_path / "deep" / "run")
    assert session.manifest["recording"]["ended"] == "interrupted" and session.journeys()["complete"].any()
    _balances(session)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["run"]
    assert _made(client, process.pid) == [] and _scratch(process.pid) == []


def test_signal_while_saving_leaves_a_complete_session(command, client, tmp_path):
    process = command()
    process.read("progress saving")
    process.signal(signal.SIGINT)
    code, output = process.wait()
    assert code == 130 and "Traceback" not in output, output
    session = cm.open(tmp_path / "deep" / "run")
    assert session.manifest["recording"]["ended"] == "finished" and session.manifest["workload"]["metrics"]["ops"] > 0
    assert _made(client, process.pid) == []


def test_clean_removes_what_a_killed_command_left(command, client, tmp_path):
    process = command()
    process.read("progress starting the workload's servers")
    _read_events(process)
    left = Path(f"/tmp/{tempdirs.prefix(process.pid)}x")  # as if killed while compiling
    left.mkdir()
    process.signal(signal.SIGKILL)
    assert process.wait()[0] == -signal.SIGKILL
    assert len(_made(client, process.pid)) == 3 and not (tmp_path / "deep").exists()
    cleaned = subprocess.run(CLEAN, capture_output=True, text=True, timeout=60)
    assert cleaned.returncode == 0 and cleaned.stdout.count("removed container") >= 2, cleaned
    assert "removed network" in cleaned.stdout and f"removed directory {left}" in cleaned.stdout
    assert _made(client, process.pid) == [] and _scratch(process.pid) == []


def _balances(session) -> None:
    ledger = session.ledger()
    parts = ledger["unmatched"] + ledger["sampled_out"] + ledger["recorded"] + ledger["lost"]
    assert (ledger["seen"] == parts).all() and ledger["recorded"].sum() == len(session)


class Once:
    """A progress function that does something when the first events are there."""

    def __init__(self, act):
        self._act, self.done = act, False

    def __call__(self, phrase: str, fraction: float) -> None:
        if not self.done and phrase.endswith(" events") and phrase != "0 events":
            self.done = True
            self._act()


def test_killed_server_ends_the_run_and_keeps_the_session(lab, client):
    def kill() -> None:
        top = client.api.top(lab.containers["c0"].id, "-eo pid,comm")["Processes"]
        os.kill(next(int(pid) for pid, name in top if name == "memcached"), signal.SIGKILL)

    with pytest.raises(WorkloadError) as caught:
        record(lab, cm.Memcached(), duration_s=1, progress=Once(kill))
    session = caught.value.session
    assert session.manifest["recording"]["ended"] == "workload failed" and session.journeys()["complete"].any()
    assert session.manifest["workload"]["error"] == caught.value.what
    _balances(session)


def test_names_of_removed_and_new_containers_are_known(client):
    with cm.templates.bridge(2).deploy() as lab:
        network, late = f"cmonlab-{lab.run_id}-net0", f"late-{lab.run_id}"

        def replace() -> None:
            host = client.api.create_host_config(network_mode=network, auto_remove=True)
            ping = ["ping", "-c", "3", "-i", "0.1", lab.address("c1")]
            made = client.api.create_container(lab.image.tag, ping, name=late, host_config=host)["Id"]
            client.api.start(made)
            client.api.wait(made)
            client.api.remove_container(lab.containers["c0"].id, force=True)

        with pytest.raises(CmonlabError) as caught:
            record(lab, cm.Memcached(), "tcp port 11211 or icmp", duration_s=1, progress=Once(replace))
        session = caught.value.session
    journeys = session.journeys()
    assert {"c0", "c1"} <= set(journeys["src"]) and journeys["path"].str.contains("c0:eth0").any()
    pings = journeys[(journeys["src"] == late) & (journeys["proto"] == "icmp")]
    assert len(pings) == 3 or session.trace_gap_ns
    assert (pings["dst"] == "c1").all() and session.links()["namespace"].isin([late]).any()


def test_full_memory_ends_recording_and_counts_the_rest_as_lost(lab, monkeypatch):
    monkeypatch.setattr(tracer, "MOST_BYTES", 1 << 20)
    session = record(lab, cm.Memcached(), duration_s=1)
    assert session.manifest["recording"]["ended"] == "memory limit reached" and session.lost_events > 0
    assert (1 << 20) / 56 <= len(session) < 40 * (1 << 20) / 56
    _balances(session)


def test_failed_reader_is_an_error_that_keeps_the_session(lab, monkeypatch):
    read, reads = tracer.Ring.read, []

    def breaks(ring):
        reads.append(ring)
        if len(reads) > 60:
            raise RuntimeError("broken on purpose")
        return read(ring)

    monkeypatch.setattr(tracer.Ring, "read", breaks)
    with pytest.raises(cm.errors.NotTraceable, match="broken on purpose") as caught:
        record(lab, cm.Memcached(), duration_s=1)
    _balances(caught.value.session)


def test_ctrl_c_while_the_session_is_made_loses_nothing(lab, monkeypatch):
    stop = tracer.Tracer.stop

    def interrupted(self):
        signal.raise_signal(signal.SIGINT)
        return stop(self)

    monkeypatch.setattr(tracer.Tracer, "stop", interrupted)
    session = record(lab, cm.Memcached(), duration_s=1)
    assert session.manifest["recording"]["ended"] == "interrupted" and session.journeys()["complete"].any()


def test_ctrl_c_while_the_servers_start_interrupts(lab, monkeypatch):
    monkeypatch.setattr(cm.Memcached, "prepare", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        record(lab, cm.Memcached(), duration_s=1)
    with pytest.raises(KeyboardInterrupt), defer_signals():
        record(lab, cm.Memcached(), duration_s=1)


def test_names_are_refused_before_anything_is_compiled(lab):
    with pytest.raises(UnknownName, match="did you mean 'c1'"):
        record(lab, cm.Memcached(server="c11"))
    with pytest.raises(RuleError, match="did you mean 'kfree_skb'"):
        record(lab, cm.Memcached(), points=["kfre_skb"])
    with pytest.raises(WorkloadError, match="duration"):
        record(lab, cm.Memcached(), duration_s=float("nan"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "cmonlab-test", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_full_disk_loses_no_session(command, client, small_disk, tmp_path, monkeypatch):
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    process = command("--out", str(small_disk / "deep" / "run"))
    code, output = process.wait()
    (rescued,) = state.glob("cmonlab-rescued-*/session")
    assert code == 1 and "No space left on device" in output and str(rescued) in output, output
    assert list(small_disk.iterdir()) == [] and _made(client, process.pid) == []
    session = cm.open(rescued)
    assert session.journeys()["complete"].any()
    with pytest.raises(SessionError, match="No space left"):
        session.save(small_disk / "again")
    with pytest.raises(SessionError) as caught:
        save_somewhere(session, small_disk / "again")
    assert len(cm.open(caught.value.saved)) == len(session)
    report = "import sys; from cmonlab.cli import main; sys.argv = ['cmonlab', 'report', *sys.argv[1:]]; main()"
    arguments = [sys.executable, "-c", report, str(rescued), "--out", str(small_disk / "report.html")]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "No space left on device" in done.stderr and "Traceback" not in done.stderr
    assert list(small_disk.iterdir()) == []


def test_engine_that_ends_is_an_error_that_keeps_the_session(lab, monkeypatch):
    # Every request of the workload fails, as if the engine had ended.
    def gone(*_, **__):
        raise ConnectionError("engine gone on purpose")

    monkeypatch.setattr(cm.Memcached, "prepare", lambda *_: None)
    monkeypatch.setattr(lab.client.api, "exec_create", gone)
    with pytest.raises(CmonlabError, match="engine gone on purpose") as caught:
        record(lab, cm.Memcached(), duration_s=1)
    assert caught.value.session.manifest["recording"]["ended"] == "workload failed"
    assert wait_for(lambda: not [t for t in Path("/proc/self/task").iterdir() if "cmonlab-reader" in _name(t)])


def _name(task: Path) -> str:
    try:
        return (task / "comm").read_text()
    except OSError:
        return ""
