"""Who is who while containers, networks and interfaces change: restarts, renames, moves, shared namespaces."""

import os
import subprocess
import time
from contextlib import contextmanager

import pytest

from cmonlab.lab.inventory.inventory import Inventory

from .conftest import wait_for

pytestmark = pytest.mark.docker


@pytest.fixture
def run(client, lab):
    """Return a function: starts a container next to the lab's, and removes it at the end."""
    one = client.api.inspect_container(lab.containers["c0"].id)
    labels = {key: value for key, value in one["Config"]["Labels"].items() if key.startswith("cmonlab")}

    @contextmanager
    def start(name, command=("sleep", "600"), **host):
        host = client.api.create_host_config(**{"network_mode": f"cmonlab-{lab.run_id}-net0"} | host)
        name = f"cmonlab-{lab.run_id}-{name}"
        # Its labels say who may remove it; one of its own is for the test to find.
        labelled = labels | {"cmonlab.test": "yes"}
        made = client.api.create_container(lab.image.tag, list(command), name=name, labels=labelled, host_config=host)
        try:
            client.api.start(made["Id"])
            yield made["Id"]
        finally:
            client.api.remove_container(made["Id"], force=True)

    return start


@pytest.fixture
def inventory(lab):
    with Inventory.of(lab) as inventory:
        yield inventory


def get(inventory, container):
    return next((one for one in inventory.containers() if one.id == container), None)


def of(inventory, netns, name=None):
    rows = [row for row in inventory.links() if row["netns"] == netns]
    return [row for row in rows if name is None or row["name"] == name]


