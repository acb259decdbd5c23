"""Interfaces whose other ends are in namespaces that give the same numbers."""

import os
import subprocess
import time

import pytest

from cmonlab.lab.inventory.inventory import links


@pytest.fixture
def spaces():
    """Two hosts with a container each, which are made in the same way and so have the same ifindexes."""
    made = {}
    try:
        for name in ("h0", "h1", "c0", "c1"):
            made[name] = subprocess.Popen(["unshare", "-n", "cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            deadline = time.monotonic() + 10
            while _netns(made[name].pid) == _netns(os.getpid()):
                assert time.monotonic() < deadline
        yield {name: process.pid for name, process in made.items()}
    finally:
        for process in made.values():
            process.stdin.close()
            process.wait(timeout=10)


def _netns(pid):
    return os.stat(f"/proc/{pid}/ns/net").st_ino


def _ip(pid, *words):
    subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", *words], check=True, timeout=10)


def test_links_have_the_namespace_of_the_other_end(spaces):
    for host, container in (("h0", "c0"), ("h1", "c1")):
        _ip(
            spaces[host],
            "link",
            "add",
            "veth0",
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            str(spaces[container]),
        )
        _ip(spaces[host], "link", "add", "vxlan0", "type", "vxlan", "id", "42", "dstport", "4789")
        _ip(spaces[host], "link", "add", "mac0", "link", "veth0", "type", "macvlan")
        _ip(spaces[host], "link", "set", "mac0", "netns", str(spaces[container]))
    rows = {(row["namespace"], row["name"]): row for row in links(spaces)}
    netns = {name: _netns(pid) for name, pid in spaces.items()}
    ends = {row: (rows[row]["ifindex"], rows[row]["peer"]) for row in rows if row[1] in ("veth0", "eth0")}
    assert ends["h0", "veth0"] == ends["h1", "veth0"] and ends["c0", "eth0"] == ends["c1", "eth0"]
    for host, container in (("h0", "c0"), ("h1", "c1")):
        assert rows[host, "veth0"]["link_netns"] == netns[container]
        assert rows[container, "eth0"]["link_netns"] == netns[host]
        macvlan = rows[container, "mac0"]
        assert (macvlan["lower"], macvlan["link_netns"]) == (rows[host, "veth0"]["ifindex"], netns[host])
        assert (rows[host, "vxlan0"]["vni"], rows[host, "vxlan0"]["lower"]) == (42, 0)
        assert (rows[host, "lo"]["link_netns"], rows[host, "lo"]["peer"]) == (0, 0)


def test_namespace_that_is_not_followed_is_unknown(spaces):
    _ip(spaces["h0"], "link", "add", "veth0", "type", "veth", "peer", "name", "eth0", "netns", str(spaces["c0"]))
    rows = {row["name"]: row for row in links({"h0": spaces["h0"], "h1": spaces["h1"]})}
    assert rows["veth0"]["peer"] > 0 and rows["veth0"]["link_netns"] == 0
