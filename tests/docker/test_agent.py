"""An agent on a host full of containers that come and go.

Twelve containers; with ``CMONLAB_FULL=1``, two hundred.
"""

import os
import time
from contextlib import closing

import pandas as pd
import pytest

import cmonlab as cm
from cmonlab.lab.topology.templates.networks import bridge

COUNT = 200 if os.environ.get("CMONLAB_FULL") else 12
RULES = """\
rules:
- name: everyone
  match: ""
  mode: aggregate
- name: late
  match: {packets: icmp, containers: {name: "late-*"}, direction: out}
  points: path
"""


@pytest.fixture(scope="module")
def crowd(client):
    with bridge(COUNT).deploy() as lab:
        yield lab


@pytest.fixture
def agent(crowd, tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES)
    with cm.agent.start(crowd) as agent:
        began = time.monotonic()
        agent.apply(cm.load_rules(tmp_path / "rules.yaml"))
        print(f"apply took {time.monotonic() - began:.2f} s with {COUNT} containers")
        yield agent


def newcomer(crowd, name):
    """Start a container that pings c1 and goes."""
    network = f"cmonlab-{crowd.run_id}-net0"
    host = crowd.client.api.create_host_config(network_mode=network)
    ping = ["ping", "-c", "5", "-i", "0.2", crowd.address("c1")]
    made = crowd.client.api.create_container(crowd.image.tag, ping, name=name, host_config=host)["Id"]
    crowd.client.api.start(made)
    return made


def gather(agent, crowd, want, seconds=60):
    """Return the pairs of as many windows as it takes to see all wanted sources."""
    tables, deadline = [], time.monotonic() + seconds
    with closing(agent.windows()) as windows:
        late = [newcomer(crowd, name) for name in want]
        while time.monotonic() < deadline:
            window = windows.get(10)
            assert window is not None, "no window for 10 s"
            tables.append(window.pairs())
            if len(tables) > 3 and set(want) <= set(pd.concat(tables)["src"]):
                break
    for container in late:
        crowd.client.api.remove_container(container, force=True)
    return pd.concat(tables, ignore_index=True)


def test_pairs_follow_a_changing_set_of_containers(crowd, agent):
    names = list(crowd.containers)
    pairs = list(zip(names[::2], names[1::2], strict=True))
    pings = [crowd.start(a, ["ping", "-i", "0.2", "-q", crowd.address(b)]) for a, b in pairs]
    server = crowd.start(names[1], ["iperf3", "-s", "-1"])
    iperf = crowd.start(names[0], ["iperf3", "-c", crowd.address(names[1]), "-b", "20M", "-t", "20"])
    want = [f"late-{crowd.run_id}-{n}" for n in range(3)]
    table = gather(agent, crowd, want)
    for process in (*pings, iperf, server):
        process.stop()
    # Everybody who pings is there, newcomers too, by name and never under another's.
    for a, b in pairs:
        row = table[(table["src"] == a) & (table["dst"] == b)]
        assert row["packets_sent"].sum() > 0, (a, b)
        assert (row["one_way_delay_p50_ns"].dropna() > 0).all() and row["one_way_delay_p50_ns"].notna().any()
        assert row["lost_total"].fillna(0).iloc[-1] <= 1  # of a window's end: it may be on its way
    for name in want:
        row = table[table["src"] == name]
        assert 0 < row["packets_sent"].sum() <= 5 + 2  # its pings, and little else
        assert set(row.loc[row["packets_sent"] > 0, "dst"]) <= {"c1"}
    known = {*names, *want, "host"}
    between = table[table["src"].isin(known) & table["dst"].isin(known)]
    assert {"c0", "c1"} <= set(between["src"])
    stream = table[(table["src"] == names[0]) & (table["dst"] == names[1])]
    assert stream["throughput_bps"].max() > 10e6
    assert (stream["srtt_p50_ns"].dropna() > 0).any()
    status = agent.status()
    assert status["balanced"] and status["lost_events"] == 0
    print({key: status[key] for key in ("resident_bytes", "cpu_s", "seconds", "containers")})


def test_selector_matches_containers_that_start_later(crowd, agent):
    """The first packet of a container that did not exist when the rule was applied is taken, and no other's is."""
    name = f"late-{crowd.run_id}-select"
    made = []

    def come(_phrase, _fraction):
        if not made:
            made.append(newcomer(crowd, name))
            made.append(newcomer(crowd, f"other-{crowd.run_id}"))
            crowd.client.api.wait(made[0])
            crowd.client.api.wait(made[1])

    session = agent.record(1, come)
    for container in made:
        crowd.client.api.remove_container(container, force=True)
    slot = session.rules().set_index("name").loc["late", "slot"]
    journeys = session.journeys()
    mine = journeys[journeys["rules"].to_numpy() >> slot & 1 == 1]
    assert set(mine["src"]) == {name}
    assert len(mine) == 5 or session.trace_gap_ns
    ledger = session.ledger()
    assert (ledger["seen"] == ledger.drop(columns=["point", "seen"]).sum(axis=1)).all()
    assert ledger["recorded"].sum() == len(session)
