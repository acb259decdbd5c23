"""Every workload for one second, in real containers."""

import time

import pytest

from cmonlab.errors import WorkloadError
from cmonlab.lab.workload import WORKLOADS, Iperf, Memcached, Sockperf, workload
from cmonlab.lab.workload.processes import listening_ports

from .conftest import wait_for

pytestmark = pytest.mark.docker


@pytest.mark.parametrize("name", WORKLOADS)
def test_workload_reports_its_work(lab, name):
    load = workload(name)
    load.prepare(lab)
    seen = []
    before_ns = time.monotonic_ns()
    done = load.run(lab, 1, progress=seen.append)
    assert before_ns <= done.started_ns < done.ended_ns <= time.monotonic_ns()
    assert 0.9 <= done.metrics["load_s"] <= 2.0
    assert seen == sorted(seen) and seen[-1] <= 1
    assert max(done.metrics.get(name, 0) for name in ("ops", "received_bytes", "messages")) > 100
    assert done.metrics[load.work[0]] > 0


def test_udp_keeps_its_rate_and_datagram_size(lab):
    load = Iperf(protocol="udp", bitrate_bps=8_000_000, length_bytes=1000)
    load.prepare(lab)
    metrics = load.run(lab, 1).metrics
    assert metrics["datagram_bytes"] == 1000
    assert metrics["datagrams"] == pytest.approx(1000, rel=0.1)


def test_latencies_are_in_order_and_half_of_a_round_trip_is_less(lab):
    load = Memcached()
    load.prepare(lab)
    metrics = load.run(lab, 1).metrics
    quantiles = [metrics[f"latency_p{name}_ns"] for name in ("50", "90", "99", "999")]
    assert quantiles == sorted(quantiles) and 1_000 < quantiles[0] < 1e8
    # Each connection has one operation under way, so the mean is known; the median of such a distribution is below it.
    assert quantiles[0] < 2 * 1e9 * load.connections / metrics["ops_per_s"]
    Sockperf(protocol="udp").prepare(lab)
    whole, half = (Sockperf(protocol="udp", full_rtt=full).run(lab, 1).metrics for full in (True, False))
    assert whole["latency_p50_ns"] < whole["latency_p999_ns"] and whole["dropped_messages"] == 0
    # One message is under way at a time, so its latency is the round trip, or half of it.
    assert whole["latency_p50_ns"] <= 1.1e9 * 2 / whole["messages_per_s"]
    assert half["latency_p50_ns"] <= 1.1e9 / half["messages_per_s"]


def test_memcached_counts_add_up(lab):
    load = Memcached(connections=2, value_bytes=100)
    load.prepare(lab)
    metrics = load.run(lab, 1).metrics
    assert metrics["gets"] + metrics["sets"] == pytest.approx(metrics["ops"], abs=load.connections)


def test_workload_without_its_server_names_the_client(lab):
    with pytest.raises(WorkloadError, match="iperf3"):
        Iperf(port=5999).run(lab, 1)
    with pytest.raises(WorkloadError, match="memcaslap"):
        Memcached(port=11999).run(lab, 1)


def test_server_replaces_its_own_predecessor_only(lab):
    for _ in range(2):
        Iperf(port=7776).prepare(lab)
    squatter = lab.start("c0", ["nc", "-l", "-p", "7777"])
    try:
        assert wait_for(lambda: 7777 in listening_ports(lab.exec("c0", ["cat", "/proc/net/tcp", "/proc/net/tcp6"])[1]))
        with pytest.raises(WorkloadError, match="listens on port 7777 already"):
            Iperf(port=7777).prepare(lab)
        assert squatter.running
    finally:
        squatter.stop()


def test_output_of_a_server_that_ends_is_quoted(lab):
    with pytest.raises(WorkloadError, match=r"memcached in c0 ended with code \d+") as caught:
        Memcached(port=80).prepare(_WithAddress(lab, "192.0.2.77"))
    assert "assign requested address" in caught.value.why


class _WithAddress:
    """A lab that reports an address for every container that the container does not have."""

    def __init__(self, lab, address):
        self._lab, self.address = lab, lambda name: address

    def __getattr__(self, name):
        return getattr(self._lab, name)
