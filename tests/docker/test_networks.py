"""Networks beyond the bridge: deployed, recorded, and gone again whatever happens."""

import os
import re
import signal
import socket
from itertools import product
from pathlib import Path

import pytest

import cmonlab as cm
from cmonlab.errors import DockerError, WorkloadError
from cmonlab.lab.topology import Container, Network, Topology, overlay
from cmonlab.lab.topology.deploy import Lab, clean_host
from cmonlab.lab.topology.templates.registry import template

pytestmark = pytest.mark.docker

#: Template → the path from c1 to c0.
PATHS = {
    "host": "host:lo",
    "macvlan": r"c1:eth0 → host:cmon\w+",
    "vxlan": "c1:eth0 → h1:veth1 → br0 → h1:vxlan0 → h1:up0 → h0:up1 → h0:vxlan0 → br0 → h0:veth0 → c0:eth0",
}
#: Not everybody's, as rules match whatever else goes on on this host.
PORT = 20_000 + os.getpid() % 10_000
#: Rates at which no event is lost. Only iperf3's UDP and sockperf let us choose the address to send from.
WORKLOADS = {
    "iperf-udp": cm.Iperf(protocol="udp", bitrate_bps=5_000_000, length_bytes=1000, port=PORT),
    "iperf-tcp": cm.Iperf(protocol="tcp", bitrate_bps=50_000_000, port=PORT),
    "memcached": cm.Memcached(connections=1, port=PORT),
}
ATTEMPTS = 4
HOLD = """
from cmonlab.lab.topology.templates import template
with template({name!r}).deploy(notify=lambda text: print("progress", text)) as lab:
    print("run", lab.run_id)
    input()
"""


@pytest.fixture(scope="module", params=PATHS)
def deployed(request, client):
    with template(request.param).deploy() as lab:
        yield request.param, lab


def problems(name, load, session):
    """Say what is wrong with a session."""
    journeys = session.journeys()
    whole = journeys[~journeys["outcome"].isin(["split", "dropped"])]  # iperf3 closes sockets that hold data
    data = journeys[(journeys["direction"] == "c1 → c0") & (journeys["payload_bytes"] == 1000)]
    paths = whole[whole["complete"] & (whole["direction"] == "c1 → c0")]["path"].value_counts()
    shares = session.breakdown().groupby("direction", observed=True)["share"].sum()
    sent = session.manifest["workload"]["metrics"].get("datagrams")
    wrong = {
        "inventory": session.manifest["inventory"]["error"],
        "directions": set(journeys["direction"]) != {"c1 → c0", "c0 → c1"},
        "journeys": len(journeys) < 50,
        "complete": not whole["complete"].mean() > 0.999,
        "unfinished": journeys["outcome"].eq("unfinished").any(),
        "path": not re.fullmatch(PATHS[name], paths.index[0]) or paths.iloc[0] < paths.sum(),
        "breakdown": shares.tolist() != pytest.approx([1.0, 1.0]),
        "count": load == "iperf-udp" and data["gso_segs"].clip(lower=1).sum() != sent,
    }
    return [f"{what}: {found}" for what, found in wrong.items() if found]


@pytest.mark.parametrize(
    "deployed, load",
    [*product(PATHS, ["iperf-udp", "iperf-tcp"]), ("vxlan", "memcached")],
    indirect=["deployed"],
    scope="module",
)
def test_journeys_are_complete_and_add_up(deployed, load):
    name, lab = deployed
    for _ in range(ATTEMPTS):
        session = cm.record(lab, WORKLOADS[load], duration_s=1)
        wrong = problems(name, load, session)
        if not wrong or not (session.trace_gap_ns or session.lost_events):
            break
    assert not wrong, (session, session.journeys()[["direction", "path", "outcome"]].value_counts())


def test_unconnected_datagrams_have_container_names_on_loopback():
    with template("host").deploy() as lab:
        journeys = cm.record(lab, cm.Sockperf(protocol="udp", port=PORT), duration_s=1).journeys()
    assert set(journeys["direction"]) == {"c1 → c0", "c0 → c1"}


def test_aggregates_have_both_ends(deployed):
    _, lab = deployed
    load = WORKLOADS["iperf-udp"]
    rule = cm.Rule(name="all", match=load.default_rule, mode="aggregate")
    pairs = cm.record(lab, load, rule, duration_s=1).pairs()
    data = pairs[pairs["direction"] == "c1 → c0"]
    assert data["packets_sent"].sum() > 500
    assert data["packets_sent"].sum() == pytest.approx(data["packets_arrived"].sum(), rel=0.02)
    assert (data["one_way_delay_p50_ns"] > 0).all()


def test_containers_resolve_names_and_the_manifest_has_the_networks(deployed):
    name, lab = deployed
    assert lab.exec("c1", ["ping", "-c", "1", "c0"])[0] == 0
    (network,) = lab.describe()["networks"]
    assert network["driver"] == name and len(network["subnets"]) == 1
    topology = lab.topology.describe()
    assert template(topology["template"], **topology["parameters"]) == lab.topology
    assert [host["name"] for host in lab.describe()["hosts"]] == topology["hosts"]


