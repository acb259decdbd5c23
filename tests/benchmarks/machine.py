"""Description of the machine of a result, and requirements of the benchmarks."""

from __future__ import annotations

import os
import shutil
import subprocess

from cmonlab.errors import CmonlabError, NotTraceable
from cmonlab.system.host import host as describe_host

PROGRAMS = {
    "ip": "iproute2",
    "sockperf": "sockperf",
    "memcached": "memcached",
    "memcaslap": "libmemcached-tools",
    "iperf3": "iperf3",
    "tcpdump": "tcpdump",
    "nsenter": "util-linux",
}
#: Peers, which are compared if they are installed.
PEERS = {"bpftrace": "bpftrace", "perf": "linux-perf"}


def check() -> None:
    """Check that this host can run the benchmarks.

    Raises
    ------
    NotTraceable
        Not root, no BTF, or no bcc.
    CmonlabError
        A program is not installed.
    """
    from cmonlab.tracing.kernel.btf import vmlinux
    from cmonlab.tracing.kernel.build import check_bcc

    if os.geteuid() != 0:
        why = "they load eBPF programs and make network namespaces, and this user is not root"
        raise NotTraceable("the benchmarks cannot run", why=why, fix="sudo make bench")
    vmlinux()
    check_bcc()
    missing = sorted(package for program, package in PROGRAMS.items() if not shutil.which(program))
    if missing:
        raise CmonlabError(
            f"the benchmarks need {', '.join(missing)}", fix="make setup, or `make bench`, which installs them"
        )


def describe() -> dict:
    """Return machine, kernel and versions."""
    host = describe_host()
    kernel = {name: host.pop(name) for name in ("kernel", "kernel_build")}
    versions = {"python": host.pop("python"), **host.pop("python_packages"), **_program_versions()}
    versions["cmonlab_git"] = host.pop("git_revision")
    return {"machine": host | {"load": os.getloadavg()}, "kernel": kernel, "versions": versions}


def _program_versions() -> dict[str, str | None]:
    from cmonlab.tracing.kernel.build import check_bcc

    found: dict[str, str | None] = {"bcc": check_bcc()}
    for program, package in (PROGRAMS | PEERS).items():
        query = ["dpkg-query", "-W", "-f", "${Version}", package]
        try:
            run = subprocess.run(query, capture_output=True, text=True, timeout=10)
            found[program] = run.stdout.strip() or None
        except OSError:
            found[program] = None
    return found
