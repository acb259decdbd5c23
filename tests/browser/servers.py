"""Servers that the browser visits, in separate processes."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import nbformat

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-u", "-m", "cmonlab")
#: By default JupyterLab covers the notebook with a question about news, and removes invisible cells from the page.
_SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
_START_S, _STOP_S = 60.0, 30.0


def write_notebook(file: Path, code: str) -> Path:
    """Write a notebook of one cell; return its path."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, file)
    return file


def wait_until(condition, seconds: float, what: str):
    """Poll a condition until it is true; return what it returned."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.02)
    return found


class Server:
    """A process that prints to a file; a context manager."""

    def __init__(self, argv: list[str], log: Path, cwd: Path, env: dict[str, str]):
        self.log = log
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                # A background shell ignores Ctrl-C, and its children would inherit that.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def wait_for(self, condition, what: str, seconds: float = _START_S):
        """Wait until a condition is true; fail if the process ends before."""

        def runs():
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log.read_text()}"
            return condition()

        return wait_until(runs, seconds, what)

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(signal.SIGTERM)


class JupyterLab(Server):
    """JupyterLab with separate directories, so that it neither reads nor changes the user's configuration.

    Attributes
    ----------
    directory : Path
        What its file browser shows.
    url : str
        Address of a notebook, with the token and a place for its name.
    """

    def __init__(self, path: Path):
        self.directory = path / "notebooks"
        self.directory.mkdir()
        for name, values in _SETTINGS.items():
            file = path / f"settings/@jupyterlab/{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(values))
        names = {"CONFIG": "config", "DATA": "data", "RUNTIME": "runtime"}
        env = {f"JUPYTER_{name}_DIR": str(path / folder) for name, folder in names.items()}
        env |= {"JUPYTERLAB_SETTINGS_DIR": str(path / "settings"), "JUPYTERLAB_WORKSPACES_DIR": str(path / "spaces")}
        token = secrets.token_urlsafe(24)
        env |= {"IPYTHONDIR": str(path / "ipython"), "JUPYTER_TOKEN": token}
        argv = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root"]
        super().__init__(argv, path / "lab.log", self.directory, env)
        file = path / "runtime" / f"jpserver-{self.process.pid}.json"
        server = self.wait_for(lambda: _json(file), "JupyterLab")
        self.url = f"http://127.0.0.1:{server['port']}/lab/tree/{{}}?token={token}&reset"

    def notebook(self, name: str) -> str:
        """Return the address that opens this notebook and nothing else."""
        return self.url.format(name)


def _json(file: Path):
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


class Dashboard(Server):
    """``cmonlab dashboard``, as started in a terminal.

    Attributes
    ----------
    url : str
        The address that it printed.
    """

    def __init__(self, path: Path, *options: str, start_s: float = _START_S, **env: str):
        argv = [*COMMAND, "dashboard", "--no-open", *options]
        super().__init__(argv, path / "dashboard.log", path, env)
        lines = self.wait_for(
            lambda: [line for line in self.log.read_text().splitlines() if "http" in line], "a page", start_s
        )
        self.url = lines[0]
