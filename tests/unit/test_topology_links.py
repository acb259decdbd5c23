"""Interfaces of the namespace that the tests run in; no privilege is needed for it."""

import os
import subprocess
import sys
from pathlib import Path

from cmonlab import schema
from cmonlab.topology.links import links


def test_rows_are_those_of_the_schema_and_of_sysfs():
    rows = links({"host": os.getpid()})
    assert all(list(row) == schema.columns("links") for row in rows)
    assert {row["netns"] for row in rows} == {os.stat("/proc/self/ns/net").st_ino}
    assert {row["namespace"] for row in rows} == {"host"}
    system = Path("/sys/class/net")
    devices = [path for path in system.iterdir() if (path / "ifindex").exists()]
    assert {row["name"]: row["ifindex"] for row in rows} == {
        path.name: int((path / "ifindex").read_text()) for path in devices
    }
    for row in rows:
        assert row["mtu"] == int((system / row["name"] / "mtu").read_text())
    assert [row["ifindex"] for row in rows] == sorted(row["ifindex"] for row in rows)


def test_loopback_has_its_address():
    loopback = next(row for row in links({"host": os.getpid()}) if row["name"] == "lo")
    assert "127.0.0.1" in loopback["addresses"]
    assert (loopback["kind"], loopback["peer"], loopback["master"]) == ("", 0, 0)


def test_second_name_of_a_namespace_and_dead_processes_are_left_out():
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    once = links({"host": os.getpid()})
    assert links({"host": os.getpid(), "again": os.getpid(), "gone": child.pid}) == once
