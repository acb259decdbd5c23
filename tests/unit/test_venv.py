"""The Python environment: tools/venv with a fake interpreter."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT


@pytest.fixture
def clone(tmp_path):
    """Return a checkout with a fake .venv that records the calls of pip."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    python = tmp_path / ".venv/bin/python"
    python.write_text(
        '#!/bin/sh\ncase "$*" in\n*install*) echo "$*" >>pip-calls\n'
        '[ -e pip-broken ] && { echo "no route to the index"; exit 1; } ;;\n*-c*) echo "(3, 11)" ;;\nesac\n'
        "exit 0\n"
    )
    python.chmod(0o755)
    return tmp_path


def _venv(clone: Path, *extras: str) -> tuple[int, str, list[str]]:
    run = subprocess.run([clone / "tools/venv", *extras], capture_output=True, text=True, timeout=60)
    calls = clone / "pip-calls"
    installed = [line.split()[-1] for line in calls.read_text().splitlines()] if calls.exists() else []
    return run.returncode, run.stderr, installed


def test_venv_is_created_once(clone):
    assert _venv(clone, "test")[2] == [".[test]"]
    assert _venv(clone, "test") == (0, "", [".[test]"])


def test_venv_keeps_its_extras(clone):
    assert _venv(clone, "test", "notebook")[2] == [".[notebook,test]"]
    assert _venv(clone, "test")[1] == ""
    (clone / "pyproject.toml").write_text("# changed\n")
    assert _venv(clone, "test")[2] == [".[notebook,test]"] * 2


def test_moved_venv_is_installed_again(clone, tmp_path_factory):
    _venv(clone, "test")
    moved = clone.rename(tmp_path_factory.mktemp("elsewhere") / "clone")
    assert len(_venv(moved, "test")[2]) == 2


def test_failed_install_is_shown_and_retried(clone):
    (clone / "pip-broken").touch()
    status, message, _ = _venv(clone, "test")
    assert status != 0
    assert "no route to the index" in message
    (clone / "pip-broken").unlink()
    status, _, installed = _venv(clone, "test")
    assert (status, len(installed)) == (0, 2)
