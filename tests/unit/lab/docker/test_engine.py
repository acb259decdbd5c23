"""Around the engine: refusals, owners, the firewall, Ctrl-C during removal."""

import os
import signal
import subprocess
import sys

import pytest

from cmonlab.errors import DockerError
from cmonlab.lab.docker import dockerd, engine, firewall
from cmonlab.system.ownership import alive, me
from cmonlab.system.signals import defer_signals


@pytest.fixture
def no_engine(monkeypatch):
    monkeypatch.setattr(engine, "connect", lambda *_: None)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return monkeypatch


def _refusal(place=engine.HERE) -> DockerError:
    with pytest.raises(DockerError) as caught, engine.docker_engine(place=place):
        pass
    return caught.value


def test_docker_host_that_does_not_answer_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    error = _refusal()
    assert f"{tmp_path}/none.sock" in error.why and "DOCKER_HOST" in error.fix


def test_only_root_starts_an_engine(no_engine):
    no_engine.setattr(os, "geteuid", lambda: 1000)
    error = _refusal()
    assert "root" in error.fix


def test_missing_dockerd_names_the_package(no_engine, tmp_path):
    no_engine.setattr(os, "geteuid", lambda: 0)
    no_engine.setattr(dockerd, "PATH", str(tmp_path))
    assert _refusal().fix == "apt install docker.io iptables"


def test_directory_with_a_long_path_is_refused(no_engine, tmp_path):
    no_engine.setattr(os, "geteuid", lambda: 0)
    no_engine.setattr(engine.shutil, "which", lambda *_, **__: "/usr/sbin/dockerd")
    assert "too long" in _refusal(engine.Place(run=tmp_path / ("x" * 80), data=tmp_path)).why


def test_pid_file_of_another_process_is_not_our_engine(tmp_path):
    place = engine.Place(run=tmp_path, data=tmp_path / "data")
    assert dockerd.running(place) is None
    for text in (str(os.getpid()), "999999999", "nonsense", ""):
        (tmp_path / "docker.pid").write_text(text)
        assert dockerd.running(place) is None


def test_mount_points_with_spaces_are_read(monkeypatch, tmp_path):
    place = engine.Place(run=tmp_path, data=tmp_path / "my data")
    line = f"1 2 0:3 / {tmp_path}/my\\040data rw - ext4 /dev/x rw\n4 2 0:3 / {tmp_path}x rw - ext4 /dev/x rw\n"
    monkeypatch.setattr(dockerd.Path, "read_text", lambda *_: line)
    assert dockerd._mounts(place) == [f"{tmp_path}/my data"]


def test_owner_is_alive_until_its_process_ends():
    script = "from cmonlab.system.ownership import me; print(me(), flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    label = child.stdout.readline().strip()
    assert label.startswith(f"{child.pid}/")
    assert alive(label) and alive(me())
    child.communicate("\n")
    assert not alive(label)


def test_owner_of_a_reused_pid_or_another_boot_is_not_alive():
    pid, start, boot, namespace = me().split("/")
    assert not alive(f"{pid}/{int(start) - 1}/{boot}/{namespace}")
    assert not alive(f"{pid}/{start}/another-boot/{namespace}")
    # A process in another pid namespace cannot be seen, so it must count as alive.
    assert alive(f"999999999/{start}/{boot}/1")
    for label in ("", "x", "1/2", f"{pid}/x/{boot}/{namespace}"):
        assert not alive(label)


BEFORE = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [5:60]
-A FORWARD -s 10.0.0.1/32 -j ACCEPT
COMMIT
"""
AFTER = """*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [9:90]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -o br-0123456789ab -m comment --comment "a b" -j ACCEPT
-A FORWARD -s 10.0.0.1/32 -j ACCEPT
-A FORWARD -s 10.0.0.2/32 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A POSTROUTING -s 172.17.0.0/16 ! -o br-0123456789ab -j MASQUERADE
COMMIT
"""


def test_undo_removes_dockers_changes_and_nothing_else():
    assert firewall.undo(firewall.parse(BEFORE), firewall.parse(AFTER)) == [
        ["-t", "filter", "-D", "FORWARD", "-j", "DOCKER-USER"],
        ["-t", "filter", "-D", "FORWARD", "-o", "br-0123456789ab", "-m", "comment", "--comment", "a b", "-j", "ACCEPT"],
        ["-t", "filter", "-F", "DOCKER"],
        ["-t", "filter", "-F", "DOCKER-USER"],
        ["-t", "filter", "-X", "DOCKER"],
        ["-t", "filter", "-X", "DOCKER-USER"],
        ["-t", "filter", "-P", "FORWARD", "ACCEPT"],
        ["-t", "nat", "-D", "POSTROUTING", "-s", "172.17.0.0/16", "!", "-o", "br-0123456789ab", "-j", "MASQUERADE"],
        ["-t", "nat", "-F", "DOCKER"],
        ["-t", "nat", "-X", "DOCKER"],
    ]


def test_undo_keeps_the_changes_of_an_earlier_engine():
    after = firewall.parse(AFTER)
    assert firewall.undo(after, after) == []


def test_signals_during_removal_are_deferred():
    done = []
    with pytest.raises(KeyboardInterrupt), defer_signals(), defer_signals():
        signal.raise_signal(signal.SIGINT)
        done.append("first")
        signal.raise_signal(signal.SIGINT)
        done.append("second")
    assert done == ["first", "second"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
