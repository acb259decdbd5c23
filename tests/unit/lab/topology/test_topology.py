"""Descriptions of topologies, and their templates."""

import dataclasses
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmonlab.errors import CmonlabError, UnknownName
from cmonlab.lab.topology import Container, Network, Topology, TopologyError
from cmonlab.lab.topology.templates.networks import bridge, vxlan
from cmonlab.lab.topology.templates.registry import TEMPLATES, template


@given(st.integers(2, 1000))
def test_bridge_numbers_its_containers(count):
    topology = bridge(count)
    assert topology.names == tuple(f"c{number}" for number in range(count))
    assert {container.networks for container in topology.containers} == {("net0",)}


@pytest.mark.parametrize("count", [1, 0, -1, 1001, 2.5, True, "2", None])
def test_bridge_refuses_impossible_counts(count):
    with pytest.raises(TopologyError) as caught:
        bridge(count)
    assert repr(count) in str(caught.value) or str(count) in str(caught.value)


def test_description_is_json_and_complete():
    described = json.loads(json.dumps(bridge(3, image="mine:1").describe()))
    assert described == {
        "template": "bridge",
        "parameters": {"containers": 3, "image": "mine:1"},
        "image": "mine:1",
        "hosts": [],
        "containers": [{"name": name, "networks": ["net0"], "host": ""} for name in ("c0", "c1", "c2")],
        "networks": [{"name": "net0", "driver": "bridge"}],
    }


def test_topologies_are_immutable_values():
    assert bridge(2) == template("bridge", containers=2) != bridge(3)
    assert hash(bridge(2)) == hash(bridge(2))
    with pytest.raises(dataclasses.FrozenInstanceError):
        bridge(2).template = "other"


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'bridge'"):
        template("brigde")
    with pytest.raises(UnknownName, match="did you mean 'containers'"):
        template("bridge", container=3)
    with pytest.raises(UnknownName, match="did you mean 'net0'"):
        Topology("custom", (Container("a", ("nett0",)),), (Network("net0"),))
    with pytest.raises(UnknownName, match="did you mean 'macvlan'"):
        Network("net0", "mcvlan")
    assert set(TEMPLATES) == {"bridge", "host", "macvlan", "vxlan"}


@given(st.sampled_from(sorted(TEMPLATES)), st.integers(2, 16), st.integers(16, 250), st.sampled_from([None, "mine:1"]))
def test_template_can_be_made_again_from_its_description(name, hosts, containers, image):
    params = {"containers": containers} | ({"hosts": hosts} if name == "vxlan" else {})
    topology = template(name, **params, image=image)
    described = json.loads(json.dumps(topology.describe()))
    assert template(described["template"], **described["parameters"]) == topology
    assert {network["driver"] for network in described["networks"]} == {name}


def test_containers_are_assigned_to_hosts_in_turn():
    topology = vxlan(hosts=3, containers=7)
    assert topology.hosts == ("h0", "h1", "h2")
    assert [container.host for container in topology.containers] == ["h0", "h1", "h2", "h0", "h1", "h2", "h0"]
    assert topology.on("net0") == topology.containers and topology.on("net1") == ()
    assert bridge(2).hosts == ()


@pytest.mark.parametrize("hosts, containers", [(1, 2), (17, 20), (3, 2), (2, 1001), (2.0, 2), (True, 2)])
def test_vxlan_refuses_impossible_counts(hosts, containers):
    with pytest.raises(TopologyError, match=r"choose|whole number"):
        vxlan(hosts, containers)


@pytest.mark.parametrize(
    "networks, host, why",
    [
        (("h", "b"), "", "host network and on others"),
        (("v",), "", "needs a host"),
        (("v", "b"), "h0", "all its networks must be VXLAN"),
        (("b",), "h0", "only containers on VXLAN"),
        ((), "h0", "only containers on VXLAN"),
        (("b", "b"), "", "twice"),
    ],
)
def test_networks_that_exclude_each_other_are_refused(networks, host, why):
    known = (Network("h", "host"), Network("b"), Network("v", "vxlan"))
    with pytest.raises(TopologyError, match=why):
        Topology("custom", (Container("a", networks, host),), known)


def test_host_and_container_of_the_same_name_are_refused():
    with pytest.raises(TopologyError, match="two containers are called 'h0'"):
        Topology("custom", (Container("h0", ("v",), "h0"),), (Network("v", "vxlan"),))


@pytest.mark.parametrize("name", ["", "C0", "0c", "c_0", "a" * 32, "c0\n", "../x", 7])
def test_names_must_be_host_names(name):
    for kind in (Container, Network):
        with pytest.raises(TopologyError, match="is no name"):
            kind(name)


def test_duplicate_names_and_no_containers_are_refused():
    with pytest.raises(TopologyError, match="two containers are called 'a'"):
        Topology("custom", (Container("a"), Container("a")), ())
    with pytest.raises(TopologyError, match="two networks"):
        Topology("custom", (Container("a"),), (Network("n"), Network("n")))
    with pytest.raises(TopologyError, match="at least one container"):
        Topology("custom", (), ())
    assert issubclass(TopologyError, CmonlabError)


def test_lab_modules_load_without_docker_and_pyroute2():
    code = (
        "import sys; sys.modules['docker'] = sys.modules['pyroute2'] = None; "
        "import cmonlab.lab.topology.deploy, cmonlab.lab.inventory.inventory, cmonlab.lab.workload"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
