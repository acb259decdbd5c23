"""Many network namespaces on one bridge, as on a host with as many containers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from cmonlab.errors import NotTraceable
from cmonlab.study.testbed.testbed import ip

from . import manyping
from .traffic import PORT

_FIRST = 10_000  # separate numbers among the testbeds, so that `cmonlab clean` finds them after a crash


def batch(lines: list[str], *options: str) -> None:
    """Run many commands of ``ip`` at once.

    Raises
    ------
    NotTraceable
        One failed.
    """
    run = subprocess.run(["ip", *options, "-batch", "-"], input="\n".join(lines), text=True, capture_output=True)
    if run.returncode:
        raise NotTraceable("namespaces cannot be made", why=run.stderr.strip()[:300], fix="run as root (sudo)")


@contextmanager
def namespaces(count: int) -> Iterator[str]:
    """Create namespaces on one bridge, which has its own namespace; yield the prefix of their names."""
    prefix = f"cmonlab-bed-{os.getpid()}-{_FIRST + count}"
    names = [f"{prefix}-host", *(f"{prefix}-{number}" for number in range(count))]
    try:
        batch([f"netns add {name}" for name in names])
        # No IPv6 addresses: their multicasts to hundreds of ports would be most of the packets.
        links = ["link add br0 type bridge", "link set br0 addrgenmode none up"]
        for number, name in enumerate(names[1:]):
            links.append(f"link add veth{number} type veth peer name eth0 netns {name}")
            links.append(f"link set veth{number} addrgenmode none master br0 up")
        batch(links, "-n", names[0])
        for number, name in enumerate(names[1:]):
            address = f"addr add {manyping.address(number)}/16 dev eth0"
            batch([address, "link set eth0 addrgenmode none up"], "-n", name)
        yield prefix
    finally:
        there = ip("netns", "list")
        batch([f"netns del {name}" for name in names if name in there])


@contextmanager
def messages(prefix: str, count: int) -> Iterator[None]:
    """Make pairs of namespaces exchange messages in turn; the block begins when all addresses are resolved."""
    words = [sys.executable, "-S", manyping.__file__, prefix, str(count // 2), str(PORT)]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            if not process.stdout.readline():
                raise RuntimeError("the messages between namespaces do not flow")
            yield
        finally:
            process.kill()
