"""Progress: a bar if a person can see it, else nothing."""

import subprocess
import sys

import pytest

from cmonlab import progress
from cmonlab.progress import part, seconds, shown


def test_progress_is_silent_without_a_terminal(capsys):
    with shown(None, "title") as report:
        report("phrase", 0.5)
    assert capsys.readouterr() == ("", "")


def test_callable_receives_progress_and_false_is_silent(monkeypatch, capsys):
    reports = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with shown(lambda phrase, fraction: reports.append((phrase, fraction)), "title") as report:
        report("phrase", 0.5)
    with shown(False, "title") as report:
        report("other", 0.7)
    assert reports == [("phrase", 0.5)] and capsys.readouterr() == ("", "")


def test_part_of_the_work_is_a_part_of_the_bar():
    reports = []
    report = part(lambda phrase, fraction: reports.append((phrase, fraction)), 0.5, 0.75, "run 3 of 4")
    report("warming up", 0.0)
    report("recording", 0.5)
    report("recording", 2.0)
    assert reports == [
        ("run 3 of 4: warming up", 0.5),
        ("run 3 of 4: recording", 0.625),
        ("run 3 of 4: recording", 0.75),
    ]


def test_terminal_shows_a_bar():
    code = (
        "import sys, time; sys.stderr.isatty = lambda: True\n"
        "from cmonlab.progress import shown\n"
        "with shown(None, '[the] title') as report:\n"
        "    report('a [phrase]', 0.25); time.sleep(0.3)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "120"} | _path(),
    )
    assert run.returncode == 0 and run.stdout == "", run
    assert "[the] title" in run.stderr and "25%" in run.stderr and "a [phrase]" in run.stderr


def _path():
    import os

    return {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}


def test_notebook_shows_a_bar_and_then_a_line(monkeypatch):
    seen = []

    class Handle:
        def update(self, content, raw):
            seen.append(content)

    def display(content, raw, display_id):
        seen.append(content)
        return Handle()

    display_module = pytest.importorskip("IPython.display", reason="optional: IPython is not installed")
    monkeypatch.setattr(display_module, "display", display)
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    with pytest.raises(KeyboardInterrupt), shown(None, "<b>title") as report:
        report("1,009 events & more", 0.5)
        report("too soon after", 0.51)
        report("the end", 1.0)
        raise KeyboardInterrupt
    first, half, whole, last = seen
    assert first["text/plain"] == f"<b>title {'░' * 24}   0%"
    assert "1,009 events & more" in half["text/plain"] and half["text/plain"].count("█") == 12
    assert "&lt;b&gt;title" in half["text/html"] and "events &amp; more" in half["text/html"]
    assert 'value="0.500"' in half["text/html"] and "100%" in whole["text/plain"]
    assert last == {"text/plain": "<b>title: stopped after 0 s"}
    for phrases, ended in (([], "done"), (["5 events"], "done"), (["5 events", progress.INTERRUPTED], "interrupted")):
        with shown(None, "title") as report:
            for phrase in phrases:
                report(phrase, 0.1)
        assert seen[-1] == {"text/plain": f"title: {ended} after 0 s"}


def test_remaining_time_follows_from_the_progress(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    clock = progress._Clock()
    assert clock.left(0.5) == ""
    now[0] += 30
    assert (clock.left(0.25), clock.left(0.0), clock.left(1.0)) == ("1 min 30 s left", "", "")
    assert [seconds(s) for s in (7.4, 125, 4200)] == ["7 s", "2 min 5 s", "1 h 10 min"]
