"""One engine for all Docker tests, and a way to see what a run left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from cmonlab.lab.docker.engine import docker_engine
from cmonlab.lab.docker.labels import OWNER_LABEL
from cmonlab.lab.topology.templates.networks import bridge


@pytest.fixture(scope="session")
def client():
    """A client of the engine; it runs until the last test."""
    with docker_engine() as client:
        yield client


@pytest.fixture(scope="module")
def lab(client):
    """Two containers on a bridge, for tests that only look or send."""
    with bridge(2).deploy() as lab:
        yield lab


@pytest.fixture
def left(client):
    """Return a function: run id → names of its containers and networks that exist."""

    def of(run_id: str) -> list[str]:
        filters = {"label": f"cmonlab={run_id}"}
        containers = [found["Names"][0] for found in client.api.containers(all=True, filters=filters)]
        return containers + [found["Name"] for found in client.api.networks(filters=filters)]

    return of


def owned(client, pid: int) -> list[str]:
    """Return the names of the containers and networks that a process made."""
    found = client.api.containers(all=True, filters={"label": OWNER_LABEL})
    found += client.api.networks(filters={"label": OWNER_LABEL})
    mine = [one for one in found if one["Labels"][OWNER_LABEL].startswith(f"{pid}/")]
    return [one["Names"][0] if "Names" in one else one["Name"] for one in mine]


class Child:
    """A Python process that prints words the test waits for."""

    def __init__(self, code: str, *prefix: str):
        # A background shell ignores Ctrl-C, and its children would inherit that.
        self._process = subprocess.Popen(
            [*prefix, sys.executable, "-u", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        self.pid = self._process.pid

    def read(self, word: str) -> str:
        """Return the first line that begins with a word, without the word."""
        seen = []
        for line in self._process.stdout:
            seen.append(line)
            if line.startswith(word):
                return line.removeprefix(word).strip()
        raise AssertionError(f"{word!r} never came: {''.join(seen)}")

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> tuple[int, str]:
        """Return exit code and the rest of the output."""
        output, _ = self._process.communicate(timeout=120)
        return self._process.returncode, output


@pytest.fixture
def child():
    """Return a function that starts a `Child`; those still alive are ended."""
    started = []

    def start(code: str, *prefix: str) -> Child:
        started.append(Child(code, *prefix))
        return started[-1]

    yield start
    for process in started:
        if process._process.poll() is None:
            process._process.kill()
            process.wait()


def wait_for(condition, seconds: float = 10.0) -> bool:
    """Poll a condition until it holds; return whether it did in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
