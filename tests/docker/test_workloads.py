"""The workloads, for a second each, in real containers."""

import time

import pytest

from cmonlab.errors import WorkloadError
from cmonlab.workload import WORKLOADS, Iperf, Memcached, workload

pytestmark = pytest.mark.docker


@pytest.mark.parametrize("name", WORKLOADS)
def test_workload_reports_what_it_did(lab, name):
    load = workload(name)
    load.prepare(lab)
    seen = []
    before_ns = time.monotonic_ns()
    done = load.run(lab, 1, progress=seen.append)
    assert before_ns <= done.started_ns < done.ended_ns <= time.monotonic_ns()
    assert 0.9 <= done.metrics["load_s"] <= 2.0
    assert seen == sorted(seen) and seen[-1] <= 1
    assert done.metrics.get("ops", done.metrics.get("received_bytes")) > 100


def test_udp_keeps_its_rate_and_its_datagram_size(lab):
    load = Iperf(protocol="udp", bitrate_bps=8_000_000, length_bytes=1000)
    load.prepare(lab)
    metrics = load.run(lab, 1).metrics
    assert metrics["datagram_bytes"] == 1000
    assert metrics["datagrams"] == pytest.approx(1000, rel=0.1)


def test_memcached_counts_add_up(lab):
    load = Memcached(connections=2, value_bytes=100)
    load.prepare(lab)
    metrics = load.run(lab, 1).metrics
    assert metrics["gets"] + metrics["sets"] == pytest.approx(metrics["ops"], abs=load.connections)


def test_workloads_without_their_server_fail_in_words(lab):
    with pytest.raises(WorkloadError, match="iperf3"):
        Iperf(port=5999).run(lab, 1)
    with pytest.raises(WorkloadError, match="memcaslap"):
        Memcached(port=11999).run(lab, 1)


def test_a_port_in_use_is_quoted(lab):
    squatter = lab.start("c0", ["nc", "-l", "-p", "7777"])
    try:
        with pytest.raises(WorkloadError, match=r"iperf3 in c0 ended with code \d+") as caught:
            Iperf(port=7777).prepare(lab)
        assert "in use" in caught.value.why.lower()
    finally:
        squatter.stop()
