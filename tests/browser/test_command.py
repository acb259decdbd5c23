"""``cmonlab dashboard``: what it starts and prints, and that it leaves nothing behind."""

import http.client
import os
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cmonlab.lab.docker.labels import RUN_LABEL

from .servers import COMMAND, Dashboard, Server, wait_until

pytestmark = pytest.mark.docker


def descendants(pid: int) -> dict[int, str]:
    """Return the descendants of a process and their arguments."""
    found, parents = {}, {pid}
    while parents:
        children = set()
        for parent in parents:
            for task in Path(f"/proc/{parent}/task").glob("*/children"):
                children |= {int(child) for child in task.read_text().split()}
        found |= {child: Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ") for child in children}
        parents = children
    return found


def created(client) -> set[str]:
    """Return the names of containers and networks that cmonlab created."""
    label = {"label": RUN_LABEL}
    containers = {name for one in client.api.containers(all=True, filters=label) for name in one["Names"]}
    return containers | {one["Name"] for one in client.api.networks(filters=label)}


def ask(url: str) -> int:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=180)
    connection.request("GET", place.path)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_and_leaves_nothing(engine, tmp_path, number):
    before = created(engine)
    dashboard = Dashboard(tmp_path, "--template", "bridge", "--containers", "2", TMPDIR=str(tmp_path))
    with dashboard:
        assert created(engine) > before
        assert ask(dashboard.url) == 200  # a visit: its kernel has run the page
        children = descendants(dashboard.process.pid)
        assert sum("ipykernel" in argv for argv in children.values()) == 1
        assert sum("nats-server" in argv for argv in children.values()) == 1
        token = urlsplit(dashboard.url).path.strip("/")
        own = Path(f"/proc/{dashboard.process.pid}/cmdline").read_text()
        assert not any(token in argv for argv in [*children.values(), own])
        assert dashboard.log.read_text().count(token) == 1
        assert dashboard.end(number) == 0
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 10, "its processes end")
    assert created(engine) == before
    assert [path.name for path in tmp_path.iterdir()] == ["dashboard.log"]


def test_kernels_end_when_the_command_is_killed(engine, tmp_path):
    with Dashboard(tmp_path, "--template", "bridge", "--containers", "2", TMPDIR=str(tmp_path)) as dashboard:
        assert ask(dashboard.url) == 200
        children = descendants(dashboard.process.pid)
        dashboard.end(signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 20, "its processes end")
    with Server([*COMMAND, "clean"], tmp_path / "clean.log", tmp_path, {"TMPDIR": str(tmp_path)}) as clean:
        assert clean.process.wait(60) == 0
    assert not [name for name in os.listdir(tmp_path) if name.startswith("cmonlab-")]