def test_two_labs_at_once_have_different_addresses(deployed):
    name, lab = deployed
    with template(name).deploy() as other:
        mine, others = ({one.address(c) for c in ("c0", "c1")} for one in (lab, other))
        assert not mine & others
        cm.Memcached().prepare(lab)
        cm.Memcached().prepare(other)  # the same port, in the host's namespace too
        assert other.exec("c1", ["ping", "-c", "1", other.address("c0")])[0] == 0
    assert lab.exec("c1", ["ping", "-c", "1", lab.address("c0")])[0] == 0


def interfaces(pid):
    """Names of the interfaces that a process made in the host's namespace."""
    aliases = {path.parent.name: path.read_text() for path in Path("/sys/class/net").glob("cmon*/ifalias")}
    return {name for name, alias in aliases.items() if f"cmonlab.owner={pid}/" in alias}


def made_by(client, pid):
    """Names of everything that a process made."""
    api = client.api
    found = [(one["Names"][0], one["Labels"]) for one in api.containers(all=True)]
    found += [(one["Name"], one["Labels"] or {}) for one in api.networks()]
    own = {name for name, labels in found if labels.get("cmonlab.owner", "").startswith(f"{pid}/")}
    return own | interfaces(pid)


@pytest.mark.parametrize("name", PATHS)
def test_clean_removes_what_a_killed_process_left(child, client, left, name):
    killed = child(HOLD.format(name=name))
    run = killed.read("run")
    killed.signal(signal.SIGKILL)
    killed.wait()
    made = {f"container cmonlab-{run}-{one}" for one in ("c0", "c1", *template(name).hosts)}
    if name == "macvlan":
        made |= {f"network cmonlab-{run}-net0", f"interface cmon{run}0"}
        assert interfaces(killed.pid) == {f"cmon{run}0", f"cmon{run}0x"}
    assert made <= set(clean_host())
    assert left(run) == [] and made_by(client, killed.pid) == set()


@pytest.mark.parametrize("name", PATHS)
def test_ctrl_c_leaves_nothing(child, client, name):
    process = child(HOLD.format(name=name))
    process.read("progress deploying")
    process.signal(signal.SIGINT)
    code, output = process.wait()
    assert code != 0 and "KeyboardInterrupt" in output
    assert made_by(client, process.pid) == set()


@pytest.mark.parametrize(
    "name, place",
    [
        ("vxlan", "cmonlab.lab.topology.overlay.wire"),
        ("macvlan", "cmonlab.lab.topology.maker.inspect"),
        ("host", "cmonlab.lab.topology.deploy.bind_connections"),
    ],
)
def test_failed_deployment_leaves_nothing(client, monkeypatch, name, place):
    made = []
    monkeypatch.setattr(place, lambda *_: made.append(1) or 1 / 0)

    before = made_by(client, os.getpid())
    with pytest.raises(ZeroDivisionError):
        Lab(template(name))
    assert made and made_by(client, os.getpid()) == before


def test_restarted_container_without_its_interfaces_is_refused(client):
    with template("vxlan").deploy() as lab:
        client.api.restart(lab.containers["c1"].id, timeout=1)
        with pytest.raises(DockerError, match="c1 has lost its interfaces"):
            lab.exec("c1", ["true"])
        assert lab.exec("c0", ["true"]) == (0, "")
        client.api.restart(lab.hosts["h1"].id, timeout=1)
        with pytest.raises(DockerError, match="h1 has lost its interfaces"):
            lab.address("c0")


def test_port_that_is_taken_on_all_addresses_is_refused():
    with template("host").deploy() as lab, socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(WorkloadError, match=f"listens on port {port} already"):
            cm.Sockperf(server="c1", client="c0", port=port).prepare(lab)


def test_custom_topology_joins_several_networks():
    """Two overlays that share a host, a bridge and a container of the host in one topology."""
    topology = Topology(
        "custom",
        (
            Container("a", ("v", "w"), "x"),
            Container("b", ("v",), "y"),
            Container("c", ("w",), "z"),
            Container("d", ("net",)),
            Container("e", ("net", "mac")),
            Container("f", ("mac",)),
            Container("g", ("top",)),
        ),
        (
            Network("v", "vxlan"),
            Network("w", "vxlan"),
            Network("net"),
            Network("mac", "macvlan"),
            Network("top", "host"),
        ),
    )
    with topology.deploy() as lab:
        assert len(lab.containers["a"].addresses) == 2
        for source, target in (("b", "a"), ("d", "e")):
            assert lab.exec(source, ["ping", "-c", "1", "-s", str(overlay.MTU_BYTES - 28), target])[0] == 0
        assert lab.exec("c", ["ping", "-c", "1", lab.containers["a"].addresses[1]])[0] == 0
        assert lab.exec("f", ["ping", "-c", "1", lab.containers["e"].addresses[1]])[0] == 0
        assert lab.exec("b", ["ping", "-c", "1", "-W", "1", lab.address("c")])[0] != 0
        assert [network["driver"] for network in lab.describe()["networks"]] == [n.driver for n in topology.networks]
