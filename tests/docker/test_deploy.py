"""Real containers: what a lab makes, runs, describes and removes."""

import contextlib
import json
import os
import signal
import subprocess
import time

import pytest

from cmonlab import schema
from cmonlab.errors import DockerError, UnknownName
from cmonlab.lab.docker import image, recipe
from cmonlab.lab.inventory.inventory import Inventory, links
from cmonlab.lab.topology import Container, Network, Topology
from cmonlab.lab.topology.deploy import Lab, clean, clean_host
from cmonlab.lab.topology.templates.networks import bridge

from .conftest import wait_for

pytestmark = pytest.mark.docker

HOLD = """
from cmonlab.lab.topology.templates import bridge
with bridge({count}).deploy(notify=lambda text: print("progress", text)) as lab:
    print("run", lab.run_id)
    input()
"""


def test_containers_have_their_own_namespaces_and_reach_each_other(lab):
    assert list(lab.containers) == ["c0", "c1"]
    namespaces = {container.netns for container in lab.containers.values()}
    assert len(namespaces | {os.stat("/proc/self/ns/net").st_ino}) == 3
    for name, container in lab.containers.items():
        assert (container.name, container.docker_name) == (name, f"cmonlab-{lab.run_id}-{name}")
        assert os.stat(f"/proc/{container.pid}/ns/net").st_ino == container.netns
        assert lab.exec(name, ["hostname"]) == (0, f"{name}\n")
    code, output = lab.exec("c1", ["ping", "-c", "3", lab.address("c0")])
    assert code == 0 and "3 packets received" in output


def test_exec_returns_code_and_output_and_sets_the_user(lab):
    assert lab.exec("c0", ["sh", "-c", "echo out; echo err >&2; exit 7"]) == (7, "out\n")
    assert lab.exec("c0", ["id", "-un"], user="nobody") == (0, "nobody\n")
    assert lab.exec("c0", ["id", "-u"]) == (0, "0\n")
    assert lab.exec("c0", ["no-such-program"])[0] != 0
    with pytest.raises(UnknownName, match="did you mean 'c1'"):
        lab.exec("c11", ["true"])


def test_processes_run_in_the_background_and_stop(lab):
    process = lab.start("c0", ["sh", "-c", "echo begun; sleep 600"])
    assert wait_for(lambda: "begun" in process.stdout)
    assert process.running and process.exit_code is None and process.wait(0.05) is None
    process.stop()
    process.stop()
    assert not process.running and process.exit_code not in (None, 0)
    stubborn = lab.start("c0", ["sh", "-c", "trap '' TERM; echo begun; while :; do sleep 1; done"])
    assert wait_for(lambda: "begun" in stubborn.stdout)
    stubborn.stop(timeout_s=0.3)
    # Its child still holds the output open for up to a second.
    assert stubborn.exit_code == 128 + signal.SIGKILL


def test_second_process_of_a_service_replaces_the_first(lab):
    first = lab.start("c1", ["sleep", "600"], service="s")
    second = lab.start("c1", ["sleep", "600"], service="s")
    assert not first.running and second.running
    second.stop()


def test_description_is_json_and_lists_containers_and_networks(lab):
    described = json.loads(json.dumps(lab.describe()))
    assert described["run_id"] == lab.run_id
    assert described["engine"]["version"] and "containerd" in described["engine"]["components"]
    assert set(recipe.read_recipe().packages) <= set(described["image"]["packages"])
    assert [container["name"] for container in described["containers"]] == ["c0", "c1"]
    (network,) = described["networks"]
    assert network["name"] == "net0" and len(network["subnets"]) == 1
    assert os.path.exists(f"/sys/class/net/{network['bridge']}/bridge")


def test_image_is_built_once(client, lab):
    messages = []
    again = image.ensure_image(client, messages.append)
    assert (again, messages) == (lab.image, [])
    assert again.packages == recipe.owners(
        [*recipe.read_recipe().programs, *recipe.libraries(recipe.read_recipe().programs)]
    )


def test_close_removes_everything_and_is_idempotent(left):
    lab = bridge(2).deploy()
    run_id, pid = lab.run_id, lab.containers["c0"].pid
    assert len(left(run_id)) == 3
    lab.close()
    lab.close()
    assert left(run_id) == [] and not os.path.exists(f"/proc/{pid}")


def test_failed_deployment_leaves_nothing(client, monkeypatch):
    made = []
    monkeypatch.setattr("cmonlab.lab.topology.maker.inspect", lambda name, *_: made.append(name) or 1 / 0)
    before = client.api.networks(), client.api.containers(all=True)
    with pytest.raises(ZeroDivisionError):
        Lab(bridge(3))
    assert made
    assert len(before[0]) == len(client.api.networks()) and len(before[1]) == len(client.api.containers(all=True))


