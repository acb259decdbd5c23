"""Reading the output of other tracers, and judging cmonlab against them."""

import struct

import numpy as np
import pytest

from cmonlab.data.analysis.overhead import Overhead
from tests.benchmarks.peers import callback, dump, join, perf, script, verdict


def test_tcpdump_counts_are_summed_over_processes():
    said = [
        "listening on any\n^C66484 packets captured\n66500 packets received by filter\n7 packets dropped by kernel\n",
        "1 packet captured\n1 packet received by filter\n0 packets dropped by kernel\n",
    ]
    assert dump.counts(said) == (66485, 7)
    with pytest.raises(ValueError, match="no counts"):
        dump.counts(["tcpdump: no such device"])


def test_perf_reports_samples_and_lost_ones():
    said = (
        "Aggregated stats:\n     TOTAL events:     200\n     SAMPLE events:    193  (96.5%)\n LOST_SAMPLES events: 5\n"
    )
    assert perf.stats(said) == (193, 5)
    assert perf.stats("") == (0, 0)


def test_bpftrace_script_has_one_probe_per_point_and_the_port_in_network_order():
    text = script.text(["net_dev_queue", "netif_rx"], "tcp", 0x1234)
    assert text.count("tracepoint:net:") == 2
    assert text.count("$ports->dest == 13330") == 2  # 0x3412
    assert "$ip->protocol == 6" in text
    assert script.lost("Lost 12 events\nother\nLost 3 events\n") == 15


def test_callback_counts_are_in_the_last_line():
    assert callback.counts('ready\n{"events": 5, "lost": 2}\n') == (5, 2)


LINK = {1: 14, 276: 20}


def capture(path, packets, link=1):
    """Write packets as (ts_ns, place, bytes of the IP packet) the way tcpdump does."""
    data = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 128, link)
    for ts_ns, place, packet in packets:
        head = struct.pack(">HHI", 0x0800, 0, place).ljust(20, b"\0") if link == 276 else b"\0" * 14
        data += struct.pack("<IIII", ts_ns // 10**9, ts_ns % 10**9, len(head + packet), len(head + packet))
        data += head + packet
    path.write_bytes(data)
    return path


def packet(number, sport=1000, dport=2000):
    """Return an IPv4 packet of TCP with a sequence number."""
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40, number & 0xFFFF, 0, 64, 6, 0, b"\x0a\0\0\x01", b"\x0a\0\0\x02")
    return header + struct.pack(">HHIIHHHH", sport, dport, number, 0, 0x5010, 0, 0, 0)


def test_join_matches_packets_of_several_captures(tmp_path):
    one = [(1_000_000_000 + n * 1000, 0, packet(n)) for n in range(50)]
    two = [(1_000_000_300 + n * 1000, 0, packet(n)) for n in range(50) if n != 7]
    files = [capture(tmp_path / "a.pcap", one), capture(tmp_path / "b.pcap", two)]
    seen, found = join.segments(files)
    assert seen == 99
    assert len(found["ns"]) == 49
    assert set(found["ns"].tolist()) == {300}
    assert set(zip(found["from"].tolist(), found["to"].tolist(), strict=True)) == {(0, 1)}


def test_join_matches_packets_of_one_capture_by_interface(tmp_path):
    packets = [(5 + 10 * hop, 3 + hop, packet(n)) for n in range(4) for hop in range(3)]
    seen, found = join.segments([capture(tmp_path / "any.pcap", packets, 276)])
    assert seen == 12
    assert sorted(zip(found["from"].tolist(), found["to"].tolist(), strict=True)) == [(3, 4)] * 4 + [(4, 5)] * 4
    assert np.all(found["ns"] == 10)


def test_join_refuses_another_kind_of_capture(tmp_path):
    path = tmp_path / "x.pcap"
    path.write_bytes(b"\0" * 24)
    with pytest.raises(ValueError, match="link type"):
        join.read(path, 0)


def an_overhead(**samples):
    units = {"throughput": "message/s", "p50": "ns", "CPU": "ns/message"}
    return Overhead({}, 1.0, 0, [], units, samples)


def rounds(throughput, p50, cpu):
    return {"throughput": [throughput] * 3, "p50": [p50] * 3, "CPU": [cpu] * 3}


def test_modes_are_judged_against_the_peer_with_the_lowest_overhead():
    samples = {
        "untraced": rounds(100.0, 10_000.0, 50.0),
        verdict.ALL: rounds(80.0, 13_000.0, 60.0),
        verdict.AGGREGATE: rounds(95.0, 10_500.0, 51.0),
        verdict.ANY: rounds(90.0, 12_000.0, 55.0),
        "bpftrace": rounds(10.0, 90_000.0, 500.0),
    }
    found = verdict.judged("sockperf TCP", an_overhead(**samples))
    values = {(target.key, target.name.rpartition(": ")[2]): (target.value, target.met) for target in found.targets}
    assert values[("peers", "capture, all points less tcpdump -i any")] == (5.0, False)  # CPU comes last
    assert values[("peers", "aggregate less tcpdump -i any")] == (-4.0, True)
    by_key = {target.key: target for target in found.targets}
    assert by_key["capture adds"].value == pytest.approx(1.0) and not by_key["capture adds"].met
    assert by_key["aggregate adds"].value == pytest.approx(-0.5) and by_key["aggregate adds"].met
    assert not any("throughput" in target.name for target in found.targets)


def test_throughput_is_judged_only_if_the_workload_reports_it():
    samples = {
        "untraced": {"throughput": [1.0, 10.0], "CPU": [1.0, 1.0]},
        verdict.AGGREGATE: {"throughput": [0.98, 9.8], "CPU": [1.0, 1.0]},
        verdict.ANY: {"throughput": [0.9, 9.0], "CPU": [1.0, 1.0]},
    }
    found = verdict.judged("iperf3 TCP", an_overhead(**samples))
    by_name = {target.name: target for target in found.targets}
    assert by_name["throughput: aggregate / untraced, iperf3 TCP"].value == pytest.approx(0.98)
    beyond = by_name["overhead beyond the lowest peer's, iperf3 TCP throughput: aggregate less tcpdump -i any"]
    assert beyond.value == pytest.approx(-8.0) and beyond.unit == "% of untraced"
