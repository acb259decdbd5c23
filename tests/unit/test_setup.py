"""Installation of the distribution's packages: tools/packages with fake system tools."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT

MARK = "# cmonlab: no service starts while its packages are installed"
ALL = [
    *("python3-bpfcc", "libpcap0.8", "linux-libc-dev", "docker.io", "iptables", "iproute2", "iperf3", "memcached"),
    *("libmemcached-tools", "sockperf", "busybox-static", "tcpdump", "gcc", "libc6-dev", "apparmor"),
    *("python3-venv", "python3.11", "python3.11-venv"),
]

TOOLS = {
    "id": "echo ${FAKE_UID:-0}",
    "dpkg-query": 'sed "s/$/ installed/" "$FAKE/installed"',
    # Installs the requested packages unless the lists are out of date, and copies the policy at that time.
    "apt-get": """
echo "$*" >>"$FAKE/calls"
case "$*" in
*update*) rm -f "$FAKE/stale"; exit 0 ;;
esac
[ -e "$FAKE/stale" ] && { echo "E: Unable to locate package"; exit 100; }
cp "$CMONLAB_SYSROOT/usr/sbin/policy-rc.d" "$FAKE/policy" 2>/dev/null
[ -e "$FAKE/broken" ] && { echo "E: the disk is full"; exit 100; }
for word; do case "$word" in
    memcached) touch "$CMONLAB_SYSROOT/lib/systemd/system/memcached.service" ;;
