"""Custom probes: their values belong to the right journeys, and mistakes are reported with their own lines."""

from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from cmonlab.data.analysis.names import Names
from cmonlab.data.analysis.probes import table
from cmonlab.data.correlation.correlate import Stages, correlate
from cmonlab.data.store import directory as store
from cmonlab.data.store import probe_values
from cmonlab.errors import NotTraceable, ProbeError
from cmonlab.points.probe import Probe
from cmonlab.rules import Rule
from cmonlab.rules.plan import compile_rules
from cmonlab.schema import columns
from cmonlab.study.testbed.traffic import COUNT, exchange_udp, free_port, send_tcp, trace_gap_ns
from cmonlab.tracing import preflight
from cmonlab.tracing.kernel import build, loader, programs
from cmonlab.tracing.kernel.probes import described, probe_points
from cmonlab.tracing.tracer import Tracer

CWND = Probe(
    "cwnd",
    at="tcp_probe",
    socket=0,
    fields={"snd_cwnd": "u32", "mss": "u16", "rto_ms": "s64", "state": "u8"},
    reads=["tcp_sock.snd_cwnd", "tcp_sock.mss_cache", "tcp_sock.inet_conn.icsk_rto", "sock.__sk_common.skc_state"],
    body="""
        struct tcp_sock *tp = (struct tcp_sock *)sk;

        out->snd_cwnd = READ(tp->snd_cwnd);
        out->mss = READ(tp->mss_cache);
        out->rto_ms = -(s64)READ(tp->inet_conn.icsk_rto);
        out->state = READ(sk->__sk_common.skc_state);
    """,
)
LENGTH = Probe(
    "arrival",
    at="netif_receive_skb",
    packet=0,
    fields={"length": "u32", "number": "u64", "cb": "u8"},
    reads=["sk_buff.cb", "sk_buff.len"],
    body="""
        out->length = skb->len;
        out->number = 1ULL << 40 | READ(skb->len);
        out->cb = READ(skb->cb[3]) & 0;
    """,
)


class Traced:
    """The result of a tracer with probes, as tables."""

    def __init__(self, lab, tracer, recording):
        self.ledger = next(iter(recording.ledgers.values()))
        self.events = store.columns_of(recording.chunks)
        self.values = probe_values.columns_of(recording.probe_values)
        points = [vars(point) for point in tracer.points]
        stages = Stages.of_points(points)
        self.found = correlate(self.events, stages)
        links = pd.DataFrame([{"from_ns": 0, "to_ns": 0} | row for row in lab.links()], columns=columns("links"))
        self.names = Names(links, recording.addresses6, {point["id"]: point["label"] for point in points})
        self._probes = {entry["name"]: entry for entry in described(tracer.probes, tracer.probe_points)}

    def probe(self, name):
        return table(self.events, self.found, self.names, self.values, self._probes[name])


@contextmanager
def traced(lab, probes, match, points=("default",), mode="capture", **options):
    """Trace while the block runs; the list that it yields then holds a `Traced`."""
    done = []
    with Tracer(probes=probes, **options) as tracer:
        available = [point.name for point in programs.available()] + [probe.name for probe in probes]
        rule = Rule(name="all", match=match, points=[*points, *(probe.name for probe in probes)], mode=mode)
        tracer.start(compile_rules([rule], available))
        yield done
        recording = tracer.stop()
        trace_gap_ns.append(sum(end - start for _, start, end in recording.trace_gaps))
        done.append(Traced(lab, tracer, recording))


def balances(ledger):
    return all(row["seen"] == sum(row.values()) - row["seen"] for row in ledger.values())


def test_packet_probe_is_a_hop_of_the_packets_journey(lab):
    port, size = free_port(), 100
    with traced(lab, [LENGTH], f"udp port {port}") as done:
        exchange_udp(lab, port, size)
    rows, row = done[0].probe("arrival"), done[0].ledger["arrival"]
    assert len(rows) == row["recorded"] == 2 * COUNT  # at the bridge's port, and at the receiver's device
    assert row["seen"] == row["unmatched"] + row["recorded"] and balances(done[0].ledger)
    assert rows["ts_ns"].is_monotonic_increasing
    assert (rows["journey"].value_counts() == 2).all() and set(rows["journey"]) == set(range(COUNT))
    assert set(rows["direction"]) == {"c1 → c0"} and set(rows["dport"]) == {port}
    assert set(rows["length"]) == {size + 28}
    assert set(rows["number"]) == {1 << 40 | size + 28} and set(rows["cb"]) == {0}
    assert [str(kind) for kind in rows.dtypes[["length", "number", "cb"]]] == ["uint32", "uint64", "uint8"]
    # Between the arrival and what the stack did next, on every journey.
    found, events = done[0].found, done[0].events
    for journey in range(0, COUNT, 97):
        hops = events["point"][found.event[found.start[journey] : found.start[journey + 1]]].tolist()
        assert hops.count(64) == 2
        assert (np.diff(events["ts_ns"][found.event[found.start[journey] : found.start[journey + 1]]]) >= 0).all()


