"""Containers that start and end as fast as the engine allows: none is missed or misnamed, and nothing leaks.

A container's start costs about half a second of CPU, so 60 of them are tried; ``CMONLAB_FULL=1`` tries 300.
"""

import gc
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cmonlab.lab.inventory.inventory import Inventory

from .conftest import wait_for

pytestmark = pytest.mark.docker

MANY = 300 if os.environ.get("CMONLAB_FULL") == "1" else 60
# A container prints when it began, its namespace and its interface; the ping makes a packet.
TELL = "cat /proc/uptime; ping -c 1 {gateway} >/dev/null; ls -l /proc/self/ns/net; cat /sys/class/net/eth0/ifindex"


class Churn:
    """Starts containers from several threads and reads what each prints about itself."""

    def __init__(self, client, lab):
        self.api, self.image, self.run_id = client.api, lab.image.tag, lab.run_id
        self.network = f"cmonlab-{lab.run_id}-net0"
        one = self.api.inspect_container(lab.containers["c0"].id)
        self.labels = {key: value for key, value in one["Config"]["Labels"].items() if key.startswith("cmonlab")}
        self.gateway = one["NetworkSettings"]["Networks"][self.network]["Gateway"]

    def one(self, number: int) -> dict:
        """Run one container: every other one ends by itself."""
        commands = TELL.format(gateway=self.gateway)
        command = ["sh", "-c", f"{commands}; echo done" + ("; exec sleep 600" if number % 2 else "")]
        name = f"cmonlab-{self.run_id}-churn-{time.monotonic_ns():x}"
        host = self.api.create_host_config(network_mode=self.network)
        made = self.api.create_container(self.image, command, name=name, labels=self.labels, host_config=host)["Id"]
        try:
            self.api.start(made)
            output, stream = b"", self.api.logs(made, stream=True, follow=True)
            for part in stream:
                output += part
                if b"done" in output:
                    break
            stream.close()
            # A followed log may end before the last line of a program that has ended.
            output = self.api.logs(made)
        finally:
            self.api.remove_container(made, force=True)
        uptime, link, ifindex, _ = output.decode().splitlines()
        netns = int(link.rpartition("[")[2].rstrip("]"))
        return {"id": made, "name": name, "began_s": float(uptime.split()[0]), "netns": netns, "ifindex": int(ifindex)}

    def run(self, count: int) -> list[dict]:
        """Run some containers, six at a time."""
        with ThreadPoolExecutor(6) as pool:
            return list(pool.map(self.one, range(count)))


@pytest.fixture
def churn(client, lab):
    return Churn(client, lab)


def files() -> int:
    """Count our open files of namespaces and netlink; other files are connections to the engine."""
    return sum(map(_ours, os.listdir("/proc/self/fd")))


def _ours(name: str) -> bool:
    try:
        if os.readlink(f"/proc/self/fd/{name}").startswith(("net:", "anon_inode")):
            return True
        with socket.socket(fileno=os.dup(int(name))) as found:
            return found.family == socket.AF_NETLINK
    except OSError:  # no socket, or closed meanwhile
        return False


def resident_bytes() -> int:
    gc.collect()
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_every_container_has_its_name_and_namespace(client, lab, churn):
    churn.run(6)  # connections and caches exist from now on
    addresses: dict[str, tuple[float, tuple[str, ...]]] = {}

    def on_change(changed):
        for container in changed:
            if container.addresses:
                addresses.setdefault(container.id, (time.clock_gettime(time.CLOCK_BOOTTIME), container.addresses))

    before, threads, resident = files(), threading.active_count(), resident_bytes()
    with Inventory.of(lab) as inventory:
        inventory.on_change(on_change)
        ran = churn.run(MANY)
        assert wait_for(lambda: not any(one.running for one in inventory.containers() if "churn" in one.name))
        rows, known = inventory.links(), {container.id: container for container in inventory.containers()}
        assert not [name for name in inventory.missed if churn.run_id in name] and inventory.error == ""
        # One file descriptor per namespace (host, two of the lab, others if someone uses the engine), two to wait.
        assert MANY + 5 <= files() - before < MANY + 20 and threading.active_count() == threads + 3
    assert len(ran) == MANY == len({one["netns"] for one in ran}), "an inode number was used twice"
    names = {row["netns"]: row["namespace"] for row in rows}
    links = {(row["netns"], row["ifindex"]): row for row in rows}
    for one in ran:
        link, container = links[one["netns"], one["ifindex"]], known[one["id"]]
        assert names[one["netns"]] == container.name == one["name"] and container.netns == one["netns"]
        assert link["name"] == "eth0" and 0 < link["from_ns"] < link["to_ns"]
        # Known before the program began, to the 10 ms of its clock.
        when_s, own = addresses[one["id"]]
        assert when_s <= one["began_s"] + 0.01 and set(own) <= set(link["addresses"])
        assert link["from_ns"] / 1e9 <= one["began_s"] + 0.01
        assert (container.networks, container.image) == ((churn.network,), churn.image)
    # The ends in the host's namespace are listed with their bridge.
    ends = {row["peer"] for row in rows if row["namespace"] == "host" and row["kind"] == "veth" and row["master"]}
    assert {one["ifindex"] for one in ran} <= ends
    assert (files(), threading.active_count()) == (before, threads)
    assert resident_bytes() - resident < (20 << 20) + MANY * (100 << 10)


def test_release_gone_forgets_ended_containers(client, lab, churn):
    with Inventory.of(lab) as inventory:
        for _ in range(3):
            ran = churn.run(8)
            ids = {one["id"] for one in ran}
            assert wait_for(lambda ids=ids: {one.id for one in inventory.containers() if not one.running} >= ids)
            cut_ns = time.monotonic_ns()
            assert {one["netns"] for one in ran} <= {row["netns"] for row in inventory.links()}
            inventory.release_gone(before_ns=1)
            assert ids <= {one.id for one in inventory.containers()}
            inventory.release_gone(cut_ns)
            assert not ids & {one.id for one in inventory.containers()}
            rows = inventory.links()
            # Other namespaces may get these inode numbers now; only existing interfaces are listed.
            assert not [row for row in rows if row["to_ns"] and row["to_ns"] < cut_ns]
            assert not [row for row in rows if "churn" in row["namespace"]]
        assert {"c0", "c1", "host"} <= {row["namespace"] for row in rows} and inventory.error == ""
