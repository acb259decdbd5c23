"""Files of rules with random changes give valid rules, or one error that says what is wrong and how to fix it."""

import json
import time

import pytest
import yaml

from cmonlab.errors import CmonlabError, NotTraceable
from cmonlab.filters.pcapfilter import MAX_INSTRUCTIONS, compile_expression
from cmonlab.points.catalogue import BY_NAME
from cmonlab.rules import MAX_RULES, ContainerFacts, Rule, RuleSet, compile_rules, parse_rules, selects

pytest.importorskip("hypothesis", reason="hypothesis is not installed")
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import ROOT

try:
    compile_expression("tcp")
except NotTraceable as error:
    pytest.skip(f"libpcap is not installed: {error.why}", allow_module_level=True)

POINTS = list(BY_NAME)
WEB = ContainerFacts("web-1", "nginx:1.27", {"tier": "front"}, ("mynet",))
EXAMPLES = [path.read_text() for path in sorted((ROOT / "docs" / "examples").iterdir())]
DATA = [yaml.safe_load(text) for text in EXAMPLES]
TEXTS = [*EXAMPLES, *(json.dumps(data) for data in DATA), *(yaml.safe_dump(data) for data in DATA)]

FIELDS = [*Rule.model_fields, "rules", "packets", "containers", "direction", "image", "label", "network", "sampel"]
VALUES = [
    "capture",
    "aggregate",
    "count",
    "pair",
    "flow",
    "in",
    "out",
    "both",
    "all",
    "default",
    "path",
    "sched",
    "drops",
    "kfree_skb",
    "10%",
    "0%",
    "9ns",
    "30s",
    "5min",
    "2h",
    "9" * 400,
    "1e999",
    "2001-01-01",
]
YAML = [
    "&a ",
    "*a",
    "!!int ",
    "!!python/name:os.system ",
    "!!binary ",
    "!!set ",
    "<<: ",
    "---\n",
    "...\n",
    "? ",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "|\n",
    ">-\n",
    "#",
    "%YAML 9.9\n",
    "'",
    '"',
    "\t",
    "\n",
    "  ",
    "\\",
    "null",
    "yes",
    "~",
    "1:30:00",
    "0o17",
    "0x1F",
    "1e3",
    ".nan",
    "-.inf",
    "-0",
]
PRIMITIVES = [
    "tcp",
    "udp port 53",
    "ip",
    "ip6",
    "host ::1",
    "net 10.0.0.0/8",
    "portrange 5-9",
    "proto \\tcp",
    "tcp[tcpflags] & tcp-syn != 0",
    "ip[len - 1] = ip[ip[0]]",
    "ip[0:4] > 0xffffffff",
    "icmp6[icmp6type] = 128",
    "less 90",
    "1 = 1",
    "ip multicast",
]
PCAP = [
    "not ",
    " and ",
    " or ",
    "((((",
    "))",
    "ip[",
    "]",
    "portrange 1-",
    "net 10.0.0.0/33",
    "host db1",
    "port http",
    "len / 0 = 1",
    "vlan 1",
    "gateway x",
    "protochain 6",
    "ip6[6] << 99 > 1",
    "!" * 50,
    "(tcp or " * 90,
    "0" * 60,
    "- - - 1",
    "src",
    "ip6 host",
    "1",
    "0xffffffff",
    "+",
    "*",
    "&",
    "%",
    ">> 32",
    "<",
    "\n",
]
ODD = ["\x00", "\x85", "\u2028", "\ufeff", "\ud800", "é", "🦊", "\u202e", "a" * 300, "{}" * 20, "[" * 60, "%s%n{0}"]
TOKENS = st.one_of(
    *(st.sampled_from(words) for words in (FIELDS, VALUES, YAML, PRIMITIVES, PCAP, ODD)), st.text(max_size=4)
)


