"""The inventory without an engine, and with a fake one."""

import os
import threading
import time

import pytest

from cmonlab.errors import DockerError
from cmonlab.lab.docker.containers import Container, announced, endpoint, inspected, listed
from cmonlab.lab.docker.events import Events
from cmonlab.lab.inventory.inventory import Inventory
from cmonlab.lab.inventory.roster import Roster
from cmonlab.lab.inventory.snapshot import links
from cmonlab.lab.netns import find_containers, first_process

HERE = os.stat("/proc/self/ns/net").st_ino
ID = "ab" * 32


def wait_for(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    return condition()


class Gone(Exception):
    """The exception at the end of a stopped engine's stream."""


class Stream:
    """A stream of events that ends or breaks at the end of its list, or waits to be closed."""

    def __init__(self, *events, then=None):
        self.events, self.then, self.closed = events, then, threading.Event()

    def __iter__(self):
        yield from self.events
        if self.then is None:
            self.closed.wait(10)
        else:
            raise self.then

    def close(self):
        self.closed.set()


def event(kind, action, container, at_ns, **attributes):
    actor = {"ID": container if kind == "container" else "net-id", "Attributes": attributes}
    if kind == "network":
        attributes["container"] = container
    return {"Type": kind, "Action": action, "Actor": actor, "timeNano": at_ns}


class Engine:
    """A fake docker.APIClient with one container, which is a process of the test."""

    def __init__(self, *streams, state="running", pid=0):
        self.streams, self.since = list(streams), []
        self.pid, self.state, self.name, self.labels = pid, state, "web", {"app": "shop"}

    @property
    def api(self):
        return self

    def events(self, since, filters, decode):
        self.since.append(since)
        if not self.streams:
            raise ConnectionRefusedError("no engine")
        return self.streams.pop(0)

    def containers(self, all=False, filters=None):
        if self.state != "running" and not all:
            return []
        return [{"Id": ID, "Names": [f"/{self.name}"], "Image": "nginx:1", "Labels": {"app": "shop"}}]

    def inspect_container(self, container):
        return {
            "Id": ID,
            "Name": f"/{self.name}",
            "Config": {"Image": "nginx:1", "Labels": self.labels},
            "State": {"Pid": self.pid if self.state == "running" else 0, "Running": self.state == "running"},
            "NetworkSettings": {"Networks": {"front": {"IPAddress": "10.9.0.2", "GlobalIPv6Address": "fd00::2"}}},
        }

    def inspect_network(self, network):
        return {"Containers": {ID: {"IPv4Address": "10.9.0.2/24", "IPv6Address": "fd00::2/64"}}}


def _loopback(rows):
    return [row for row in rows if row["name"] == "lo"]


def test_containers_are_made_from_the_engines_descriptions():
    engine = Engine(pid=4711)
    assert listed(engine.containers()[0], "") == Container(ID, "web", "nginx:1", {"app": "shop"})
    assert listed(engine.containers()[0], "c0").name == "c0"
    attributes = {"app": "shop", "image": "nginx:1", "name": "web"}
    assert announced(ID, attributes, "") == listed(engine.containers()[0], "")
    assert inspected(engine.inspect_container(ID), "") == Container(
        ID, "web", "nginx:1", {"app": "shop"}, ("front",), ("10.9.0.2", "fd00::2"), 0, 4711, True
    )
    assert endpoint(engine.inspect_network(""), ID) == ("10.9.0.2", "fd00::2")
    assert endpoint({"Containers": None}, ID) == ()


def test_inventory_without_an_engine_follows_the_host():
    with Inventory() as inventory:
        # Other interfaces of the host may change meanwhile.
        assert _loopback(inventory.links()) == _loopback(links({"host": os.getpid()})) != []
        assert (inventory.containers(), list(inventory.missed), inventory.error) == ([], [], "")
        inventory.release_gone()
        assert {row["namespace"] for row in inventory.links()} == {"host"}
    assert inventory.links() == inventory.links() != []
    inventory.close()


def test_inventory_leaves_no_thread_and_no_file():
    Inventory().__enter__().close()  # modules and files that are read on first use
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with Inventory(Engine(Stream(), state="exited")):
            pass
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, files)


def test_engine_that_does_not_answer_is_an_error_and_leaves_nothing():
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    with pytest.raises(DockerError, match="events cannot be followed"):
        Inventory(Engine()).__enter__()
    assert (threading.active_count(), len(os.listdir("/proc/self/fd"))) == (threads, files)


def test_callback_gets_a_start_with_its_addresses_and_one_end():
    changes = []
    stream = Stream(
        event("network", "connect", ID, 1, name="front"),
        event("container", "rename", ID, 2, name="/shop"),
        event("container", "die", ID, 3),
        event("container", "destroy", ID, 4),
    )
    inventory = Inventory(Engine(stream, state="created"))
    inventory.on_change(changes.extend)
    with inventory:
        assert wait_for(lambda: changes and not changes[-1].running)
    states = [(one.name, one.networks, one.addresses, one.running) for one in changes]
    own = ("10.9.0.2", "fd00::2")
    assert states == [
        ("web", (), (), True),
        ("web", ("front",), own, True),
        ("shop", ("front",), own, True),
        ("shop", ("front",), own, False),
    ]
    assert list(inventory.missed) == [] and inventory.error == ""
    inventory.release_gone()
    assert inventory.containers() == []