esac; echo "$word"; done >>"$FAKE/installed"
""",
    "systemctl": 'echo "$*" >>"$FAKE/systemctl"',
    "sudo": 'echo "$*" >>"$FAKE/sudo"',
}


class Host:
    """A fake Debian host in a directory."""

    def __init__(self, path: Path, installed: list[str]):
        self.path, self.root = path, path / "root"
        for folder in ("bin", "root/usr/sbin", "root/lib/systemd/system"):
            (path / folder).mkdir(parents=True)
        for name, body in TOOLS.items():
            self.tool(name, body)
        self.write("installed", "\n".join(installed) + "\n")
        self.policy = self.root / "usr/sbin/policy-rc.d"

    def tool(self, name: str, body: str) -> None:
        (self.path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.path / "bin" / name).chmod(0o755)

    def write(self, name: str, text: str = "") -> None:
        (self.path / name).write_text(text)

    def read(self, name: str) -> str:
        return (self.path / name).read_text() if (self.path / name).exists() else ""

    def run(self, *words: str, **env: str) -> subprocess.CompletedProcess:
        env = (
            os.environ
            | {
                "PATH": f"{self.path}/bin:/usr/bin:/bin",
                "FAKE": str(self.path),
                "CMONLAB_SYSROOT": str(self.root),
            }
            | env
        )
        return subprocess.run([ROOT / "tools/packages", *words], env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def fresh(tmp_path):
    """Return a host where only memcached and tcpdump are missing."""
    return Host(tmp_path, [name for name in ALL if name not in ("memcached", "tcpdump")])


def test_missing_packages_are_installed_once(fresh):
    first = fresh.run()
    assert first.returncode == 0, first.stderr
    assert "memcached tcpdump" in first.stderr
    (call,) = fresh.read("calls").splitlines()
    assert call.endswith("--no-remove memcached tcpdump")
    second = fresh.run()
    assert (second.returncode, second.stdout + second.stderr) == (0, "")
    assert len(fresh.read("calls").splitlines()) == 1


@pytest.mark.parametrize("name", ["libpcap0.8", "busybox-static"])
def test_equal_package_with_another_name_is_enough(tmp_path, name):
    other = {"libpcap0.8": "libpcap0.8t64", "busybox-static": "busybox"}
    host = Host(tmp_path, [other.get(package, package) if package == name else package for package in ALL])
    assert host.run().returncode == 0
    assert host.read("calls") == ""


def test_package_lists_are_fetched_only_after_a_failed_install(fresh):
    fresh.write("stale")
    assert fresh.run().returncode == 0
    first, update, second = fresh.read("calls").splitlines()
    assert update.endswith("update")
    assert first == second


def test_no_service_starts_and_the_policy_is_removed(fresh):
    assert fresh.run().returncode == 0
    policy = fresh.path / "policy"
    assert subprocess.run(["sh", policy, "memcached.service", "start"]).returncode == 101
    assert subprocess.run(["sh", policy, "memcached.service", "(start)"]).returncode == 101
    assert subprocess.run(["sh", policy, "ssh.service", "restart"]).returncode == 0
    assert not fresh.policy.exists()
    assert fresh.read("systemctl").splitlines() == ["--quiet disable memcached.service"]


def test_existing_service_is_not_disabled(fresh):
    (fresh.root / "lib/systemd/system/memcached.service").touch()
    assert fresh.run().returncode == 0
    assert fresh.read("systemctl") == ""


def test_failure_shows_the_reason_and_removes_the_policy(fresh):
    fresh.write("broken")
    run = fresh.run()
    assert run.returncode != 0
    assert "the disk is full" in run.stderr
    assert MARK in fresh.read("policy")
    assert not fresh.policy.exists()


def test_policy_of_the_host_is_not_changed(fresh):
    fresh.policy.write_text("#!/bin/sh\nexit 101\n")
    assert fresh.run().returncode == 0
    assert fresh.policy.read_text() == "#!/bin/sh\nexit 101\n"


def test_policy_left_by_a_crash_is_removed(fresh):
    fresh.policy.write_text(f"#!/bin/sh\n{MARK}\nexit 101\n")
    assert fresh.run().returncode == 0
    assert not fresh.policy.exists()


def test_docker_is_not_installed_next_to_another_engine(tmp_path):
    host = Host(tmp_path, [name for name in ALL if name != "docker.io"])
    host.tool("dockerd", "exit 0")
    assert host.run().returncode == 0
    assert host.read("calls") == ""


def test_docker_is_installed_without_an_engine(tmp_path):
    host = Host(tmp_path, [name for name in ALL if name != "docker.io"])
    assert host.run().returncode == 0
    assert host.read("calls").endswith("--no-remove docker.io\n")


def test_user_calls_sudo_once(fresh):
    assert fresh.run(FAKE_UID="1000").returncode == 0
    assert fresh.read("sudo").splitlines() == [f"-- {ROOT}/tools/packages"]
    assert fresh.read("calls") == ""


def test_user_without_sudo_gets_the_command_for_root(fresh):
    (fresh.path / "bin/sudo").unlink()
    if shutil.which("sudo", path="/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"):
        pytest.skip("optional: a host without sudo")
    run = fresh.run(FAKE_UID="1000")
    assert run.returncode == 1
    assert "As root: apt-get install --no-install-recommends memcached tcpdump" in run.stderr


@pytest.fixture
def lacking(tmp_path):
    """Return a host without the packages that only benchmarks and browser tests need."""
    host = Host(tmp_path, ALL)
    known = "bpftrace | linux-tools-generic | chromium | fonts-dejavu-core | tshark"
    host.tool("apt-cache", f'case "$2" in {known}) exit 0 ;; esac; exit 100')
    for name in ("sed", "grep", "mktemp", "rm", "cat", "chmod", "tail", "touch", "cp", "dirname", "env", "bash", "sh"):
        (host.path / "bin" / name).symlink_to(shutil.which(name))
    return host


def test_packages_for_benchmarks_are_installed_for_benchmarks_only(lacking):
    assert lacking.run().returncode == 0
    assert lacking.read("calls") == ""
    # Only this directory, so that bpftrace and perf of this machine are not found.
    run = lacking.run("bench", PATH=f"{lacking.path}/bin")
    assert run.returncode == 0, run.stderr
    installed = [call.rpartition(" ")[2] for call in lacking.read("calls").splitlines()]
    assert installed == ["bpftrace", "linux-tools-generic"]


def test_packages_for_browser_tests_are_installed_for_them_only(lacking):
    run = lacking.run("browser", PATH=f"{lacking.path}/bin")
    assert run.returncode == 0, run.stderr
    installed = [call.rpartition(" ")[2] for call in lacking.read("calls").splitlines()]
    assert installed == ["chromium", "fonts-dejavu-core", "tshark"]
    (lacking.root / "usr/share/fonts/truetype/dejavu").mkdir(parents=True)
    (lacking.root / "usr/share/fonts/truetype/dejavu/DejaVuSans.ttf").touch()
    lacking.tool("chromium", "exit 0")
    lacking.tool("tshark", "exit 0")
    assert lacking.run("browser", PATH=f"{lacking.path}/bin").returncode == 0
    assert len(lacking.read("calls").splitlines()) == 3


def test_browser_that_cannot_be_installed_is_reported_without_failure(lacking):
    lacking.write("broken")
    run = lacking.run("browser", PATH=f"{lacking.path}/bin")
    assert run.returncode == 0
    assert "chromium is not to be had: tests that need it are skipped" in run.stderr


def test_user_without_sudo_gets_the_command_and_no_failure(lacking):
    run = lacking.run("browser", PATH=f"{lacking.path}/bin", FAKE_UID="1000")
    if (lacking.path / "bin/sudo").exists():
        assert lacking.read("sudo").splitlines()[0] == f"-- {ROOT}/tools/packages browser"
        (lacking.path / "bin/sudo").unlink()
        run = lacking.run("browser", PATH=f"{lacking.path}/bin", FAKE_UID="1000")
    assert run.returncode == 0
    assert "As root: apt-get install --no-install-recommends chromium" in run.stderr


def test_package_for_benchmarks_that_cannot_be_installed_is_no_failure(lacking):
    lacking.write("broken")
    run = lacking.run("bench", PATH=f"{lacking.path}/bin")
    assert run.returncode == 0
    assert "bpftrace is not to be had" in run.stderr
    assert not lacking.policy.exists()
