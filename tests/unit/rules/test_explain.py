"""Explanations of rules: points, containers, cost; and the commands that print them."""

import json
import sys

import pytest

from cmonlab import cli
from cmonlab.cli import rules as command
from cmonlab.errors import NotTraceable
from cmonlab.filters.pcapfilter import compile_expression, disassemble
from cmonlab.rules import ContainerFacts, Rule
from cmonlab.rules.budget import COST_NS
from cmonlab.rules.explain import explain

try:
    compile_expression("tcp")
except NotTraceable as error:
    pytest.skip(f"libpcap is not installed: {error.why}", allow_module_level=True)

WEB = ContainerFacts("web-1", "nginx", {}, ("mynet",), ("eth0",))
WAYS = {"net_dev_queue": 2, "kfree_skb": 0, "consume_skb": 1}


@pytest.fixture
def cmonlab(monkeypatch, capsys):
    """Return a function: arguments → exit code, standard output, standard error."""
    monkeypatch.setattr(cli, "_catch_signals", lambda: None)

    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cmonlab", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "web.yaml"
    path.write_text("""
- {name: web, match: {packets: tcp port 80, containers: {name: web-*}}, points: [path, drops]}
- {name: all, match: ''}
""")
    return path


@pytest.mark.parametrize("mode", ["capture", "aggregate", "count"])
@pytest.mark.parametrize("sample", [1, 0.25])
def test_cost_is_passes_times_cost_of_the_mode(mode, sample):
    explanation = explain(Rule(name="web", match="tcp", mode=mode, sample=sample, points=list(WAYS)))
    assert {point.name: point.passes for point in explanation.points} == WAYS
    each = COST_NS["unmatched"] + sample * (COST_NS[mode] - COST_NS["unmatched"])
    assert (explanation.matched_ns, explanation.unmatched_ns) == (pytest.approx(3 * each), 3 * COST_NS["unmatched"])


def test_missing_points_cost_nothing_and_are_reported():
    explanation = explain(Rule(name="web", match="tcp", points="path"), ["net_dev_queue"])
    there = {point.name for point in explanation.points if point.available}
    assert there == {"net_dev_queue"} and explanation.rule["points"] == ["net_dev_queue"] and not explanation.refused
    assert all(point.why for point in explanation.points if not point.available)
    assert explanation.matched_ns == 2 * COST_NS["capture"]


def test_missing_point_has_a_reason():
    rule = Rule(name="web", match="tcp", points=["sock_recv_length", "skb_consume_udp", "ip_rcv", "netif_rx"])
    lacking = {point.name: point.why for point in explain(rule, ["consume_skb"]).points}
    assert "Linux 6.3" in lacking["sock_recv_length"] and "cmonlab doctor" in lacking["ip_rcv"]
    assert lacking["netif_rx"] == "this kernel has no such tracepoint"
    replaced = explain(rule, ["sock_recv_length", "netif_rx", "ip_rcv"])
    assert "stands in for sock_recv_length" in {point.name: point.why for point in replaced.points}["skb_consume_udp"]
    assert "lacks the point skb_consume_udp" in replaced.refused


def test_custom_probe_is_one_pass():
    explanation = explain(Rule(name="web", match="tcp", points=["mine"]), ["mine"])
    assert [(point.name, point.available, point.passes) for point in explanation.points] == [("mine", True, 1)]


def test_matching_containers_are_listed():
    rule = Rule(name="web", match={"containers": {"name": "web-*"}, "direction": "in"})
    explanation = explain(rule, None, [WEB, ContainerFacts("db")])
    assert (
        explanation.containers == (WEB,) and explanation.containers_summary == "packets to 1 container that matches now"
    )
    assert explain(rule, None, []).containers_summary == "no running container matches now"
    unknown = explain(rule)
    assert unknown.containers is None and "no Docker engine answers" in unknown.containers_summary
    assert explain(Rule(name="web", match=""), None, [WEB]).containers is None
    assert "every network namespace" in explanation.devices and "unmatched" in explanation.devices


def test_filters_are_listed_as_libpcap_prints_them():
    program = compile_expression("tcp")
    lines = disassemble(program)
    assert len(lines) == len(program) and lines[0].split() == ["(000)", "ldb", "[0]"] and "ret" in lines[-1]


def test_check_command_accepts_valid_and_explains_invalid_rules(cmonlab, file):
    assert cmonlab("rules", "check", file) == (0, "ok: 2 rules\n", "")
    assert json.loads(cmonlab("rules", "check", file, "--json")[1]) == {"ok": True, "rules": ["web", "all"]}
    file.write_text("{name: web, match: tcp prot 80}")
    code, out, err = cmonlab("rules", "check", file)
    assert (code, out) == (1, "") and "rule 'web': the expression 'tcp prot 80' cannot be used" in err
    file.write_text("{name: web, match: tcp, points: pth}")
    assert "did you mean 'path'?" in cmonlab("rules", "check", file)[2]
    assert cmonlab("rules", "check", file.with_name("none"))[0] == 1


def test_explain_command_prints_points_containers_and_cost(cmonlab, file, monkeypatch):
    monkeypatch.setattr(command, "_available", lambda: ["net_dev_queue", "kfree_skb"])
    monkeypatch.setattr(command, "_containers", lambda: [WEB, ContainerFacts("db")])
    code, out, _ = cmonlab("rules", "explain", file)
    assert code == 0 and "(000)" not in out
    for text in (
        "rule web\n",
        "not available here: net_dev_start_xmit",
        "  web-1 (nginx): eth0",
        "an estimate",
        f"{2 * COST_NS['capture']} ns",
        "no selectors",
    ):
        assert text in out
    assert "(000) ldb" in cmonlab("rules", "explain", file, "--verbose")[1]
    output = json.loads(cmonlab("rules", "explain", file, "--json")[1])
    assert [rule["name"] for rule in output["rules"]] == ["web", "all"] and output["host_known"]
    assert [container["name"] for container in output["rules"][0]["containers"]] == ["web-1"]
    assert output["rules"][0].keys() >= {"standard", "containers_told", "points", "matched_ns"}  # what scripts read


def test_explain_command_works_on_an_unknown_host(cmonlab, file, monkeypatch):
    def refuse():
        raise NotTraceable("no BTF")

    monkeypatch.setattr("cmonlab.tracing.kernel.programs.available", refuse)
    monkeypatch.setattr(command, "_containers", lambda: None)
    code, out, err = cmonlab("rules", "explain", file)
    assert code == 0 and "no BTF, so its points are unknown" in err and "not available here" not in out
    assert "not known: no Docker engine answers" in out


def test_schema_command_prints_a_closed_json_schema(cmonlab):
    code, out, _ = cmonlab("rules", "schema")
    output = json.loads(out)
    assert code == 0 and {"Rule", "Match", "Containers", "RuleSet"} <= output["$defs"].keys()
    assert output["$defs"]["Rule"]["additionalProperties"] is False
