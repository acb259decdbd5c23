"""NATS servers that cmonlab starts: endpoint, life time, and stale servers after a crash."""

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cmonlab.errors import TransportError
from cmonlab.live.transport import (
    NatsServer,
    connect,
    endpoint,
    read_endpoint,
    remove_endpoint,
    remove_stale,
    write_endpoint,
)
from cmonlab.system import ownership
from tests.support.servers import WAIT_S, gone, orphan, until


def test_server_listens_on_loopback_only():
    with NatsServer() as server:
        listening = [line.split() for line in Path(f"/proc/{server.pid}/net/tcp").read_text().splitlines()[1:]]
        port = f"{server.port:04X}"
        assert [entry[1] for entry in listening if entry[1].endswith(f":{port}") and entry[3] == "0A"] == [
            f"0100007F:{port}"
        ]


def test_server_that_cannot_start_says_why(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(TransportError, match="address already in use"):
        NatsServer(port=taken.getsockname()[1])
    (tmp_path / "file").touch()
    with pytest.raises(TransportError, match="no directory"):
        NatsServer(tmp_path / "file")
    with NatsServer(tmp_path), pytest.raises(TransportError, match="already runs"):
        NatsServer(tmp_path)


CRASH = """
import sys, time
from cmonlab.live.transport import NatsServer
server = NatsServer()
print(server.pid, server.directory, flush=True)
sys.stdin.read()
"""


def test_server_ends_with_its_owner_and_its_directory_is_removed_later(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(endpoint, "run_directory", lambda: tmp_path / "run")
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    child = subprocess.Popen(
        [sys.executable, "-c", CRASH], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        pid, directory = child.stdout.readline().split()
        assert remove_stale() == [] and not gone(int(pid))
    finally:
        child.kill()
        child.communicate()
    until(lambda: gone(int(pid)))
    assert Path(directory).is_dir()
    assert remove_stale() == [f"directory {directory}"]
    assert not Path(directory).exists()


def test_only_stale_servers_are_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(endpoint, "run_directory", lambda: tmp_path / "run")
    dead = ownership.me().replace(f"{os.getpid()}/", "999999999/", 1)
    left, used = orphan(tmp_path / "cmonlab-1-left", dead), orphan(tmp_path / "cmonlab-1-used", ownership.me())
    unrelated = tmp_path / "cmonlab-1-unrelated"
    unrelated.mkdir()
    (unrelated / "nats.json").write_text("{}")
    # The pid belongs to another process by now.
    (unrelated / "nats.pid").write_text(str(used.pid))
    try:
        removed = remove_stale()
        assert removed == [
            f"server in {tmp_path}/cmonlab-1-left",
            f"directory {tmp_path}/cmonlab-1-left",
            f"directory {unrelated}",
        ]
        assert left.wait(WAIT_S) is not None and used.poll() is None
        assert (tmp_path / "cmonlab-1-used").is_dir()
    finally:
        for process in (left, used):
            process.kill()
            process.wait()


def test_unclosed_transport_lets_the_process_end_silently():
    script = (
        "from cmonlab.live.transport import NatsServer, connect\n"
        "server = NatsServer(); one = connect(server.url, server.token)\n"
        "one.subscribe('a', print); one.create_stream('k', ['k'], 9999, 9); one.publish_to_stream('k', b'')\n"
        "print(server.pid, server.directory)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30)
    assert (run.returncode, run.stderr) == (0, "")
    pid, directory = run.stdout.split()
    assert gone(int(pid)) and not Path(directory).exists()


@pytest.fixture
def run(tmp_path, monkeypatch):
    for variable in (endpoint.URL_VARIABLE, endpoint.TOKEN_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(endpoint, "run_directory", lambda: tmp_path / "run")
    return tmp_path / "run"


def test_endpoint_is_readable_by_this_user_only(run, monkeypatch):
    with pytest.raises(TransportError, match="no agent of this user runs here"):
        connect()
    with NatsServer() as server:
        file = write_endpoint(server.url, server.token)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(run.stat().st_mode) == 0o700
        found = read_endpoint()
        assert (found.url, found.token, found.pid, found.owner) == (
            server.url,
            server.token,
            os.getpid(),
            ownership.me(),
        )
        assert server.token not in repr(found)
        with connect() as one:
            one.publish("a", b"")
    monkeypatch.setenv("CMONLAB_NATS_URL", "tls://nats.example.org")
    monkeypatch.setenv("CMONLAB_NATS_TOKEN", "secret")
    assert (read_endpoint().url, read_endpoint().token) == ("tls://nats.example.org", "secret")
    monkeypatch.delenv("CMONLAB_NATS_URL")
    file.chmod(0o644)
    with pytest.raises(TransportError, match="cannot be trusted"):
        read_endpoint()
    file.chmod(0o600)
    remove_endpoint()
    remove_endpoint()
    assert not file.exists()


def test_endpoint_is_removed_only_after_its_process_has_ended(run):
    file = write_endpoint("nats://127.0.0.1:1", "t")
    assert remove_stale() == [] and file.exists()
    entry = json.loads(file.read_text())
    entry["owner"] = entry["owner"].replace(f"{os.getpid()}/", "1/0", 1)
    file.write_text(json.dumps(entry))
    with pytest.raises(TransportError, match="has ended"):
        read_endpoint()
    remove_endpoint()
    assert file.exists()
    assert remove_stale() == [f"file {file}"] and not file.exists()
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            start = Path(f"/proc/{other.pid}/stat").read_text().split()[21]
            _, _, here = ownership.me().split("/", 2)
            file.write_text(json.dumps(entry | {"owner": f"{other.pid}/{start}/{here}", "pid": other.pid}))
            file.chmod(0o600)
            with pytest.raises(TransportError, match="an agent runs already"):
                write_endpoint("nats://127.0.0.1:2", "t")
        finally:
            other.kill()
    assert write_endpoint("nats://127.0.0.1:2", "t") == file
    file.write_text("{")
    with pytest.raises(TransportError, match="cannot be read"):
        read_endpoint()
    assert remove_stale() == [f"file {file}"]
