import numpy as np
import pandas as pd
import pytest

from cmonlab import schema
from cmonlab.data.analysis.names import Names, protocol
from tests.support.events import A0, A1, C0, C1, HOST, QUEUE, READ, manifest

RAW = bytes.fromhex("fd770000000000000000000000000010")


@pytest.fixture
def names():
    links = pd.DataFrame(manifest()["links"], columns=schema.columns("links"))
    links.at[0, "addresses"] = ["10.77.0.10", "fd77::10"]
    return Names(links, {4711: RAW}, {QUEUE: "queue", READ: "deliver"})


def test_hops_and_places_have_names(names):
    assert names.hop(C1, 2, QUEUE) == "c1:eth0 queue"
    assert names.hop(C0, 0, READ) == "c0 deliver"
    assert names.place(HOST, 3) == "host:veth0"
    assert names.place(HOST, 99) == "host:if99"
    assert names.hop(7, 5, 200) == "ns-7:if5 200"
    assert names.place(0, 0) == "unknown"


def test_ports_know_their_bridge(names):
    assert names.bridge(HOST, 3) == names.bridge(HOST, 4) == 2
    assert names.bridge(C0, 2) == names.bridge(1, 1) == 0


def test_endpoints_are_namespaces_or_addresses(names):
    assert names.endpoint(A0, False) == "c0"
    assert names.endpoint(A1, False) == "c1"
    assert names.endpoint(0x08080808, False) == "8.8.8.8"
    assert names.endpoint(4711, True) == "c0"
    assert names.endpoint(5, True) == "ipv6-00000005"
    assert names.endpoint(4711, False) == "103.18.0.0"


def test_addresses_have_their_owners(names):
    assert set(names.local.tolist()) == {C0 << 32 | A0, C1 << 32 | A1, C0 << 32 | 4711, HOST << 32 | 0x01004D0A}


def test_loopback_addresses_have_no_owner(names):
    names.links.at[1, "addresses"] = ["127.0.0.1", "10.77.0.11"]
    assert names.endpoint(0x0100007F, False) == "127.0.0.1"


def test_an_address_belongs_to_its_owner_at_the_time(names):
    other = names.links.loc[0].to_dict() | {"netns": 77, "namespace": "c9", "from_ns": 500}
    names.links.loc[len(names.links)] = other
    ts_ns, six = np.array([0, 499, 500, 900, 900]), np.zeros(5, np.uint8)
    assert list(names.endpoints(np.array([A0, A0, A0, A0, A1]), six, ts_ns)) == ["c0", "c0", "c9", "c9", "c1"]
    later = names.endpoints(np.array([4711, 4711, 5]), np.ones(3, bool), np.array([1, 501, 501]))
    assert list(later) == ["c0", "c9", "ipv6-00000005"]
    assert list(names.endpoints(np.array([0x08080808]), six[:1], ts_ns[:1])) == ["8.8.8.8"]


def test_protocols_have_names_or_numbers():
    assert [protocol(number) for number in (1, 6, 17, 58, 200)] == ["icmp", "tcp", "udp", "icmpv6", "200"]


def test_a_macvlans_address_also_belongs_to_the_namespace_below():
    links = pd.DataFrame(manifest()["links"], columns=schema.columns("links"))
    on_host = links["name"] == "eth0"
    links["kind"] = np.where(on_host, "macvlan", links["kind"])
    links = links.assign(lower=np.where(on_host, 4, 0), link_netns=np.where(links["netns"] == C0, HOST, 0))
    names = Names(links, {}, {})
    assert names.macvlans == {HOST << 32 | A0: C0, HOST << 32 | A1: C1}  # an unknown namespace is the host's
    assert {HOST << 32 | A0, HOST << 32 | A1, C0 << 32 | A0, C1 << 32 | A1} <= set(names.local.tolist())


def test_a_shared_namespace_has_the_name_of_its_first_row(names):
    own = names.links.loc[2].to_dict() | {"namespace": "c7", "addresses": ["127.66.0.2"]}
    names.links.loc[len(names.links)] = own
    assert names.namespace(HOST) == "host" and names.place(HOST, 2) == "host:br0"
    assert names.endpoint(0x0200427F, False) == "c7"
