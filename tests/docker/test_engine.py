"""An engine of our own, in directories and a network namespace of the test's."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from cmonlab.lab.docker import dockerd

pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(
        not shutil.which("dockerd", path=dockerd.PATH),
        reason="optional: no dockerd here, the engine runs elsewhere",
    ),
]

SETUP = """
import os, signal, sys
from pathlib import Path
from cmonlab.errors import DockerError
from cmonlab.lab.docker import dockerd, engine
place = engine.Place(run=Path({folder!r}, "run"), data=Path({folder!r}, "data"))
engine.connect = lambda url=None, connect=engine.connect: connect(url) if url else None  # not the host's
"""
USE = SETUP + 'with engine.own_engine(place=place) as client: print("up", dockerd.running(place)); input()\n'


@pytest.fixture
def folder():
    # pytest's own is too long for a socket.
    with tempfile.TemporaryDirectory(prefix="cmonlab-") as name:
        yield name
        assert _mounts(name) == []


def _mounts(folder: str) -> list[str]:
    return [line for line in Path("/proc/mounts").read_text().splitlines() if f" {folder}/" in line]


def _processes(folder: str) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = entry.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(f"{folder}/" in argument for argument in arguments) and "-c" not in arguments:
            found.append(" ".join(arguments))
    return found


def _alone(child, code: str) -> str:
    """Run code in a network namespace of its own; return what it printed."""
    status, output = child(code, "unshare", "--net").wait()
    assert status == 0, output
    return output


def test_last_user_stops_the_engine_and_nothing_remains(child, folder):
    code = (
        SETUP.format(folder=folder)
        + f"""
import subprocess
use = [sys.executable, "-c", {USE.format(folder=folder)!r}]
with engine.own_engine(place=place) as client:
    first = dockerd.running(place)
    second = subprocess.run(use, input="\\n", capture_output=True, text=True)
    assert second.stdout == f"up {{first}}\\n", second
    assert dockerd.running(place) == first and client.ping(), "the second user stopped it"
    with engine.own_engine(place=place) as nested:
        assert nested.ping()
    assert client.ping(), "the nested user stopped it"
    third = subprocess.Popen(use, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert third.stdout.readline() == f"up {{first}}\\n"
assert dockerd.running(place) == first, "the first user stopped it under the third"
third.communicate("\\n")
assert dockerd.running(place) is None
rules = os.popen("iptables-save").read()
assert "DOCKER" not in rules and "DROP" not in rules, rules
links = os.popen("ip -br link").read().splitlines()  # /sys shows the host's
assert not [line for line in links if line.startswith(("br-", "veth"))], links
assert engine.clean_host(place=place) == []
"""
    )
    _alone(child, code)
    assert _processes(folder) == [] and _mounts(folder) == []


def test_clean_stops_the_engine_of_a_killed_user(child, folder):
    user = child(USE.format(folder=folder), "unshare", "--net")
    pid = int(user.read("up"))
    namespace = f"--net=/proc/{pid}/ns/net"
    user.signal(9)
    user.wait()
    assert os.path.exists(f"/proc/{pid}")
    clean = SETUP.format(folder=folder) + "print(engine.clean_host(place=place))"
    status, output = child(clean, "nsenter", namespace).wait()
    assert status == 0 and f"engine {folder}/run/docker.sock" in output
    assert _processes(folder) == [] and _mounts(folder) == []


def test_clean_removes_the_networks_of_a_killed_engine(child, folder):
    code = (
        SETUP.format(folder=folder)
        + """
import subprocess
from cmonlab.system.ownership import me
gone = me().replace(f"{os.getpid()}/", "999999999/", 1)
links = lambda: [l for l in os.popen("ip -br link").read().splitlines() if l.startswith("br-")]
with engine.own_engine(place=place) as client:
    client.api.create_network("cmonlab-x-net0", labels={"cmonlab": "x", "cmonlab.owner": gone})
    assert links()
    os.kill(dockerd.running(place), signal.SIGKILL)
    os.wait()
assert links() and dockerd.left_behind(place)
print(engine.clean_host(place=place))
assert not links() and not dockerd.left_behind(place)
"""
    )
    assert "network cmonlab-x-net0" in _alone(child, code)
    assert _processes(folder) == [] and _mounts(folder) == []


def test_log_of_an_engine_that_ends_early_is_quoted(child, folder):
    code = (
        SETUP.format(folder=folder)
        + """
command = dockerd._command
dockerd._command = lambda place: [*command(place), "--no-such-flag"]
try:
    with engine.own_engine(place=place):
        print("started")
except DockerError as error:
    print("refused", error)
"""
    )
    output = _alone(child, code)
    assert "refused dockerd ended with code" in output and "no-such-flag" in output
    assert _processes(folder) == []


def test_user_who_may_not_start_an_engine_gets_an_error(child, folder):
    code = (
        SETUP.format(folder=folder)
        + """
import docker
os.setgid(65534)
os.setuid(65534)
try:
    with engine.docker_engine(place=place):
        print("started")
except DockerError as error:
    print("refused", error.fix)
"""
    )
    assert "run as root" in child(code).read("refused")
