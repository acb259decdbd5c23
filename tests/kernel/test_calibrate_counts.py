"""Counts: n packets in, n journeys out over every kind of packet path, and the checks can fail."""

from functools import partial
from pathlib import Path

import pytest

from cmonlab.errors import NotTraceable
from cmonlab.rules import Rule
from cmonlab.study.calibrate.check import repeat_over_trace_gaps
from cmonlab.study.calibrate.groups import messages, segments, tallies
from cmonlab.study.calibrate.groups.counts import PACED, PACKETS, run
from cmonlab.study.calibrate.groups.overload import BLOCKED_S
from cmonlab.study.calibrate.matches import mixed, wrong_datagram_reads, wrong_stream_reads
from cmonlab.study.testbed import flows, paths
from cmonlab.study.testbed.packets import datagrams
from cmonlab.study.testbed.senders import Reads, machine_rate, read_messages
from cmonlab.study.testbed.streams import Sniffer, transfer
from cmonlab.study.testbed.testbed import command, ip, testbed
from cmonlab.study.testbed.traffic import ADDRESS, free_port, recording

COUNT, RATE = 211, 20_000


@pytest.fixture(scope="module")
def rate(lab):
    return machine_rate(lab, 5_000)


@pytest.fixture(scope="module")
def made(lab):
    """Return a port, and frames for it."""
    port = free_port()
    return port, datagrams(lab, port, COUNT)


def all_pass(make):
    checks = repeat_over_trace_gaps(make)
    assert checks
    assert [check.describe() for check in checks if not check.passed] == []
    return {check.name.split(": ", 1)[1]: check for check in checks}


@pytest.mark.parametrize("share", [0.1, 1.0])
@pytest.mark.parametrize("kind", flows.KINDS)
def test_messages_pass_over_every_kind_of_path(lab, rate, kind, share):
    checks = all_pass(partial(messages.checked, lab, kind, partial(flows.KINDS[kind], lab, COUNT), rate, share))
    assert checks["messages read in order"].truth >= COUNT
    assert checks["journeys"].truth > 0


@pytest.mark.parametrize("repeated", [False, True])
def test_frames_pass_in_order_and_repeated(lab, rate, made, repeated):
    port, frames = made
    checks = all_pass(partial(messages.checked, lab, "made", partial(flows.made, lab, frames, port, repeated), rate, 1))
    assert checks["journeys"].truth == COUNT + repeated * round(0.2 * COUNT)


@pytest.mark.parametrize("kind", segments.KINDS)
def test_segments_pass_over_every_kind_of_path(lab, kind):
    checks = all_pass(partial(segments.checked, lab, kind, kind, 400, RATE if "GSO" not in kind else None))
    if "retransmission" in kind:
        assert checks["segments dropped"].truth > 3
        assert checks["retransmitted segments"].truth > 3


@pytest.mark.parametrize("share", tallies.SAMPLES)
def test_samples_pass(lab, made, share):
    port, frames = made
    checks = all_pass(partial(tallies.sampled, lab, "sample", frames, port, share, RATE))
    assert checks["journeys"].truth < COUNT


@pytest.mark.parametrize("make", [tallies.counted, tallies.aggregated])
def test_modes_count_and_aggregate_pass(lab, make):
    checks = all_pass(partial(make, lab, "mode", COUNT, RATE))
    assert checks["packets at netif_rx"].truth == 2 * COUNT


def test_checks_fail_with_half_of_the_packets_or_a_wrong_log(lab):
    """Half of the packets are recorded; in the log every entry belongs to another message."""
    with flows.plain(lab, COUNT) as flow:
        with recording(lab, Rule(name="half", match=flow.rule, sample=0.5)) as done:
            reading = lab.start("c0", read_messages, flow.receiver, COUNT)
            lab.call("c1", flow.batch.send, flow.sender, RATE)
            reads = reading.result(timeout=30)
        checks = messages.checks("half", flow, done.session, reads, "")
        assert not next(check for check in checks if check.name == "half: journeys").passed
        with recording(lab, flow.rule) as done:
            reading = lab.start("c0", read_messages, flow.receiver, COUNT)
            lab.call("c1", flow.batch.send, flow.sender, RATE)
            reads = reading.result(timeout=30)
        delivered = int((done.session.journeys()["outcome"] == "delivered").sum())
        assert delivered > 0
        shifted = Reads(reads.before_ns[1:], reads.after_ns[1:], reads.number[:-1])
        assert wrong_datagram_reads(done.session, reads, "c1 → c0", flow.seq_of) == 0
        assert wrong_datagram_reads(done.session, shifted, "c1 → c0", flow.seq_of) > delivered / 2


