"""Containers' networks without containers: two namespaces on a bridge in a third.

The bridge has a namespace of its own, so that the machine's firewall rules do not
touch the test's packets, nor the test the machine.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

_runs = itertools.count()
_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def _enter(namespace: str) -> None:
    """Move the calling thread into a network namespace."""
    with open(f"/run/netns/{namespace}") as file:
        if _libc.setns(file.fileno(), _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


class NetLab:
    """Namespaces ``c0`` (10.77.0.10) and ``c1`` (10.77.0.11) on ``br0`` in ``host``; IPv6 fd77::10 and fd77::11."""

    def __init__(self):
        run = f"cmonlab-test-{os.getpid()}-{next(_runs)}"
        self.namespaces = {name: f"{run}-{name}" for name in ("host", "c0", "c1")}
        self._threads = {
            name: ThreadPoolExecutor(4, initializer=_enter, initargs=(namespace,))
            for name, namespace in self.namespaces.items()
        }

    def build(self) -> None:
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

    def start(self, name: str, function, *args) -> Future:
        """Run a function in a thread that lives in a namespace."""
        return self._threads[name].submit(function, *args)

    def call(self, name: str, function, *args):
        """Run a function in a namespace and return its result."""
        return self.start(name, function, *args).result(timeout=60)

    def argv(self, name: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.namespaces[name], *words]

    def run(self, name: str, *words: str, **options) -> str:
        return subprocess.run(self.argv(name, *words), check=True, capture_output=True, text=True, **options).stdout

    def popen(self, name: str, *words: str, **options) -> subprocess.Popen:
        return subprocess.Popen(self.argv(name, *words), stdout=subprocess.PIPE, text=True, **options)

    def links(self) -> list[dict]:
        """Read the links with iproute2's own JSON, in the columns of the links table."""
        rows = []
        for name, namespace in self.namespaces.items():
            inode = os.stat(f"/run/netns/{namespace}").st_ino
            found = json.loads(ip("-n", namespace, "-d", "-j", "addr"))
            index = {link["ifname"]: link["ifindex"] for link in found}
            for link in found:
                rows.append({
                    "netns": inode, "namespace": name, "ifindex": link["ifindex"], "name": link["ifname"],
                    "kind": link.get("linkinfo", {}).get("info_kind", ""), "master": index.get(link.get("master"), 0),
                    "peer": link.get("link_index", 0), "mtu": link["mtu"], "mac": link.get("address", ""),
                    "addresses": [a["local"] for a in link["addr_info"]],
                })  # fmt: skip
        return rows

    def remove(self) -> None:
        for threads in self._threads.values():
            threads.shutdown(cancel_futures=True)
        for namespace in self.namespaces.values():
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)


@contextmanager
def netlab():
    lab = NetLab()
    try:
        lab.build()
        yield lab
    finally:
        lab.remove()
