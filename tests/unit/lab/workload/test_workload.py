"""Workloads in a fake lab, and the reports that they parse."""

import json
import math
import threading
from dataclasses import dataclass

import pytest

from cmonlab.errors import UnknownName, WorkloadError
from cmonlab.lab.workload import WORKLOADS, Iperf, Memcached, Sockperf, processes, workload
from cmonlab.lab.workload.client_server import ClientServer
from cmonlab.lab.workload.processes import listening_ports

MEMCASLAP = """servers: 172.17.0.2:11211
threads count: 1

Set Statistics (3 events)
   Min:         9
   Max:        70
   Log2 Dist:
       4:        1        1        0        1

Total Statistics (1000 events)
   Min:         7
   Max:      3000
   Avg:        54
   Geo:     39.24
   Std:     99.23
   Log2 Dist:
       0:        0        0        0        0
       4:      400      200      391        0
       8:        0        0        0        0
      12:        9

cmd_get: 205699
cmd_set: 22860
get_misses: 3
written_bytes: 39656600
read_bytes: 228502094
object_bytes: 24871680

Run time: 2.0s Ops: 228559 TPS: 114264 Net_rate: 127.9M/s
"""
TCP = {
    "end": {
        "sum_sent": {"bytes": 1000, "bits_per_second": 8000.0, "retransmits": 7, "seconds": 1.0},
        "sum_received": {"bytes": 900, "bits_per_second": 7200.0},
        "streams": [{"sender": {"mean_rtt": 100}}, {"sender": {"mean_rtt": 300}}],
    }
}
UDP = {
    "start": {"test_start": {"blksize": 100}},
    "end": {
        "sum": {"bytes": 1000, "packets": 10, "lost_packets": 2, "jitter_ms": 0.5, "seconds": 2.0},
        "streams": [{"udp": {"out_of_order": 1}}],
    },
}


SOCKPERF = """sockperf: \x1b[2;35m== version #3.7-no.git == \x1b[0m
sockperf: [Total Run] RunTime=1.001 sec; Warm up time=400 msec; SentMessages=26602; ReceivedMessages=26601
sockperf: ========= Printing statistics for Server No: 0
sockperf: [Valid Duration] RunTime=0.500 sec; SentMessages=10641; ReceivedMessages=10640
sockperf: \x1b[2;35m====> avg-rtt=51.639 (std-dev=66.883)\x1b[0m
sockperf: # dropped messages = 3; # duplicated messages = 2; # out-of-order messages = 1
sockperf: \x1b[2;35mTotal 10640 observations\x1b[0m; each percentile contains 106.40 observations
sockperf: ---> <MAX> observation = 3651.982
sockperf: ---> percentile 99.999 = 3651.982
sockperf: ---> percentile 99.990 = 3580.841
sockperf: ---> percentile 99.900 =  496.405
sockperf: ---> percentile 99.000 =  153.417
sockperf: ---> percentile 90.000 =   87.055
sockperf: ---> percentile 75.000 =   74.568
sockperf: ---> percentile 50.000 =   56.612
sockperf: ---> percentile 25.000 =    9.590
sockperf: ---> <MIN> observation =    5.674
"""


class FakeProcess:
    def __init__(self, exit_code, output, waits=0):
        self._code, self.stdout, self.output, self._waits = exit_code, output, output, waits
        self.stopped = threading.Event()

    @property
    def exit_code(self):
        return None if self._waits > 0 else self._code

    def wait(self, timeout_s):
        self._waits -= 1
        return self.exit_code

    def stop(self):
        self.stopped.set()


class FakeLab:
    """A lab that returns prepared processes and records the commands that were started."""

    def __init__(self, *processes, listening=()):
        self.containers = {"c0": None, "c1": None}
        self.processes, self.started = list(processes), []
        rows = "".join(f"0: 00000000:{port:04X} 00000000:0000 0A x\n" for port in listening)
        self.table = f"sl local_address rem_address st\n{rows}"
        self.taken = False

    def address(self, name):
        return {"c0": "10.0.0.2", "c1": "10.0.0.3"}[name]

    def source(self, name):
        return None

    def exec(self, name, argv, user=None):
        return 0, self.table if self.started or self.taken else ""

    def stop(self, name, service):
        assert service.startswith(("tcp/", "udp/"))

    def start(self, name, argv, user=None, service=None):
        self.started.append((name, argv, user, service))
        return self.processes[len(self.started) - 1]