def test_unknown_image_is_an_error_that_names_it(client):
    with pytest.raises(DockerError, match="no image 'cmonlab/none:1'"):
        bridge(2, image="cmonlab/none:1").deploy()


def test_container_may_be_on_two_networks_or_on_none():
    topology = Topology(
        "custom", (Container("a", ("n", "m")), Container("b", ("m",)), Container("c")), (Network("n"), Network("m"))
    )
    with topology.deploy() as lab:
        assert len(lab.containers["a"].addresses) == 2
        assert lab.exec("b", ["ping", "-c", "1", lab.containers["a"].addresses[1]])[0] == 0
        with pytest.raises(DockerError, match="no address"):
            lab.address("c")


@pytest.mark.parametrize("at", ["progress deploying", "run"])
@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.1, 0.4])
def test_ctrl_c_leaves_nothing(child, client, at, after_s):
    before = len(client.api.networks())
    process = child(HOLD.format(count=4))
    process.read(at)
    # The interrupt comes at various moments, so this waits for nothing in particular.
    time.sleep(after_s)
    process.signal(signal.SIGINT)
    code, output = process.wait()
    assert code != 0 and "KeyboardInterrupt" in output
    assert len(client.api.networks()) == before


def test_clean_removes_only_what_a_killed_process_left(child, client, lab, left):
    live, killed = child(HOLD.format(count=2)), child(HOLD.format(count=2))
    live_run, killed_run = live.read("run"), killed.read("run")
    killed.signal(signal.SIGKILL)
    killed.wait()
    assert len(left(killed_run)) == 3
    removed = clean_host()
    assert set(removed) == {
        f"container cmonlab-{killed_run}-c0",
        f"container cmonlab-{killed_run}-c1",
        f"network cmonlab-{killed_run}-net0",
    }
    assert left(killed_run) == [] and len(left(live_run)) == len(left(lab.run_id)) == 3
    assert clean(client) == []


def test_inventory_names_new_containers_and_keeps_ended_ones(client, lab):
    api = client.api
    with Inventory.of(lab) as inventory:
        host = api.create_host_config(network_mode=f"cmonlab-{lab.run_id}-net0")
        # Without labels of a run: as if a user had started it.
        late = api.create_container(lab.image.tag, ["sleep", "600"], name=f"late-{lab.run_id}", host_config=host)["Id"]
        try:
            api.start(late)
            data = api.inspect_container(late)
            netns = os.stat(f"/proc/{data['State']['Pid']}/ns/net").st_ino
            assert wait_for(lambda: any(row["netns"] == netns for row in inventory.links()))
        finally:
            api.remove_container(late, force=True)
        rows = inventory.links()
        # Others may use the engine at the same time, so something else may be missed.
        assert f"late-{lab.run_id}" not in inventory.missed and inventory.error == ""
    assert rows == inventory.links()
    assert all(list(row) == schema.columns("links") for row in rows)
    eth0 = {row["namespace"]: row for row in rows if row["name"] == "eth0" and row["kind"] == "veth"}
    assert {"c0", "c1", f"late-{lab.run_id}"} <= set(eth0)
    address = data["NetworkSettings"]["Networks"][f"cmonlab-{lab.run_id}-net0"]["IPAddress"]
    assert eth0[f"late-{lab.run_id}"]["addresses"] == [address]
    bridge_index = next(row["ifindex"] for row in rows if row["kind"] == "bridge" and row["name"].startswith("br-"))
    ports = {row["peer"]: row for row in rows if row["namespace"] == "host" and row["master"]}
    for name in ("c0", "c1"):
        port = ports[eth0[name]["ifindex"]]
        assert (port["ifindex"], port["master"]) == (eth0[name]["peer"], bridge_index)


def test_links_leaves_the_process_in_its_namespace_without_children(lab):
    def threads():
        found = set()
        for task in os.listdir("/proc/self/task"):
            with contextlib.suppress(FileNotFoundError):
                found.add(os.stat(f"/proc/self/task/{task}/ns/net").st_ino)
        return found

    def children():
        return subprocess.run(["ps", "-o", "pid=", "--ppid", str(os.getpid())], capture_output=True, text=True).stdout

    ours, before = os.stat("/proc/self/ns/net").st_ino, len(children().splitlines())
    rows = links({container.name: container.pid for container in lab.containers.values()})
    assert {row["namespace"] for row in rows} == {"c0", "c1"}
    # The kernel ends a thread a little after Python has joined it.
    assert wait_for(lambda: threads() == {ours} and len(children().splitlines()) == before)