def ip(pid, *arguments):
    subprocess.run(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", *arguments], check=True, capture_output=True)


def pid_of(client, container):
    return client.api.inspect_container(container)["State"]["Pid"]


def test_containers_are_described(client, lab, inventory, run):
    before = {one.name: one for one in inventory.containers()}
    for name in ("c0", "c1"):
        running = lab.containers[name]
        assert (before[name].netns, before[name].pid) == (running.netns, running.pid)
        assert before[name].addresses == running.addresses and before[name].running
    with run("late") as container:
        assert wait_for(lambda: (one := get(inventory, container)) and one.pid)
        late, pid = get(inventory, container), pid_of(client, container)
        assert (late.pid, late.netns) == (pid, os.stat(f"/proc/{pid}/ns/net").st_ino)
        assert (late.image, late.networks) == (lab.image.tag, (f"cmonlab-{lab.run_id}-net0",))
        assert late.labels["cmonlab.test"] == "yes" and late.running and len(late.addresses) == 1
    assert wait_for(lambda: not get(inventory, container).running)
    assert inventory.error == ""


def test_programs_that_end_at_once_are_not_missed(inventory, run):
    for _ in range(5):
        with run("moment", ["true"]) as container:
            pass
        assert wait_for(lambda container=container: (one := get(inventory, container)) and not one.running)
        one = get(inventory, container)
        (row,) = of(inventory, one.netns, "eth0")
        assert one.netns and row["namespace"] == one.name and row["addresses"] == list(one.addresses)
    assert not [name for name in inventory.missed if "moment" in name]


def test_restarted_container_has_another_namespace_of_the_same_name(client, inventory, run):
    with run("again") as container:
        assert wait_for(lambda: (one := get(inventory, container)) and one.pid)
        first = get(inventory, container)
        client.api.restart(container, timeout=0)
        assert wait_for(lambda: get(inventory, container).pid not in (0, first.pid))
        second = get(inventory, container)
    assert second.netns != first.netns and second.running
    assert {row["namespace"] for netns in (first.netns, second.netns) for row in of(inventory, netns)} == {first.name}


def test_renamed_container_has_its_new_name_but_short_names_stay(client, lab, inventory, run):
    with run("old") as container:
        assert wait_for(lambda: (one := get(inventory, container)) and one.netns)
        client.api.rename(container, f"cmonlab-{lab.run_id}-new")
        assert wait_for(lambda: get(inventory, container).name.endswith("-new"))
        netns = get(inventory, container).netns
        assert {row["namespace"] for row in of(inventory, netns)} == {f"cmonlab-{lab.run_id}-new"}
    client.api.rename(lab.containers["c1"].id, f"cmonlab-{lab.run_id}-other")
    try:
        seen = inventory.links()
        assert {"c0", "c1"} <= {row["namespace"] for row in seen}
    finally:
        client.api.rename(lab.containers["c1"].id, f"cmonlab-{lab.run_id}-c1")


def test_interfaces_made_and_renamed_inside_a_container_are_followed(client, inventory, run):
    with run("inside") as container:
        assert wait_for(lambda: (one := get(inventory, container)) and one.pid)
        one = get(inventory, container)
        started_ns = time.monotonic_ns()
        ip(one.pid, "link", "add", "in0", "type", "veth", "peer", "name", "in1")
        ip(one.pid, "addr", "add", "10.9.8.7/24", "dev", "in0")
        ip(one.pid, "link", "set", "in0", "up")
        (row,) = of(inventory, one.netns, "in0")
        assert row["addresses"] == ["10.9.8.7"] and row["from_ns"] > started_ns and not row["to_ns"]
        assert wait_for(lambda: "10.9.8.7" in get(inventory, container).addresses)
        ip(one.pid, "link", "set", "in0", "down")
        ip(one.pid, "link", "set", "in0", "name", "in7")
        ip(one.pid, "link", "set", "in7", "up")
        old, new = of(inventory, one.netns, "in0"), of(inventory, one.netns, "in7")
        assert old[-1]["to_ns"] == new[0]["from_ns"] > started_ns and old[-1]["ifindex"] == new[0]["ifindex"]
        ip(one.pid, "link", "del", "in7")
        assert of(inventory, one.netns, "in7")[-1]["to_ns"]
        assert wait_for(lambda: "10.9.8.7" not in get(inventory, container).addresses)


def test_joined_and_left_networks_are_followed(client, lab, inventory, run):
    name = f"cmonlab-{lab.run_id}-more"
    one = client.api.inspect_container(lab.containers["c0"].id)["Config"]["Labels"]
    labels = {key: value for key, value in one.items() if key.startswith("cmonlab")}
    network = client.api.create_network(name, driver="bridge", labels=labels)["Id"]
    changes = []
    try:
        with run("joins") as container:
            assert wait_for(lambda: (one := get(inventory, container)) and one.pid)
            inventory.on_change(changes.extend)
            first = get(inventory, container)
            client.api.connect_container_to_network(container, network)
            assert wait_for(lambda: len((one := get(inventory, container)).addresses) == len(one.networks) == 2)
            joined = get(inventory, container)
            assert joined.networks == (*first.networks, name) and first.addresses[0] in joined.addresses
            (eth1,) = of(inventory, first.netns, "eth1")
            assert set(eth1["addresses"]) == set(joined.addresses) - set(first.addresses)
            client.api.disconnect_container_from_network(container, network)
            assert wait_for(lambda: get(inventory, container) == first)
            assert joined in changes and changes[-1] == first
            (eth1,) = of(inventory, first.netns, "eth1")
            assert eth1["addresses"] and eth1["to_ns"]
    finally:
        client.api.remove_network(network)


def test_shared_namespaces_have_the_first_name_and_own_addresses(client, lab, inventory, run):
    c0 = lab.containers["c0"]
    with (
        run("hosts", network_mode="host") as hosts,
        run("joined", network_mode=f"container:{c0.id}") as joined,
        run("alone", network_mode="none") as alone,
    ):
        assert wait_for(lambda: all((one := get(inventory, made)) and one.pid for made in (hosts, joined, alone)))
        ours = os.stat("/proc/self/ns/net").st_ino
        assert (get(inventory, hosts).netns, get(inventory, hosts).addresses) == (ours, ())
        assert (get(inventory, joined).netns, get(inventory, joined).addresses) == (c0.netns, c0.addresses)
        assert get(inventory, alone).netns not in (0, ours, c0.netns) and get(inventory, alone).addresses == ()
        assert {row["namespace"] for row in of(inventory, c0.netns)} == {"c0"}
        assert {row["namespace"] for row in of(inventory, ours)} == {"host"}
        assert {row["name"] for row in of(inventory, get(inventory, alone).netns)} == {"lo"}
    # The lab's own must stay when the others go.
    assert wait_for(lambda: not get(inventory, joined).running)
    inventory.release_gone()
    assert of(inventory, c0.netns, "eth0") and get(inventory, joined) is None


def test_container_that_started_while_the_events_were_broken_is_found(client, inventory, run):
    with run("before") as before:
        assert wait_for(lambda: (one := get(inventory, before)) and one.pid)
        # As when the engine goes away: the stream ends under the reader.
        inventory._docker.events._stream.close()
        with run("meanwhile") as container:
            assert wait_for(lambda: (one := get(inventory, container)) and one.pid)
            one = get(inventory, container)
            assert of(inventory, one.netns, "eth0")[0]["namespace"] == one.name
        assert wait_for(lambda: not get(inventory, container).running)
        assert get(inventory, before).running and wait_for(lambda: inventory.error == "")


def test_container_that_cannot_start_leaves_nothing(client, inventory, run):
    with pytest.raises(Exception, match="no-such-program"), run("never", ["no-such-program"]):
        pass
    assert wait_for(lambda: not [one for one in inventory.containers() if "never" in one.name and one.running])
    inventory.release_gone()
    assert not [row for row in inventory.links() if "never" in row["namespace"]]
    assert not [one for one in inventory.containers() if "never" in one.name]