def test_socket_probe_reads_what_the_kernel_has(lab):
    port = free_port()
    with traced(lab, [CWND], f"tcp port {port}", ["default", "tcp_probe"]) as done:
        send_tcp(lab, port, 300_000)
    rows, ledger = done[0].probe("cwnd"), done[0].ledger
    assert len(rows) == ledger["cwnd"]["recorded"] == ledger["tcp_probe"]["recorded"] > 10
    assert balances(ledger)
    assert (rows["journey"] == -1).all()
    assert set(rows["direction"]) == {"c0 → c1", "c1 → c0"}
    assert set(rows["sport"]) | set(rows["dport"]) >= {port}
    assert rows["snd_cwnd"].between(2, 100_000).all()
    assert set(rows["mss"]) <= {1448, 524, 536}
    assert (rows["rto_ms"] < 0).all()  # negative on purpose: the sign arrives
    assert set(rows["state"]) <= set(range(1, 13)) and 1 in set(rows["state"])


def test_two_probes_have_separate_values(lab):
    port = free_port()
    other = Probe("other", at="net_dev_queue", packet=0, fields={"length": "u32"}, body="out->length = 7;")
    with traced(lab, [LENGTH, CWND, other], f"udp port {port}", ["path"]) as done:
        exchange_udp(lab, port, 40, count=100)
    assert len(done[0].probe("arrival")) == len(done[0].probe("other")) == 200
    assert set(done[0].probe("other")["length"]) == {7}
    assert set(done[0].probe("arrival")["length"]) == {68}
    assert len(done[0].probe("cwnd")) == 0 and done[0].ledger["cwnd"]["recorded"] == 0


def test_probe_is_recorded_only_for_rules_that_name_it(lab):
    port = free_port()
    with Tracer(probes=[LENGTH]) as tracer:
        names = [point.name for point in programs.available()] + ["arrival"]
        tracer.start(compile_rules([Rule(name="a", match=f"udp port {port}")], names))
        exchange_udp(lab, port, 40, count=20)
        tracer.apply(compile_rules([Rule(name="b", match=f"udp port {port}", points="all", mode="count")], names))
        exchange_udp(lab, port, 40, count=30)
        recording = tracer.stop()
    first, second = recording.ledgers.values()
    assert first.get("arrival", {"seen": 0})["seen"] == 0
    assert second["arrival"]["counted"] == 60 and second["arrival"]["recorded"] == 0
    assert recording.probe_values == []


def test_lost_probe_values_are_lost_hops_and_counted(lab):
    port = free_port()
    with traced(lab, [LENGTH], f"udp port {port}", ["net_dev_queue"], ring_bytes=4096) as done:
        exchange_udp(lab, port, 40, count=3000)
    row = done[0].ledger["arrival"]
    assert row["lost"] > 0 and balances(done[0].ledger)
    rows = done[0].probe("arrival")
    assert len(rows) == row["recorded"] == (done[0].events["point"] == 64).sum()
    assert set(rows["length"]) == {68}


def test_probe_values_are_read_back_from_a_file(lab, tmp_path):
    port = free_port()
    with traced(lab, [LENGTH], f"udp port {port}", ["path"]) as done:
        exchange_udp(lab, port, 40, count=50)
    probe_values.save_probe_values(tmp_path / probe_values.PROBE_VALUES, done[0].values)
    loaded = probe_values.load_probe_values(tmp_path / probe_values.PROBE_VALUES)
    assert loaded.keys() == done[0].values.keys() and len(loaded["ts_ns"]) == 100
    for name, values in loaded.items():
        assert values.dtype == done[0].values[name].dtype and (values == done[0].values[name]).all()
    with pytest.raises(FileNotFoundError):
        probe_values.load_probe_values(tmp_path / "none.parquet")


def _refused(capfd=None, **changes):
    with pytest.raises(ProbeError) as caught:
        preflight.check_probe(
            Probe(**({"name": "mine", "at": "tcp_probe", "socket": 0, "fields": {"a": "u32"}} | changes))
        )
    if capfd:
        assert capfd.readouterr().err == ""
    return str(caught.value)