def test_wrong_stream_reads_finds_a_shifted_log(lab):
    port = free_port()
    with recording(lab, f"tcp port {port}") as done, Sniffer(lab, "eth0") as sniffer:
        sent = transfer(lab, ADDRESS[4]["c0"], port, ADDRESS[4]["c0"], 400_000, 20e6)
    assert sniffer.packets and not sniffer.missed
    reads = sent.reads
    assert len(reads) > 3
    assert wrong_stream_reads(done.session, reads, "c1 → c0") == 0
    later = Reads(reads.before_ns[1:], reads.after_ns[1:], reads.number[:-1])
    assert wrong_stream_reads(done.session, later, "c1 → c0") > 5
    assert mixed(done.session, ("seq", "ident")) == 0


@pytest.mark.parametrize("kind", ["UDP", "VXLAN", "ICMP", "IP fragments"])
def test_lost_events_are_accounted_for(lab, rate, kind):
    make, small = partial(flows.KINDS[kind], lab, COUNT * 5), {"ring_bytes": 65536, "poll_s": BLOCKED_S}
    checks = all_pass(partial(messages.checked, lab, kind, make, rate, 1, **small))
    assert "journeys" not in checks
    assert checks["packets at net_dev_queue, recorded or lost"].truth >= 2 * COUNT * 5


def state(lab):
    """Return everything that paths add to a testbed, as the kernel's own tools print it."""
    links = [(link["namespace"], link["name"], sorted(link["addresses"])) for link in lab.links()]
    routes = [ip("-n", namespace, "route") for namespace in lab.namespaces.values()]
    rules = [
        command("ip", "netns", "exec", namespace, "iptables", "-t", table, "-S")
        for namespace in lab.namespaces.values()
        for table in ("nat", "filter")
    ]
    segments = [
        ip("-n", lab.namespaces[name], "-d", "link", "show", "eth0").split("gso_max_segs")[1][:7]
        for name in ("c0", "c1")
    ]
    forwarding = lab.call("host", Path("/proc/sys/net/ipv4/ip_forward").read_text)
    return links, routes, rules, segments, forwarding


@pytest.mark.parametrize("kind", [*flows.KINDS, *segments.KINDS])
def test_paths_are_removed_after_errors(lab, kind):
    def make():
        if kind in flows.KINDS:
            return flows.KINDS[kind](lab, 10)
        return segments.KINDS[kind][0](lab, segments.KINDS[kind][1])

    with make():
        pass  # netfilter creates its tables at first use
    before = state(lab)
    with pytest.raises(ZeroDivisionError), make():
        raise ZeroDivisionError
    assert state(lab) == before


def test_netfilter_reports_a_refused_rule(lab):
    with pytest.raises(NotTraceable, match="iptables"), paths.netfilter(lab, "c0", "nat", "NOWHERE", "-j", "DROP"):
        raise AssertionError("nothing was refused")


def test_group_passes_every_scenario():
    """Every scenario, in the quick form."""
    with testbed() as bed:
        found = [check for checks in run(bed, quick=True) for check in checks]
    assert [check.describe() for check in found if not check.passed] == []
    assert {check.group for check in found} == {"counts"}
    names = {check.name.split(": ")[0] for check in found}
    kinds = {name.rsplit(" at ", 1)[0] for name in names}
    assert kinds >= {*flows.KINDS, *segments.KINDS, *PACED, "mode count", "mode aggregate"}
    for kind in PACED:
        assert {f"{kind} at {share:.0%} of the packet rate" for share in PACKETS} <= names
