"""Subnets and addresses that a lab assigns."""

import ipaddress
from ipaddress import IPv4Network
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmonlab.errors import DockerError
from cmonlab.lab.topology import Container, Network, Topology, addresses, overlay, subnets
from cmonlab.lab.topology.addresses import UNDERLAY
from cmonlab.lab.topology.subnets import free_subnets
from cmonlab.lab.topology.templates.networks import host, vxlan

POOL = (IPv4Network("10.0.0.0/24"), IPv4Network("10.0.2.0/24"))


@given(st.sets(st.integers(0, 15)))
def test_free_subnets_overlap_neither_used_ones_nor_each_other(taken):
    every = [*POOL[0].subnets(new_prefix=27), *POOL[1].subnets(new_prefix=27)]
    used = [every[number] for number in taken]
    found = []
    with pytest.raises(DockerError, match="no subnet is free"):
        found.extend(free_subnets(POOL, 27, used))
    assert sorted(found) == sorted(set(every) - set(used))  # each of them once


def test_earlier_pools_are_used_first():
    found = list(islice(free_subnets(POOL, 27, []), 16))
    assert set(found[:8]) == set(POOL[0].subnets(new_prefix=27))
    wide = [IPv4Network("10.0.0.0/8")]
    assert next(free_subnets(subnets.PRIVATE, 22, wide)).subnet_of(IPv4Network("172.16.0.0/12"))


def test_every_container_and_host_has_its_own_address(monkeypatch):
    monkeypatch.setattr(addresses, "routed", lambda: [IPv4Network("10.0.0.0/8")])
    topology = vxlan(hosts=3, containers=40)
    plan = addresses.plan(topology, [])
    given_ = list(plan.addresses.values())
    assert len(set(given_)) == len(given_) == 43
    assert not any(ipaddress.ip_address(one) in IPv4Network("10.0.0.0/8") for one in given_)
    overlay_net, underlay = plan.subnets["net0"], plan.subnets[UNDERLAY]
    assert not overlay_net.overlaps(underlay)
    for (name, network), address in plan.addresses.items():
        assert ipaddress.ip_address(address) in plan.subnets[network]
        assert (network == UNDERLAY) == (name in topology.hosts)
    known = plan.known_to(topology, "c0")
    assert set(known) == set(topology.names) and known["c7"] == plan.of("c7")[0]


def test_addresses_of_other_labs_are_avoided():
    first = addresses.plan(host(2), [])
    again = [addresses.plan(host(2), first.of("c0")) for _ in range(50)]
    assert all(not plan.subnets["net0"].overlaps(first.subnets["net0"]) for plan in again)
    assert all(ipaddress.ip_address(plan.of("c1")[0]).is_loopback for plan in again)
    # Other programs use the first addresses of loopback.
    assert all(plan.subnets["net0"].subnet_of(IPv4Network("127.64.0.0/10")) for plan in again)


def test_plan_leaves_out_networks_with_addresses_of_the_engine():
    topology = Topology("custom", (Container("a", ("b", "m")), Container("n")), (Network("b"), Network("m", "macvlan")))
    assert addresses.plan(topology, []) == addresses.Plan()


def test_description_of_a_vxlan_network_has_its_vni_and_subnets(monkeypatch):
    monkeypatch.setattr(addresses, "routed", list)
    members = (Container("a", ("v", "w"), "x"), Container("b", ("w",), "y"))
    topology = Topology("custom", members, (Network("v", "vxlan"), Network("w", "vxlan")))
    plan = addresses.plan(topology, [])
    assert len(plan.of("a")) == 2 and len(plan.of("b")) == 1
    entry = overlay.describe(topology, plan, "w")
    assert (entry["vni"], entry["port"], entry["bridge"]) == (43, 4789, "br1")
    assert entry["subnets"] == [str(plan.subnets["w"])] and entry["underlay"] == str(plan.subnets[UNDERLAY])


def test_mac_addresses_are_local_and_contain_the_ip_address():
    assert overlay.mac_of("10.1.2.3") == "02:42:0a:01:02:03"