def test_registry_makes_workloads_with_their_rules():
    rules = {name: workload(name).default_rule for name in WORKLOADS}
    assert rules == {
        "memcached": "tcp port 11211",
        "iperf-tcp": "tcp port 5201",
        "iperf-udp": "udp port 5201",
        "sockperf-tcp": "tcp port 11111",
        "sockperf-udp": "udp port 11111",
    }
    assert [workload(name).name for name in WORKLOADS] == list(WORKLOADS)
    assert workload("memcached", port=7).default_rule == "tcp port 7"
    assert workload("iperf-udp").bitrate_bps == 200_000_000 and workload("iperf-tcp").bitrate_bps is None
    for name in WORKLOADS:
        described = json.loads(json.dumps(workload(name).describe()))
        assert described["name"] == name and described["parameters"]["server"] == "c0"


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'memcached'"):
        workload("memcache")
    with pytest.raises(UnknownName, match="did you mean 'value_bytes'"):
        workload("memcached", value_byte=3)
    with pytest.raises(UnknownName, match="unknown parameter of workload iperf-udp 'protocol'"):
        workload("iperf-udp", protocol="tcp")
    with pytest.raises(UnknownName, match="did you mean 'tcp'"):
        Iperf(protocol="tpc")
    with pytest.raises(UnknownName, match="did you mean 'udp'"):
        Sockperf(protocol="upd")
    for load in (Memcached(server="c9"), Iperf(client="c9"), Sockperf(server="c9")):
        for call in (load.prepare, lambda lab, load=load: load.run(lab, 1)):
            with pytest.raises(UnknownName, match="unknown container 'c9'"):
                call(FakeLab())


@pytest.mark.parametrize(
    "make",
    [
        lambda: Memcached(connections=0),
        lambda: Memcached(connections=3, threads=2),
        lambda: Memcached(port="http"),
        lambda: Iperf(bitrate_bps=-1),
        lambda: Iperf(streams=True),
        lambda: Sockperf(message_bytes=0),
        lambda: Sockperf(port=-1),
        lambda: Memcached().run(FakeLab(), 0),
        lambda: Iperf().run(FakeLab(), float("nan")),
        lambda: Iperf().run(FakeLab(), float("inf")),
    ],
)
def test_parameters_out_of_range_are_refused(make):
    with pytest.raises(WorkloadError, match="cannot run"):
        make()


def test_memcaslap_report_is_read():
    assert Memcached().parse(MEMCASLAP) == {
        "ops_per_s": 114264.0,
        "ops": 228559.0,
        "gets": 205699.0,
        "sets": 22860.0,
        "get_misses": 3.0,
        "written_bytes": 39656600.0,
        "read_bytes": 228502094.0,
        "load_s": 2.0,
        # 400 of at most 16 µs, 200 of 16 to 32, 391 to 64, and 9 from 2,048 to the longest of 3,000.
        "latency_p50_ns": pytest.approx(1000 * math.sqrt(16 * 32)),
        "latency_p90_ns": pytest.approx(1000 * 2 ** (5 + 300 / 391)),
        "latency_p99_ns": pytest.approx(1000 * 2 ** (5 + 390 / 391)),
        "latency_p999_ns": pytest.approx(1000 * 2048 * (3000 / 2048) ** (8 / 9)),
    }
    with pytest.raises(WorkloadError, match="no distribution"):
        Memcached().parse(MEMCASLAP.replace("Total Statistics", ""))


@pytest.mark.parametrize("report", ["", "Run time: 1.0s Ops: 0 TPS: 0", MEMCASLAP.replace("cmd_get", "x")])
def test_memcaslap_report_without_operations_is_an_error(report):
    with pytest.raises(WorkloadError, match="no operations"):
        Memcached().parse(report)


