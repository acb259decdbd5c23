"""Saving a recording: session directories are written atomically, and signals are deferred."""

import errno
import json
import os
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cmonlab.data.store import directory as store
from cmonlab.errors import SessionError, WorkloadError
from cmonlab.recording.record import check_duration
from cmonlab.session.rescue import save_somewhere
from cmonlab.session.session import Session, open
from cmonlab.system import files
from cmonlab.system.files import replacing
from cmonlab.system.signals import defer_signals, interruptible
from cmonlab.system.tempdirs import prefix
from tests.support.events import bulk, manifest


@pytest.fixture
def session():
    return Session(bulk(200), manifest() | {"recording": {"ended": "finished"}, "host": {}})


def _same(one: Session, other: Session) -> bool:
    return one.events.equals(other.events) and one.journeys().equals(other.journeys())


def test_saved_session_opens_with_the_same_data(session, tmp_path):
    out = session.save(tmp_path / "a" / "b")
    assert sorted(os.listdir(out)) == ["events.parquet", "manifest.json"] and _same(open(out), session)
    assert out.stat().st_mode & 0o777 == 0o755 and os.listdir(out.parent) == ["b"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    assert _same(open(session.save(tmp_path / "link")), session) and (tmp_path / "link").is_symlink()


def test_save_never_overwrites_a_session(session, tmp_path):
    out = session.save(tmp_path / "run")
    before = (out / "manifest.json").stat().st_mtime_ns
    with pytest.raises(SessionError, match="already holds a session"):
        session.save(out)
    assert (out / "manifest.json").stat().st_mtime_ns == before


def _full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("at", [(store, "write_events"), (files, "_sync")])
def test_full_disk_leaves_no_files_and_the_session_usable(session, tmp_path, monkeypatch, at):
    with monkeypatch.context() as patch:
        patch.setattr(*at, _full)
        with pytest.raises(SessionError, match="No space left") as caught:
            session.save(tmp_path / "deep" / "deeper" / "run")
    assert "still in memory" in caught.value.fix and list(tmp_path.iterdir()) == []
    assert _same(open(session.save(tmp_path / "run")), session)


def test_next_save_removes_the_files_of_a_killed_one(session, tmp_path):
    killed = prefix().replace(f"cmonlab-{os.getpid()}-", f"cmonlab-{2**22 + 1}-", 1)
    (tmp_path / f".{killed}half").mkdir()
    (tmp_path / f".{prefix()}mine").mkdir()
    session.save(tmp_path / "run")
    assert sorted(os.listdir(tmp_path)) == [f".{prefix()}mine", "run"]


def test_session_that_does_not_fit_is_saved_elsewhere(session, tmp_path, monkeypatch):
    (tmp_path / "state").mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    taken = tmp_path / "taken"
    taken.write_text("")
    with pytest.raises(SessionError) as caught:
        save_somewhere(session, taken / "run")
    assert caught.value.saved.parent.parent == tmp_path / "state" and str(caught.value.saved) in caught.value.fix
    assert _same(open(caught.value.saved), session)
    # Only the user who recorded may look before it is moved to where it belongs.
    assert caught.value.saved.parent.stat().st_mode & 0o077 == 0


def test_full_disks_everywhere_are_an_error_and_leave_no_files(session, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(store, "write_events", _full)
    before = {folder: set(os.listdir(folder)) for folder in ("/var/tmp", "/dev/shm")}
    with pytest.raises(SessionError, match="No space left") as caught:
        save_somewhere(session, tmp_path / "run")
    assert not hasattr(caught.value, "saved") and list(tmp_path.iterdir()) == []
    for folder, names in before.items():
        assert not [name for name in set(os.listdir(folder)) - names if name.startswith("cmonlab-rescued-")]


def test_replacing_keeps_the_old_session_until_the_new_one_is_complete(session, tmp_path):
    out = session.save(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt), replacing(out, store.MANIFEST):
        raise KeyboardInterrupt
    assert _same(open(out), session) and os.listdir(tmp_path) == ["run"]
    new = Session(bulk(50), session.manifest)
    with replacing(out, store.MANIFEST):
        new.save(out)
    assert _same(open(out), new) and os.listdir(tmp_path) == ["run"]
    out.rename(tmp_path / ".run.replaced")  # as a process leaves it that is killed in the block
    with pytest.raises(ValueError), replacing(out, store.MANIFEST):
        raise ValueError
    assert _same(open(out), new) and os.listdir(tmp_path) == ["run"]


def _damage(out: Path, how: str) -> None:
    text, table = (out / "manifest.json").read_text(), pq.read_table(out / "events.parquet")
    if how == "no events":
        (out / "events.parquet").unlink()
    elif how == "short events":
        os.truncate(out / "events.parquet", 1000)
    elif how == "empty events":
        (out / "events.parquet").write_bytes(b"")
    elif how == "column missing":
        pq.write_table(table.drop_columns(["seq"]), out / "events.parquet")
    elif how == "column of text":
        at = table.column_names.index("seq")
        pq.write_table(table.set_column(at, "seq", pa.array(["x"] * len(table))), out / "events.parquet")
    elif how == "short manifest":
        (out / "manifest.json").write_text(text[:500])
    elif how == "no manifest":
        (out / "manifest.json").write_bytes(b"\xff\xfe")
    elif how == "a list":
        (out / "manifest.json").write_text("[]")
    elif how == "no format":
        (out / "manifest.json").write_text(json.dumps(json.loads(text) | {"format": None}))
    elif how == "entry missing":
        data = json.loads(text)
        del data["ledger"]
        (out / "manifest.json").write_text(json.dumps(data))


@pytest.mark.parametrize(
    "how",
    [
        *("no events", "short events", "empty events", "column missing", "column of text"),
        *("short manifest", "no manifest", "a list", "no format", "entry missing"),
    ],
)
def test_damaged_session_is_an_error(session, tmp_path, how):
    out = session.save(tmp_path / "run")
    _damage(out, how)
    with pytest.raises(SessionError, match="damaged") as caught:
        open(out)
    assert caught.value.why and caught.value.fix
    assert "seq" in caught.value.why if how == "column missing" else True


def test_changed_byte_of_the_events_is_an_error(session, tmp_path):
    out = session.save(tmp_path / "run")
    whole = (out / "events.parquet").read_bytes()
    rng = np.random.default_rng(7)
    for at in rng.integers(4, len(whole) - 4, 60):
        (out / "events.parquet").write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            found = open(out)
        except SessionError:
            continue
        assert _same(found, session), f"byte {at} of {len(whole)} changed the events unnoticed"


def test_newer_format_asks_for_an_upgrade(session, tmp_path):
    out = session.save(tmp_path / "run")
    data = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(data | {"format": store.FORMAT + 1}))
    with pytest.raises(SessionError, match="newer cmonlab") as caught:
        open(out)
    assert "upgrade" in caught.value.fix


def test_directory_without_a_session_is_an_error(tmp_path):
    with pytest.raises(SessionError, match="holds no session"):
        open(tmp_path / "none")


@pytest.mark.parametrize("duration_s", [0, -1, float("nan"), float("inf")])
def test_impossible_durations_are_refused(duration_s):
    with pytest.raises(WorkloadError, match="duration"):
        check_duration(duration_s)


def test_deferred_signals_can_be_cleared():
    with defer_signals() as pending:
        signal.raise_signal(signal.SIGINT)
        assert pending == [signal.SIGINT]
        pending.clear()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interruptible_block_lets_one_signal_through():
    reached = []
    with pytest.raises(KeyboardInterrupt), defer_signals(), defer_signals() as pending:
        with pytest.raises(KeyboardInterrupt), interruptible():
            try:
                signal.raise_signal(signal.SIGINT)
            finally:
                signal.raise_signal(signal.SIGINT)  # a second one must not break off what the first started
                reached.append("end")
        assert reached == ["end"] and pending == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interruptible_block_delivers_an_earlier_signal_at_once():
    with defer_signals() as pending:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), interruptible():
            pytest.fail("the block must not begin")
        assert pending == []


def test_signals_without_a_handler_are_not_deferred(monkeypatch):
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with defer_signals():
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