@st.composite
def mutated_texts(draw):
    """A valid file in which bytes, tokens and lines are cut, copied, moved and replaced."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        until = min(len(text), at + draw(st.sampled_from([0, 0, 1, 1, 3, 10, 40])))
        how = draw(st.sampled_from(["put", "put", "copy", "lines", "words"]))
        if how == "put":  # deletes where the token is empty
            text = text[:at] + draw(TOKENS) + text[until:]
        elif how == "copy":
            there = draw(st.integers(0, len(text)))
            text = text[:there] + text[at:until] * draw(st.sampled_from([1, 2, 30])) + text[there:]
        else:
            parts = text.split("\n" if how == "lines" else " ")
            one, other = draw(st.integers(0, len(parts) - 1)), draw(st.integers(0, len(parts) - 1))
            parts[one] = parts[other] if draw(st.booleans()) else draw(TOKENS)
            text = ("\n" if how == "lines" else " ").join(parts)
    return text


LEAVES = st.one_of(
    TOKENS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from([10**300, -(10**30), 2**32, 0, 1e-320]),
)
NESTS = st.recursive(
    LEAVES, lambda inside: st.lists(inside, max_size=4) | st.dictionaries(TOKENS, inside, max_size=3), max_leaves=8
)


@st.composite
def mutated_data(draw):
    """A valid structure in which a value, a key or an entry is replaced, added or taken out."""
    data = json.loads(json.dumps(draw(st.sampled_from(DATA))))
    for _ in range(draw(st.integers(1, 3))):
        node = data
        while isinstance(node, dict | list) and node:
            keys = list(node) if isinstance(node, dict) else range(len(node))
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and node[key] and draw(st.integers(0, 4)):
                node = node[key]
                continue
            how = draw(st.sampled_from(["replace", "replace", "add", "remove", "deep"]))
            if how == "remove":
                del node[key]
            elif how == "add":
                value = draw(NESTS)
                node.append(value) if isinstance(node, list) else node.update({draw(TOKENS): value})
            else:
                node[key] = draw(NESTS)
                for _ in range(draw(st.sampled_from([3, 30, 150])) if how == "deep" else 0):
                    node[key] = [node[key]]
            break
    return data


def judge(make) -> bool:
    """Check the resulting rules or error, and that it took little time; return whether there were rules."""
    began = time.process_time()
    try:
        return _judge(make)
    finally:
        assert time.process_time() - began < 2  # CPU time, so that a busy machine is no failure


def _judge(make) -> bool:
    try:
        rules = make()
        plans = compile_rules(rules, POINTS)
    except CmonlabError as error:
        assert error.what and error.fix, error
        assert len(str(error)) < 4000
        str(error).encode()  # it can be printed
        return False
    assert 1 <= len(rules) <= MAX_RULES and len({rule.name for rule in rules}) == len(rules)
    for rule, plan in zip(rules, plans, strict=True):
        assert rule.name == plan.name and plan.points and set(plan.points) <= set(POINTS)
        assert 1 <= len(plan.filter) <= MAX_INSTRUCTIONS and 0 <= plan.sample < 2**32 and plan.limit >= 0
        assert plan.duration_s is None or plan.duration_s > 0
        assert selects(rule, WEB) in (True, False) and (plan.selected or selects(rule, WEB))
    assert RuleSet(**json.loads(RuleSet(rules=rules).model_dump_json())).rules == tuple(rules)
    return True


@settings(max_examples=800, suppress_health_check=list(HealthCheck))
@given(mutated_texts(), st.booleans())
def test_mutated_text_gives_rules_or_one_error(text, is_json):
    judge(lambda: parse_rules(text, is_json=is_json))


@settings(max_examples=200, suppress_health_check=list(HealthCheck))
@given(mutated_texts(), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4), st.booleans())
def test_mutated_bytes_give_rules_or_one_error(text, flips, is_json):
    content = bytearray(text.encode("utf-8", "surrogatepass") or b" ")
    for at, byte in flips:
        content[at % len(content) : at % len(content) + 1] = bytes([byte])
    judge(lambda: parse_rules(bytes(content), is_json=is_json))


@settings(max_examples=600, suppress_health_check=list(HealthCheck))
@given(mutated_data(), st.sampled_from(["json", "yaml", "python"]))
def test_mutated_structure_gives_rules_or_one_error(data, way):
    if way == "json":
        judge(lambda: parse_rules(json.dumps(data), is_json=True))
    elif way == "yaml":
        judge(lambda: parse_rules(yaml.dump(data, allow_unicode=True)))
    else:
        listed = data.get("rules", [data]) if isinstance(data, dict) else data
        fields = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        judge(lambda: RuleSet(rules=[Rule(**one) for one in fields]).rules)


EXPRESSIONS = st.recursive(
    st.sampled_from(PRIMITIVES),
    lambda inside: st.tuples(inside, st.sampled_from([" and ", " or ", " or ", " and not "]), inside).map(
        "({0[0]}{0[1]}{0[2]})".format
    ),
    max_leaves=30,
)


@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(EXPRESSIONS, st.integers(0, 300), st.sampled_from([0, 0, 1, 5, 20]), st.sampled_from([*PCAP, "", ""]))
def test_mutated_expression_gives_rules_or_one_error(expression, at, cut, put):
    judge(lambda: [Rule.from_expression(expression[:at] + put + expression[at + cut :])])


def test_unmutated_examples_are_valid():
    assert all(judge(lambda text=text: parse_rules(text)) for text in TEXTS)
    assert all(judge(lambda data=data: parse_rules(json.dumps(data), is_json=True)) for data in DATA)