def test_iperf_reports_are_read():
    assert Iperf(protocol="tcp").parse(json.dumps(TCP)) == {
        "goodput_bps": 7200.0,
        "sent_bytes": 1000.0,
        "received_bytes": 900.0,
        "retransmissions": 7.0,
        "srtt_mean_ns": 200_000.0,
        "load_s": 1.0,
    }
    assert Iperf(protocol="udp").parse(json.dumps(UDP)) == {
        "goodput_bps": 3200.0,
        "sent_bytes": 1000.0,
        "received_bytes": 800.0,
        "datagrams_per_s": 4.0,
        "datagrams": 10.0,
        "lost_datagrams": 2.0,
        "out_of_order_datagrams": 1.0,
        "delay_variation_ns": 500_000.0,
        "datagram_bytes": 100.0,
        "load_s": 2.0,
    }


@pytest.mark.parametrize("report", ["", "{", "[]", "{}", '{"end": {}}', '{"end": {"sum_sent": 1}}'])
def test_iperf_output_that_is_no_report_is_an_error(report):
    for protocol in ("tcp", "udp"):
        with pytest.raises(WorkloadError, match="cannot be read"):
            Iperf(protocol=protocol).parse(report)


def test_iperf_error_says_why_it_failed():
    with pytest.raises(WorkloadError, match="unable to connect"):
        Iperf(protocol="tcp").parse('{"error": "unable to connect"}')


def test_sockperf_report_is_read():
    assert Sockperf().parse(SOCKPERF) == pytest.approx(
        {
            "messages_per_s": 21280.0,
            "messages": 10640.0,
            "dropped_messages": 3.0,
            "duplicated_messages": 2.0,
            "out_of_order_messages": 1.0,
            "latency_p50_ns": 56_612.0,
            "latency_p90_ns": 87_055.0,
            "latency_p99_ns": 153_417.0,
            "latency_p999_ns": 496_405.0,
            "load_s": 1.001,
        }
    )


@pytest.mark.parametrize("report", ["", SOCKPERF.replace("10640", "0"), SOCKPERF.replace("percentile 99.900", "")])
def test_sockperf_report_without_messages_is_an_error(report):
    with pytest.raises(WorkloadError, match="no messages"):
        Sockperf().parse(report)


def test_sockperf_waits_for_its_udp_port_and_passes_its_parameters():
    lab = FakeLab(FakeProcess(None, "", waits=10**9), FakeProcess(0, SOCKPERF), listening=[11111])
    load = Sockperf(protocol="udp", message_bytes=1000, full_rtt=False)
    load.prepare(lab)
    load.run(lab, 2.2)
    (server, served, _, service), (client, asked, user, _) = lab.started
    assert (server, client, user, service) == ("c0", "c1", "nobody", "udp/11111") and "--tcp" not in served + asked
    assert asked[asked.index("-m") + 1] == "1000" and asked[asked.index("-t") + 1] == "2" and "--full-rtt" not in asked
    Sockperf().run(tcp := FakeLab(FakeProcess(0, SOCKPERF), listening=[11111]), 1)
    assert {"--tcp", "--full-rtt"} <= set(tcp.started[0][1])


def test_listening_ports_leave_out_connected_sockets():
    rows = (
        "0: 0100007F:1F90 00000000:0000 0A x",
        "1: 0100007F:2B67 00000000:0000 07 x",
        "2: 0100007F:0016 0200007F:0017 01 x",
    )
    assert listening_ports("\n".join(rows)) == {8080, 11111}


def test_listening_ports_leave_out_other_addresses():
    rows = [
        f"0: {local}:1F90 00000000:0000 0A x" for local in ("0200427F", "0" * 8, "0000000000000000FFFF00000300427F")
    ]
    assert [listening_ports(row, "127.66.0.2") for row in rows] == [{8080}, {8080}, set()]
    assert listening_ports(rows[2], "127.66.0.3") == {8080}