def test_missed_container_is_listed_by_its_name():
    stream = Stream(event("container", "start", ID, 1, name="web"), event("container", "die", ID, 2))
    with Inventory(Engine(stream, state="exited"), {ID: "c7"}) as inventory:
        assert wait_for(lambda: inventory.missed)
        assert list(inventory.missed) == ["c7"] and inventory.containers() == []


def test_container_in_the_hosts_namespace_has_no_addresses():
    with Inventory(Engine(Stream(), pid=os.getpid()), {ID: "c0"}) as inventory:
        (container,) = inventory.containers()
        assert (container.name, container.netns, container.pid) == ("c0", HERE, os.getpid())
        assert {row["namespace"] for row in inventory.links()} == {"host"}


def test_container_in_the_hosts_namespace_has_the_loopback_address_of_its_label():
    engine = Engine(Stream(), pid=os.getpid())
    engine.labels = {"cmonlab.address": "127.66.0.2"}
    with Inventory(engine, {ID: "c0"}) as inventory:
        (container,) = inventory.containers()
        assert "127.66.0.2" in container.addresses
        *host, own = inventory.links()
    assert {row["namespace"] for row in host} == {"host"}
    loopback = next(row for row in host if row["name"] == "lo")
    assert own == loopback | {"namespace": "c0", "addresses": ["127.66.0.2"]}


def test_failing_callback_is_reported_and_stops_nothing():
    stream = Stream(event("network", "connect", ID, 1, name="front"), event("container", "die", ID, 2))
    inventory = Inventory(Engine(stream, state="created"))
    inventory.on_change(lambda containers: 1 // 0)
    with inventory:
        assert wait_for(lambda: [one.running for one in inventory.containers()] == [False])
        assert "ZeroDivisionError" in inventory.error


def test_malformed_event_is_reported_and_stops_nothing():
    stream = Stream({"Type": "network"}, event("network", "connect", ID, 1, name="front"))
    with Inventory(Engine(stream, state="created")) as inventory:
        assert wait_for(lambda: [one.networks for one in inventory.containers()] == [("front",)])
        assert "KeyError" in inventory.error


def test_broken_stream_is_opened_again_after_the_last_event():
    last_ns = time.time_ns() + 10**9
    broken = Stream(event("container", "start", ID, last_ns), then=Gone("the engine went away"))
    engine, received, resumed = Engine(broken, Stream()), [], []
    events = Events(engine, received.append, lambda: resumed.append(events.error))
    events.open()
    events.start()
    assert wait_for(lambda: resumed and not events.error)
    assert len(received) == 1 and resumed == ["Gone: the engine went away"]
    assert int(engine.since[1].replace(".", "")) == last_ns + 1
    events.close()
    events.close()


def test_stream_that_stays_broken_is_reported_and_can_be_closed():
    engine = Engine(Stream(then=Gone("stopped")), state="exited")
    with Inventory(engine) as inventory:
        assert wait_for(lambda: len(engine.since) > 2)
        assert "no engine" in inventory.error
    assert not [thread for thread in threading.enumerate() if thread.name == "cmonlab-docker"]


def test_container_that_ended_while_the_stream_was_broken_is_found():
    engine = Engine(Stream(then=Gone("stopped")), Stream(), pid=os.getpid())
    with Inventory(engine) as inventory:
        assert [one.running for one in inventory.containers()] == [True]
        engine.state = "exited"
        assert wait_for(lambda: [one.running for one in inventory.containers()] == [False])
        assert wait_for(lambda: inventory.error == "")


def test_shared_namespace_has_the_first_name_until_it_is_forgotten():
    roster = Roster(threading.RLock())
    for name in ("first", "second"):
        roster.update(name, lambda _, name=name: Container(name, name, netns=7))
    assert roster.name(7) == "first" and roster.name(8) == ""
    roster.change("first", running=False)
    assert roster.name(7) == "first"
    assert roster.forget(time.monotonic_ns()) == {7} and roster.name(7) == "second"
    roster.change("second", running=False)
    assert roster.forget(0) == {7}
    assert roster.forget(time.monotonic_ns()) == set() and list(roster) == []


def test_callback_is_not_called_without_a_change():
    roster, changes = Roster(threading.RLock()), []
    roster.on_change(changes.extend)
    roster.update("a", lambda _: Container("a", "a"))
    roster.change("a", name="a")
    roster.change("b", name="b")
    roster.update("a", lambda _: None)
    assert changes == [Container("a", "a")]


def test_find_containers_ignores_processes_outside_containers():
    assert ID not in find_containers({HERE})
    assert first_process(HERE, ID) == 0
