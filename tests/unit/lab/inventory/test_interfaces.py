"""Interfaces of the tests' own namespace, which needs no privilege, and histories from fake messages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cmonlab import schema
from cmonlab.lab.inventory.follow import Followed
from cmonlab.lab.inventory.interfaces import Interfaces
from cmonlab.lab.inventory.snapshot import links
from cmonlab.lab.netns import inside, namespace

UP = 1


def test_rows_agree_with_the_schema_and_sysfs():
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
        assert (row["from_ns"], row["to_ns"]) == (0, 0)
    assert [row["ifindex"] for row in rows] == sorted(row["ifindex"] for row in rows)


def test_loopback_has_its_address():
    loopback = next(row for row in links({"host": os.getpid()}) if row["name"] == "lo")
    assert "127.0.0.1" in loopback["addresses"]
    assert (loopback["kind"], loopback["peer"], loopback["master"]) == ("", 0, 0)


def test_links_leave_out_second_names_and_ended_processes():
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    once = links({"host": os.getpid()})
    assert links({"host": os.getpid(), "again": os.getpid(), "gone": child.pid}) == once


def test_inside_raises_what_the_function_raises():
    with namespace(os.getpid()) as handle:
        assert inside(handle, os.getpid) == os.getpid()
        with pytest.raises(ZeroDivisionError):
            inside(handle, lambda: 1 // 0)


def test_followed_namespace_requests_a_new_dump_after_lost_messages():
    with namespace(os.getpid()) as handle:
        followed = Followed(handle, since_ns=0)

    def loopback():
        return [row for row in followed.interfaces.rows("host") if row["name"] == "lo"]

    before = loopback()
    followed._repeat()  # as after ENOBUFS
    assert followed.interfaces.dumping
    followed.read()
    assert loopback() == before != [] and not followed.interfaces.dumping
    followed.close()
    followed.close()
    assert followed.read() == [] and followed.fileno() == -1


class Message(dict):
    """A message of netlink, as pyroute2 returns it."""

    def get_attr(self, name):
        return self["attrs"].get(name)


def link(name, *, index=2, up=True, event="RTM_NEWLINK", **attrs):
    attrs = {f"IFLA_{key.upper()}": value for key, value in attrs.items()}
    return Message(event=event, index=index, flags=UP * up, attrs={"IFLA_IFNAME": name, "IFLA_MTU": 1500, **attrs})


def address(text, *, index=2, event="RTM_NEWADDR"):
    return Message(event=event, index=index, attrs={"IFA_ADDRESS": text})


def after_messages(*messages, before=()):
    """Return the interfaces after a dump of `before` at time 0, and messages at times 1, 2, …"""
    interfaces = Interfaces(7)
    interfaces.begin()
    for message in before:
        interfaces.take(message, 0)
    interfaces.end(0)
    for at_ns, message in enumerate(messages, 1):
        interfaces.take(message, at_ns)
    return interfaces


def history(interfaces):
    return [(row["name"], row["addresses"], row["from_ns"], row["to_ns"]) for row in interfaces.rows("c0")]


def test_renamed_interface_keeps_the_row_of_its_old_name():
    interfaces = after_messages(link("eth7"), before=[link("eth0"), address("10.0.0.2")])
    assert history(interfaces) == [("eth0", ["10.0.0.2"], 0, 1), ("eth7", ["10.0.0.2"], 1, 0)]
    assert interfaces.addresses() == ("10.0.0.2",)
    assert [list(row) for row in interfaces.rows("c0")] == [schema.columns("links")] * 2


def test_name_of_an_interface_that_was_never_up_leaves_no_row():
    # This is how an engine gives a container its interface.
    messages = [link("veth4f2", up=False), link("eth0", up=False), address("10.0.0.2"), link("eth0")]
    assert history(after_messages(*messages)) == [("eth0", ["10.0.0.2"], 1, 0)]
    assert history(after_messages(link("veth4f2", up=False), link("veth4f2", event="RTM_DELLINK"))) == []


def test_removed_address_stays_in_its_row():
    before = [link("eth0"), address("10.0.0.2"), address("fe80::1")]
    moved = after_messages(address("10.0.0.2", event="RTM_DELADDR"), address("10.0.0.3"), before=before)
    assert history(moved) == [("eth0", ["10.0.0.2", "fe80::1"], 0, 1), ("eth0", ["fe80::1", "10.0.0.3"], 1, 0)]
    assert moved.addresses() == ("fe80::1", "10.0.0.3")


def test_removed_interface_keeps_its_last_row():
    before = [
        link("veth1", index=5, master=3, link=2, linkinfo=link("", info_kind="veth")),
        address("fe80::1", index=5),
    ]
    interfaces = after_messages(
        link("veth1", index=5, up=False),
        address("fe80::1", index=5, event="RTM_DELADDR"),
        link("veth1", index=5, up=False, event="RTM_DELLINK"),
        before=before,
    )
    (row,) = interfaces.rows("host")
    assert (row["addresses"], row["from_ns"], row["to_ns"]) == (["fe80::1"], 0, 2)
    assert row["master"] == 3 and interfaces.addresses() == ()
    interfaces.forget(2)
    assert len(interfaces.rows("host")) == 1
    interfaces.forget(3)
    assert interfaces.rows("host") == []


def test_only_the_first_row_begins_at_since_ns():
    interfaces = Interfaces(7)
    for at_ns, message in enumerate([link("eth0"), link("eth1"), address("10.0.0.2"), link("eth2", index=3)], 20):
        interfaces.take(message, at_ns, 5)
    assert history(interfaces) == [("eth0", [], 5, 21), ("eth1", ["10.0.0.2"], 21, 0), ("eth2", [], 5, 0)]


def test_interface_that_reappears_has_another_row():
    interfaces = after_messages(link("eth0", event="RTM_DELLINK"), link("eth0"), before=[link("eth0")])
    assert history(interfaces) == [("eth0", [], 0, 1), ("eth0", [], 2, 0)]


def test_new_dump_ends_interfaces_and_addresses_that_it_lacks():
    interfaces = after_messages(before=[link("eth0"), address("10.0.0.2"), link("eth1", index=3)])
    interfaces.begin()
    for message in (link("eth0"), address("10.0.0.9"), link("eth2", index=4)):
        interfaces.take(message, 8)
    # Arrives during the dump.
    interfaces.take(address("10.0.0.7", index=4), 8)
    interfaces.end(9)
    assert history(interfaces) == [
        ("eth0", ["10.0.0.2"], 0, 9),
        ("eth0", ["10.0.0.9"], 9, 0),
        ("eth1", [], 0, 9),
        ("eth2", ["10.0.0.7"], 8, 0),
    ]


def test_addresses_leave_out_loopback_and_unknown_interfaces():
    lo = [link("lo", index=1), address("127.0.0.1", index=1), address("::1", index=1)]
    interfaces = after_messages(address("::1", index=1, event="RTM_DELADDR"), address("10.0.0.2", index=99), before=lo)
    assert history(interfaces) == [("lo", ["127.0.0.1", "::1"], 0, 0)] and interfaces.addresses() == ()
