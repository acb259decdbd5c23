"""The agent: clients change its rules, and get complete recordings and windows."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from cmonlab.errors import RuleError, TransportError, UnknownName
from cmonlab.live import agent as agents
from cmonlab.live.agent import protocol
from cmonlab.live.agent.agent import MOST_TRACE_GAPS
from cmonlab.live.agent.client import Client
from cmonlab.live.agent.service import Service
from cmonlab.live.transport import LocalTransport, NatsServer, connect
from cmonlab.live.transport.subject import MAX_BYTES
from cmonlab.rules import Rule
from cmonlab.study.testbed import traffic
from cmonlab.study.testbed.traffic import ADDRESS, COUNT, exchange_udp, free_port

CLI = [sys.executable, "-m", "cmonlab"]


@contextmanager
def local():
    transport = LocalTransport()
    service = Service(transport)
    with Client(transport, close=service.close) as client:
        yield client, service


@contextmanager
def over_nats():
    with (
        NatsServer() as server,
        connect(server.url, server.token) as ours,
        Service(ours) as service,
        agents.connect(url=server.url, token=server.token) as client,
    ):
        yield client, service


@pytest.fixture(params=[local, over_nats], ids=["local", "nats"])
def agent(request):
    with request.param() as pair:
        yield pair


def wait_until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_recording_is_complete(lab, agent):
    client, _service = agent
    port = free_port()
    client.apply(
        [Rule(name="each", match=f"udp port {port}"), Rule(name="sum", match=f"udp port {port}", mode="aggregate")]
    )
    table = client.rules()
    assert table["name"].tolist() == ["each", "sum"]
    exchanges = []

    def exchange(_phrase, _fraction):
        if not exchanges:  # the recording has begun
            exchanges.append(exchange_udp(lab, port, 64))

    session = client.record(1.5, exchange)
    traffic.trace_gap_ns.append(session.trace_gap_ns)
    ledger = session.ledger().set_index("point")
    assert (ledger["seen"] == ledger.drop(columns="seen").sum(axis=1)).all()
    assert ledger["lost"].sum() == 0
    assert ledger["recorded"].sum() == len(session)
    # At each hop, the aggregate counts exactly the packets that the capture records.
    cells = session.cells
    for name in ("net_dev_queue", "netif_rx", "netif_receive_skb"):
        point = next(p["id"] for p in session.manifest["points"] if p["name"] == name)
        mine = (cells["point"] == point) & (cells["kind"] != 2)
        assert cells["packets"][mine].sum() == ledger.loc[name, "recorded"] == 2 * COUNT
    assert set(session.events["epoch"]) <= set(range(2, 4))
    inside = session.manifest["recording"]
    assert (session.trace_gaps()["end_ns"] >= inside["started_ns"] - 5e9).all()  # no earlier trace gaps
    status = client.status()
    assert status["dropped_cells"] == 0
    assert status["balanced"] and status["lost_events"] == 0


def test_a_recording_contains_only_recent_trace_gaps(lab, agent):
    """A busy machine has hundreds of trace gaps per second, so an agent may know very many."""
    client, service = agent
    port = free_port()
    client.apply(Rule(name="sum", match=f"udp port {port}", mode="aggregate"))
    now_ns = time.monotonic_ns()
    begins = [now_ns - 10**9 + 10_000 * n for n in range(MOST_TRACE_GAPS)]
    service.agent.tracer.recording.trace_gaps[:0] = [(0, begin, begin + 1000) for begin in begins]
    with client.windows() as windows:
        exchange_udp(lab, port, 64)
        assert windows.get(10) is not None
    session = client.record(0.3)
    assert (session.trace_gaps()["start_ns"] > begins[-1]).all()
    entries = service.agent.manifest(begin_ns=0, end_ns=1 << 62)
    assert len(entries["blind"]) >= MOST_TRACE_GAPS and len(protocol.pack(entries)) < MAX_BYTES


def test_windows_show_pairs_every_second(lab, agent):
    client, service = agent
    service.agent.inventory.links = lab.links  # the inventory does not name namespaces without a container
    port = free_port()
    client.apply(Rule(name="sum", match=f"udp port {port}", mode="aggregate", by="flow"))
    sent = 0
    with client.windows() as windows:
        exchange_udp(lab, port, 64)
        while sent < COUNT:
            window = windows.get(10)
            assert window is not None
            flows = window.flows()
            sent += int(flows["packets_sent"].sum())
            assert set(flows["dport"]) <= {port}
            assert not window.segments().empty
    assert sent == COUNT
    tallies = service.agent.tracer.tallies()
    assert next(row for row in tallies if row["point"] == "net_dev_queue")["packets"] == 2 * COUNT


def test_rules_are_added_changed_and_removed_and_expire(agent):
    client, _service = agent
    first = client.apply([Rule(name="a", match="udp"), Rule(name="b", match="tcp", duration=0.6)])
    assert client.rules()["name"].tolist() == ["a", "b"]
    second = client.apply(Rule(name="a", match="udp port 9"))
    assert second == first + 1
    assert client.rules().set_index("name").loc["a", "expression"] == "udp port 9"
    wait_until(lambda: client.rules()["name"].tolist() == ["a"], seconds=5.0)
    client.apply(Rule(name="c", match="icmp"), replace=True)
    assert client.rules()["name"].tolist() == ["c"]
    client.remove("c")
    assert client.rules().empty


def test_errors_reach_the_client_and_change_no_rule(agent):
    client, _service = agent
    client.apply(Rule(name="a", match="udp"))
    with pytest.raises(UnknownName, match="active rule"):
        client.remove("b")
    with pytest.raises(RuleError):
        client._ask("apply", {"rules": [{"name": "x", "match": "tcp prot 80"}]})
    with pytest.raises(RuleError):
        client._ask("apply", {"rules": "import os"})
    with pytest.raises(TransportError):
        client._ask("apply", {})
    assert client.rules()["name"].tolist() == ["a"]


def test_a_client_without_an_agent_raises():
    with pytest.raises(TransportError, match="no agent answers"):
        Client(LocalTransport())


def run(*words, home, check=True):
    env = os.environ | {"COLUMNS": "200"}
    done = subprocess.run([*CLI, *words], capture_output=True, text=True, timeout=90, cwd=home, env=env)
    assert not check or done.returncode == 0, done.stderr
    return done


@contextmanager
def agent_process(home):
    ready = home / "ready"
    process = subprocess.Popen([*CLI, "agent", "--ready-file", str(ready)], cwd=home, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: ready.exists() or process.poll() is not None, 60)
        assert process.poll() is None, process.stderr.read()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_commands_control_an_agent_in_another_process(lab, tmp_path):
    port = free_port()
    (tmp_path / "rules.yaml").write_text(
        f"rules:\n- {{name: sum, match: udp port {port}, mode: aggregate}}\n- {{name: each, match: udp port {port}}}\n"
    )
    with agent_process(tmp_path) as process:
        assert json.loads(run("rules", "apply", "rules.yaml", "--json", home=tmp_path).stdout) == {
            "epoch": 1,
            "rules": ["sum", "each"],
        }
        listed = json.loads(run("rules", "list", "--json", home=tmp_path).stdout)
        assert [row["name"] for row in listed] == ["sum", "each"]
        second = run("agent", home=tmp_path, check=False)
        assert second.returncode == 1 and "an agent runs already" in second.stderr
        going = [True]

        def send():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                while going:
                    sock.sendto(b"12345678", (ADDRESS[4]["c0"], port))
                    time.sleep(0.002)

        sending = lab.start("c1", send)
        try:
            live = json.loads(run("live", "segments", "--seconds", "1", "--json", home=tmp_path).stdout.splitlines()[0])
            assert live[0]["n"] > 0
            run("collect", "--out", "session", "--seconds", "1", home=tmp_path)
        finally:
            going.clear()
            sending.result(timeout=10)
        shown = json.loads(run("show", "session", "--table", "ledger", "--format", "json", home=tmp_path).stdout)
        assert sum(row["recorded"] for row in shown) > 0
        assert json.loads(run("status", "--json", home=tmp_path).stdout)["balanced"]
        run("rules", "remove", "sum", "each", home=tmp_path)
        assert "no rule is active" in run("rules", "list", home=tmp_path).stdout
        wrong = run("rules", "remove", "sum", home=tmp_path, check=False)
        assert wrong.returncode == 1 and "sum" in wrong.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    gone = run("rules", "list", home=tmp_path, check=False)
    assert gone.returncode == 1 and "cmonlab agent" in gone.stderr


def test_clean_removes_what_a_killed_agent_leaves(tmp_path):
    with agent_process(tmp_path) as process:
        process.kill()
        process.wait()
    removed = json.loads(run("clean", "--json", home=tmp_path).stdout)["removed"]
    assert any("agent.json" in name for name in removed)


def test_the_shortest_requested_window_length_counts(lab, agent):
    client, service = agent
    port = free_port()
    client.apply(Rule(name="sum", match=f"udp port {port}", mode="aggregate"))
    length = service.agent.window_length
    with client.windows(0.5), client.windows(0.2) as windows:
        assert client.status()["window_s"] == length.window_s == 0.2
        lengths = []
        for _ in range(4):
            exchange_udp(lab, port, 8)
            window = windows.get(5.0)
            lengths += (np.unique(window.cells["end_ns"] - window.cells["start_ns"]) / 1e9).tolist()
        assert min(lengths) < 0.6
        exchange_udp(lab, port, 8)
        joined = windows.joined(least_s=0.3, timeout_s=0.5)
        assert joined.cells["packets"].sum() >= 8
        assert len(joined.pairs()["start_ns"].unique()) == 1
    assert length.window_s == 1.0
    cost = client.cost()
    assert cost is None or (cost["share"] > 0 and 0 < cost["packet_ns"] < 1e6)
