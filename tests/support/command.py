"""Fixtures of the command line: a saved session, and a call of the command within the process."""

import sys

import pytest

from cmonlab import cli
from cmonlab.session.session import Session
from tests.support.events import bulk, manifest


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved session of synthetic events."""
    entries = manifest(trace_gap_ns=5) | {
        "recording": {"ended": "finished", "seconds": 1.0},
        "host": {"kernel": "6.1", "clocksource": "tsc", "cpu": "x", "cpus": 2, "machine": "x86_64"},
        "created": "2026-01-01T00:00:00+00:00",
    }
    return Session(bulk(300), entries).save(tmp_path_factory.mktemp("sessions") / "run")


@pytest.fixture
def cmonlab(monkeypatch, capsys):
    """Return a function: arguments → exit code, standard output, standard error."""
    monkeypatch.setattr(cli, "_catch_signals", lambda: None)

    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cmonlab", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    return call