def test_errors_of_the_compiler_have_the_probes_lines(capfd):
    message = _refused(capfd, body="\n\n    out->a = 1;\n    out->b = nonsense;\n")
    assert "probe mine:4:10: error: no member named 'b'" in message
    assert "probe mine:4:14: error: use of undeclared identifier 'nonsense'" in message
    assert "    out->b = nonsense;\n             ^" in message
    assert "points.c" not in message and "probes.h" not in message and "virtual" not in message
    assert "probe mine:12:1: error" in _refused(capfd, body="oops;", first_line=12)
    message = _refused(capfd, body="out->a = READ(((struct tcp_sock *)sk)->snd_cwn);", reads=["tcp_sock.snd_cwnd"])
    assert message.count("error:") == 1 and "did you mean 'snd_cwnd'" in message
    assert "reads=" in _refused(capfd, body="out->a = READ(((struct tcp_sock *)sk)->snd_cwnd);")
    assert "implicit declaration of function 'nothing'" in _refused(capfd, body="nothing(1);")


def test_error_names_the_second_of_two_probes(capfd):
    good = Probe("good", at="tcp_probe", socket=0, body="int unused = 1; (void)unused;")
    bad = Probe("bad", at="tcp_probe", socket=0, body="\noops;")
    with pytest.raises(ProbeError, match=r"the code of probe bad does not compile") as caught:
        Tracer(probes=[good, bad])
    assert "probe bad:2:1: error" in str(caught.value) and "probe good" not in str(caught.value)


def test_refusal_of_the_verifier_has_its_last_lines(capfd):
    message = _refused(capfd, body="out->a = *(u32 *)((char *)sk + 99999);")
    assert "the kernel refuses the code of point 'mine'" in message and "access beyond struct sock" in message
    assert "infinite loop" in _refused(body="for (;;) { if (READ(*(u32 *)sk) == 1) break; }")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"at": "tcp_prob"}, ["no tracepoint 'tcp_prob'", "did you mean tcp_probe"]),
        ({"at": "", "function": "tcp_v4_rcvv"}, ["no function 'tcp_v4_rcvv'", "tcp_v4_rcv"]),
        ({"reads": ["tcp_sock.snd_cwn"]}, ["no member 'snd_cwn'", "did you mean snd_cwnd"]),
        ({"reads": ["tcp_sok.snd_cwnd"]}, ["no struct 'tcp_sok'", "tcp_sock"]),
        ({"reads": ["tcp_sock.inet_conn"]}, ["not a number or pointer", "icsk_"]),
        ({"reads": ["sk_buff.pkt_type"]}, ["no member 'pkt_type'", "bit field"]),
        ({"socket": 1}, ["argument 1 of tcp_probe is not a socket", "use socket=0"]),
        ({"socket": 9}, ["argument 9 of tcp_probe is not a socket"]),
        ({"socket": None, "packet": 0}, ["is not a packet", "use packet=1"]),
        ({"name": "tcp_probe"}, ["already"]),
        ({"name": "path"}, ["already"]),
    ],
)
def test_missing_places_and_members_are_reported_before_compiling(monkeypatch, changes, words):
    monkeypatch.setattr(loader, "build", lambda *_: pytest.fail("it was compiled"))
    if changes.get("function") and programs.functions_traceable():
        words = words[:1]
    message = _refused(**changes)
    assert all(word in message for word in words), message


def test_too_many_or_equal_probes_are_refused():
    probe = Probe("mine", at="tcp_probe", socket=0)
    with pytest.raises(ProbeError, match="already"):
        probe_points([probe, probe])
    with pytest.raises(ProbeError, match="at most 16"):
        probe_points([Probe(f"p{n}", at="tcp_probe", socket=0) for n in range(17)])


def test_warnings_of_the_compiler_are_shown(monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(build, "_cache", lambda: tmp_path)
    preflight.check_probe(Probe("mine", at="tcp_probe", socket=0, first_line=5, body="#warning careful"))
    assert "probe mine:5:2: warning: careful" in capfd.readouterr().err


def test_probe_at_a_function_is_a_hop(lab):
    if why := programs.functions_traceable():
        pytest.skip(f"optional: functions cannot be traced: {why}")
    port = free_port()
    probe = Probe("rcv", function="ip_rcv", packet=0, fields={"length": "u32"}, body="out->length = skb->len;")
    with traced(lab, [probe], f"udp port {port}") as done:
        exchange_udp(lab, port, 40, count=100)
    rows = done[0].probe("rcv")
    assert len(rows) == 100 and set(rows["journey"]) == set(range(100)) and set(rows["length"]) == {68}


def test_check_of_a_probe_reports_a_host_that_cannot_trace(monkeypatch):
    def none(*_):
        raise NotTraceable("bcc cannot be imported", fix="install it")

    monkeypatch.setattr(loader, "build", none)
    with pytest.raises(NotTraceable, match="bcc cannot be imported"):
        preflight.check_probe(Probe("mine", at="tcp_probe", socket=0))