def test_run_reports_progress_and_returns_the_clients_report():
    seen = []
    lab = FakeLab(FakeProcess(0, MEMCASLAP, waits=3), listening=[11211])
    done = Memcached(connections=2).run(lab, 1.6, progress=seen.append)
    name, argv, user, _ = lab.started[0]
    assert (name, user) == ("c1", "nobody") and "--time=2s" in argv and "--servers=10.0.0.2:11211" in argv
    assert len(seen) == 2 and all(0 <= elapsed_s <= 2 for elapsed_s in seen)
    assert done.started_ns < done.ended_ns and done.metrics["ops"] == 228559
    assert done.parameters["duration_s"] == 2 and done.output == MEMCASLAP
    assert json.loads(json.dumps(done.describe()))["metrics"] == done.metrics


def test_output_of_a_failing_client_is_quoted():
    with pytest.raises(WorkloadError, match="code 3") as caught:
        Memcached().run(FakeLab(FakeProcess(3, "no route")), 1)
    assert caught.value.why == "no route"


def test_ended_server_is_an_error_although_the_client_succeeds():
    with pytest.raises(WorkloadError, match="memcached in c0 ended while the workload ran"):
        Memcached().run(FakeLab(FakeProcess(0, MEMCASLAP)), 1)


def test_client_that_hangs_is_stopped(monkeypatch):
    monkeypatch.setattr(processes, "_GRACE_S", -1.0)
    process = FakeProcess(0, "still here", waits=10**9)
    with pytest.raises(WorkloadError, match="did not end"):
        Iperf().run(FakeLab(process), 1)
    assert process.stopped.is_set()


def test_interrupted_client_is_stopped():
    process = FakeProcess(0, "", waits=10**9)

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Iperf().run(FakeLab(process), 1, progress=interrupt)
    assert process.stopped.is_set()


def test_prepare_waits_until_the_server_listens(monkeypatch):
    lab = FakeLab(FakeProcess(None, "", waits=10**9), listening=[11211])
    Memcached().prepare(lab)
    name, argv, user, service = lab.started[0]
    assert (name, argv[0], user, service) == ("c0", "memcached", "nobody", "tcp/11211")
    with pytest.raises(WorkloadError, match="ended with code 71") as caught:
        Memcached().prepare(FakeLab(FakeProcess(71, "cannot bind"), listening=[5201]))
    assert caught.value.why == "cannot bind"
    lab.taken = True
    with pytest.raises(WorkloadError, match="port 11211 already"):
        Memcached().prepare(lab)
    monkeypatch.setattr(processes, "_SERVER_DEADLINE_S", 0.0)
    with pytest.raises(WorkloadError, match="does not listen on port 5201"):
        Iperf().prepare(FakeLab(FakeProcess(None, "", waits=10**9)))


@dataclass(frozen=True)
class Echo(ClientServer):
    """A workload as a user writes one."""

    port: int = 7

    name = "echo"
    work = ("replies_per_s", "reply")

    @property
    def endpoint(self):
        return "udp", self.port

    def server_argv(self, address):
        return ["echo-server", address]

    def client_argv(self, address, duration_s, source=None):
        return ["echo-client", address, str(duration_s)]

    def parse(self, output):
        return {"replies_per_s": float(output), "load_s": 1.0}


def test_custom_workload_needs_commands_and_a_parser_only():
    load = Echo(client="c1")
    assert load.default_rule == "udp port 7" and load.containers == ("c0", "c1")
    assert load.describe() == {"name": "echo", "parameters": {"server": "c0", "client": "c1", "port": 7}}
    lab = FakeLab(FakeProcess(None, "", waits=10**9), FakeProcess(0, "42"), listening=[7])
    load.prepare(lab)
    done = load.run(lab, 3.4)
    assert [argv for _, argv, _, _ in lab.started] == [["echo-server", "10.0.0.2"], ["echo-client", "10.0.0.2", "3"]]
    assert done.metrics == {"replies_per_s": 42.0, "load_s": 1.0} and done.parameters["duration_s"] == 3
    with pytest.raises(WorkloadError, match="echo-server in c0 ended"):
        load.run(FakeLab(FakeProcess(0, "42")), 1)
