"""A container network without containers: two network namespaces on a bridge in a third one.

The bridge has its own namespace, so that the machine's firewall rules do not affect the measured packets, and the
packets do not affect the machine.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cmonlab.errors import NotTraceable

_NAMESPACES = Path("/run/netns")  # iproute2's
_NAME = re.compile(r"cmonlab-bed-(\d+)-\d+-\w+")
_CLONE_NEWNET = 0x40000000
_CALL_S = 60

_runs = itertools.count()
_libc = ctypes.CDLL(None, use_errno=True)


def enter(namespace: str) -> None:
    """Move the calling thread into a named network namespace."""
    with open(_NAMESPACES / namespace) as file:
        if _libc.setns(file.fileno(), _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


def ip(*words: str) -> str:
    """Run iproute2's ``ip`` and return what it prints.

    Raises
    ------
    NotTraceable
        ``ip`` failed, or is not installed.
    """
    return command("ip", *words)


def command(*words: str) -> str:
    """Run a program that sets up a network and return what it prints.

    Raises
    ------
    NotTraceable
        The program failed, or is not installed.
    """
    what = f"`{' '.join(words)}` failed"
    try:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout
    except FileNotFoundError as error:
        raise NotTraceable(what, why=f"there is no program {words[0]}", fix=f"install {words[0]}") from error
    except subprocess.CalledProcessError as error:
        raise NotTraceable(what, why=error.stderr.strip(), fix="run as root (sudo)") from error


class Testbed:
    """Namespaces ``c0`` (10.77.0.10, fd77::10) and ``c1`` (10.77.0.11, fd77::11), connected by ``br0`` in ``host``.

    Attributes
    ----------
    namespaces : dict of str to str
        ``"host"``, ``"c0"`` and ``"c1"`` → name of the namespace in iproute2.
    """

    __test__ = False  # not a test, in spite of its name

    def __init__(self):
        run = f"cmonlab-bed-{os.getpid()}-{next(_runs)}"
        self.namespaces = {name: f"{run}-{name}" for name in ("host", "c0", "c1")}
        self._threads = {
            name: ThreadPoolExecutor(4, initializer=enter, initargs=(namespace,))
            for name, namespace in self.namespaces.items()
        }

    def build(self) -> None:
        """Create the namespaces, the bridge and its ports."""
        for namespace in self.namespaces.values():
            ip("netns", "add", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        host = self.namespaces["host"]
        ip("-n", host, "link", "add", "br0", "type", "bridge")
        ip("-n", host, "link", "set", "br0", "up")
        for number, name in enumerate(("c0", "c1")):
            namespace = self.namespaces[name]
            ip("-n", host, "link", "add", f"veth{number}", "type", "veth", "peer", "name", "eth0", "netns", namespace)
            ip("-n", host, "link", "set", f"veth{number}", "master", "br0", "up")
            ip("-n", namespace, "addr", "add", f"10.77.0.{10 + number}/24", "dev", "eth0")
            ip("-n", namespace, "addr", "add", f"fd77::{10 + number}/64", "dev", "eth0", "nodad")
            ip("-n", namespace, "link", "set", "eth0", "up")

    def start(self, name: str, function: Callable, *args: Any) -> Future:
        """Run a function in a thread of a namespace, without waiting for it.

        Parameters
        ----------
        name : str
            ``"host"``, ``"c0"`` or ``"c1"``.
        function : callable
            What to run.
        *args
            Its arguments.
        """
        return self._threads[name].submit(function, *args)

    def call(self, name: str, function: Callable, *args: Any) -> Any:
        """Run a function in a namespace and return its result.

        Parameters
        ----------
        name : str
            ``"host"``, ``"c0"`` or ``"c1"``.
        function : callable
            What to run.
        *args
            Its arguments.

        Raises
        ------
        TimeoutError
            It takes more than 60 s.
        """
        return self.start(name, function, *args).result(timeout=_CALL_S)

    def argv(self, name: str, *words: str) -> list[str]:
        """Return the command that runs a program in a namespace.

        Parameters
        ----------
        name : str
            ``"host"``, ``"c0"`` or ``"c1"``.
        *words : str
            The program and its arguments.
        """
        return ["ip", "netns", "exec", self.namespaces[name], *words]

    def run(self, name: str, *words: str, **options: Any) -> str:
        """Run a program in a namespace and return its standard output.

        Parameters
        ----------
        name : str
            ``"host"``, ``"c0"`` or ``"c1"``.
        *words : str
            The program and its arguments.
        **options
            Options of ``subprocess.run``.

        Raises
        ------
        subprocess.CalledProcessError
            The program failed.
        """
        return subprocess.run(self.argv(name, *words), check=True, capture_output=True, text=True, **options).stdout

    def popen(self, name: str, *words: str, **options: Any) -> subprocess.Popen:
        """Start a program in a namespace; its standard output is a pipe.

        Parameters
        ----------
        name : str
            ``"host"``, ``"c0"`` or ``"c1"``.
        *words : str
            The program and its arguments.
        **options
            Options of ``subprocess.Popen``.
        """
        return subprocess.Popen(self.argv(name, *words), stdout=subprocess.PIPE, text=True, **options)

    def links(self) -> list[dict]:
        """Return the links of all namespaces as rows of the links table, read from iproute2's JSON."""
        rows = []
        for name, namespace in self.namespaces.items():
            inode = os.stat(_NAMESPACES / namespace).st_ino
            found = json.loads(ip("-n", namespace, "-d", "-j", "addr"))
            index = {link["ifname"]: link["ifindex"] for link in found}
            for link in found:
                rows.append(
                    {
                        "netns": inode,
                        "namespace": name,
                        "ifindex": link["ifindex"],
                        "name": link["ifname"],
                        "kind": link.get("linkinfo", {}).get("info_kind", ""),
                        "master": index.get(link.get("master"), 0),
                        "peer": link.get("link_index", 0),
                        "mtu": link["mtu"],
                        "mac": link.get("address", ""),
                        "addresses": [a["local"] for a in link["addr_info"]],
                    }
                )
        return rows

    def remove(self) -> None:
        """Remove the namespaces and everything in them (idempotent)."""
        for threads in self._threads.values():
            threads.shutdown(cancel_futures=True)
        for namespace in self.namespaces.values():
            _remove(namespace)


def _remove(namespace: str) -> bool:
    with suppress(NotTraceable):
        ip("netns", "del", namespace)
    return not (_NAMESPACES / namespace).exists()


@contextmanager
def testbed() -> Iterator[Testbed]:
    """Yield a testbed that exists for the duration of the block.

    Raises
    ------
    NotTraceable
        The testbed cannot be created on this machine.
    """
    bed = Testbed()
    try:
        bed.build()
        yield bed
    finally:
        bed.remove()


testbed.__test__ = False  # type: ignore[attr-defined]  # pytest reads it from any object


def remove_testbeds() -> list[str]:
    """Remove the namespaces of testbeds whose process has ended; return what was removed, as texts."""
    named = [(path.name, _NAME.fullmatch(path.name)) for path in sorted(_NAMESPACES.glob("cmonlab-bed-*"))]
    gone = [name for name, found in named if found and not Path("/proc", found[1]).exists()]
    return [f"namespace {name}" for name in gone if _remove(name)]
