"""The dashboard of a real lab: what it shows is what passes, and closing it leaves nothing."""

import threading
import time
from contextlib import closing

import pytest

import cmonlab as cm
from cmonlab.widgets.selection import Selection

from .conftest import wait_for


def ours():
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("cmonlab")}


@pytest.fixture
def traffic(lab):
    """A ping every 20 ms from c1 to c0."""
    ping = lab.start("c1", ["ping", "-i", "0.02", "-q", lab.address("c0")])
    yield
    ping.stop()


def test_dashboard_shows_the_traffic(lab, traffic):
    threads = ours()
    with cm.dashboard(lab, hz=5) as dashboard:
        model = dashboard.model
        assert wait_for(lambda: model.rates()["packets"] > 50, 30), model.agent_status.problems
        assert dashboard.own_rules == {"dashboard"}
        assert dashboard.client.status()["window_s"] == 0.2
        pair = Selection("pair", "c1", "c0")
        dashboard.look_at(pair)
        assert wait_for(lambda: model.series(pair)["packets_per_s"].tail(5).mean() > 20, 20)
        dashboard.mark("here")
        session = dashboard.record(2)
        assert session.manifest["marks"] == []  # it was before the recording
        assert dashboard.marks["note"].tolist() == ["here"]
        # The delay of the edges is of the size of those that the session tells.
        assert dashboard.session is session
        expected = session.pairs().query("src == 'c1' and dst == 'c0'")["one_way_delay_p50_ns"].median()
        shown = model.series(pair)["delay_p50_ns"].median()
        assert expected / 3 < shown < expected * 3
        ends = {tuple(row) for row in model.topology()[["a_kind", "b_kind"]].itertuples(index=False)}
        assert ("container", "bridge") in ends or ("bridge", "container") in ends
        edges = model.edges()
        assert {"c0", "c1"} <= {*edges["src"], *edges["dst"]}
        assert (edges["packets"] > 0).any()
        breakdown = model.recent(pair)[0]
        assert len(breakdown) > 3 and (breakdown["mean_ns"] > 0).any()
        assert dashboard.frames > 2
    assert wait_for(lambda: ours() <= threads, 10), ours() - threads


def test_cell_that_runs_twice_has_one_dashboard(lab, traffic):
    before = ours()
    first = cm.dashboard(lab)
    with closing(cm.dashboard(lab)) as second:
        assert "closed" in repr(first) and "closed" not in repr(second)
        assert wait_for(lambda: second.model.windows > 2, 30)
    assert wait_for(lambda: ours() <= before, 10)
    first.close()


def test_dashboard_of_an_agent_leaves_its_rules_unchanged(lab, traffic):
    with cm.agent.start(lab) as agent:
        agent.apply(cm.Rule(name="theirs", match="icmp", mode="aggregate"))
        with cm.dashboard(agent, rule="udp") as dashboard:
            assert dashboard.own_rules == {"dashboard"}
            dashboard.model.choose("theirs")
            assert wait_for(lambda: dashboard.model.rates()["packets"] > 50, 30)
            dashboard.apply(cm.Rule(name="theirs", match="icmp", mode="aggregate", sample="50%"))
            assert agent.status()["window_s"] == 0.25
        assert agent.status()["window_s"] == 1.0
        assert [(rule.name, rule.sample) for rule in agent.written_rules()] == [("theirs", 0.5)]


def test_agent_that_ends_is_reported_and_nothing_hangs(lab, traffic):
    agent = cm.agent.start(lab)
    agent.apply(cm.Rule(name="theirs", match="", mode="aggregate"))
    with cm.dashboard(agent) as dashboard:
        assert wait_for(lambda: dashboard.model.windows > 2, 30)
        agent.close()
        assert wait_for(lambda: dashboard.model.agent_status.problems, 10)
        began = time.monotonic()
    assert time.monotonic() - began < 10
