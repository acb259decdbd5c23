"""The kernel's verifier takes every rule that cmonlab accepts."""

import pytest

from cmonlab.errors import RuleError
from cmonlab.filters.pcapfilter import MAX_INSTRUCTIONS, compile_expression
from cmonlab.filters.translate import match_program
from cmonlab.points.catalogue import BY_NAME
from cmonlab.tracing.kernel import programs
from cmonlab.tracing.tracer import Tracer

pytestmark = pytest.mark.kernel

PLAIN = [
    "udp port 5201",
    "host 10.0.0.1 and tcp",
    "ip6 and udp",
    "icmp or icmp6",
    "net 172.16.0.0/12 and not port 22",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "udp[8:4] = 0x01020304",
    "ip[2:2] > 576",
    "portrange 5000-6000",
    "(tcp port 80 or tcp port 443) and host 10.1.1.1",
    "ip proto 47",
    "greater 1000",
    "less 100",
    "ip6 host fe80::1",
]

RULES = [
    "",
    "tcp port 11211",
    " or ".join(f"({rule})" for rule in PLAIN),
    "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
    # not aligned, at the edge of the window, beyond it
    "ip[3:4] = 5 and ip[7:2] = 6 and ip[60:4] = 1 and ip[62:2] = 2 and ip[63] = 3",
    "ip[61:4] = 1 and ip[63:2] = 2 and ip[64] = 3 and (udp[9:4] = 1 or tcp[21:2] = 2)",
    # at offsets that nothing bounds
    "ip[ip[8:4]:4] = ip[ip[12:4]:2]",
    "ip[12:4] / ip[16:4] + ip[0] % ip[8] << ip[9] >> 3 = ip[ip[2:2] * 4]",
    " or ".join(f"udp[{at}:4] = {at}" for at in range(100, 140)),
]


@pytest.fixture(scope="module")
def tracer():
    with Tracer() as tracer:
        yield tracer


def plan(rule, *points):
    return programs.trial([BY_NAME[name] for name in points or ("net_dev_queue", "tcp_probe")], rule)


@pytest.mark.parametrize("rule", RULES)
def test_verifier_accepts(tracer, rule):
    """In both forms: on a packet in the kernel, and on a header made for a socket."""
    tracer.active.try_load(plan(rule))


@pytest.mark.parametrize("term", ["tcp[{0}:4] = {1}", "(host 10.0.0.{1} and port {0})"])
def test_verifier_accepts_the_longest_rules(tracer, term):
    rule, longer = "", "tcp"
    count = 0
    while longer:
        rule, count = longer, count + 1
        longer = f"{rule} or {term.format(count, count + 2)}" if rule != "tcp" else term.format(1, 3)
        try:
            compile_expression(longer)
        except RuleError:
            longer = ""
    assert len(compile_expression(rule)) > MAX_INSTRUCTIONS * 3 // 4
    tracer.active.try_load(plan(rule))


def test_loads_within_the_window_call_no_helper():
    """At fixed offsets they are plain loads, and few instructions."""
    calls, sizes = {}, {}
    for rule in ("", "ip proto 47", "ip[12:4] = 1 and ip[16:4] = 2"):
        code = match_program([(0, compile_expression(rule))])
        calls[rule] = sum(code[at] == 0x85 for at in range(0, len(code), 8))
        sizes[rule] = len(code) // 8
    assert set(calls.values()) == {0}, calls
    assert sizes["ip proto 47"] - sizes[""] < 20, sizes
    far = match_program([(0, compile_expression("ip[100:4] = 1"))])
    assert sum(far[at] == 0x85 for at in range(0, len(far), 8)) == 1
