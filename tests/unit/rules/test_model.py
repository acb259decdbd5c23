"""Model of a rule: valid and invalid fields, and the messages of errors."""

import re

import pytest

from cmonlab.errors import RuleError
from cmonlab.rules import MAX_RULES, Containers, Match, Rule, RuleSet, parse_rules
from cmonlab.rules.files import schema
from tests.support import ROOT

PAGE = (ROOT / "docs" / "rules.md").read_text()


def refused(**fields) -> RuleError:
    with pytest.raises(RuleError) as caught:
        Rule(**{"name": "web", "match": "tcp"} | fields)
    return caught.value


def test_short_form_of_match_equals_the_long_one():
    assert Rule(name="web", match="tcp port 80") == Rule(name="web", match={"packets": "tcp port 80"})
    assert Rule(name="web", match="udp") == Rule.from_expression("udp", name="web")
    assert Rule.from_expression("udp", mode="count").mode == "count"


def test_rule_has_defaults():
    rule = Rule(name="web", match="")
    assert (rule.points, rule.mode, rule.by, rule.sample) == (("default",), "capture", None, 1.0)
    assert (rule.limit, rule.duration, rule.match.direction, rule.match.containers) == (None, None, "both", None)


@pytest.mark.parametrize(
    ("given", "share"), [(0.1, 0.1), (1, 1.0), ("10%", 0.1), ("2.5 %", 0.025), ("1e-3", 1e-3), (".5", 0.5)]
)
def test_sample_takes_numbers_and_percentages(given, share):
    assert Rule(name="web", match="", sample=given).sample == pytest.approx(share)


@pytest.mark.parametrize(
    "given", [0, -0.1, 1.1, "110%", True, "some", float("nan"), float("inf"), 10**400, [0.1], "9" * 5000]
)
def test_sample_out_of_range_is_refused(given):
    error = refused(sample=given)
    assert error.what == "rule 'web' cannot be used" and error.why.startswith("sample: ")
    assert "`sample: 10%`" in error.fix


@pytest.mark.parametrize(
    ("given", "seconds"), [(30, 30.0), ("30s", 30.0), ("5min", 300.0), ("2h", 7200.0), ("1.5 h", 5400.0), ("7", 7.0)]
)
def test_duration_takes_seconds_and_units(given, seconds):
    assert Rule(name="web", match="", duration=given).duration == seconds


@pytest.mark.parametrize(
    "given", [0, -1, "5m", "none", "1h30min", True, float("inf"), 10**400, "9" * 13, 366 * 86400 + 1]
)
def test_invalid_duration_is_refused(given):
    assert refused(duration=given).why.startswith("duration: ")


@pytest.mark.parametrize("given", [0, -5, True, 1.5, "50k", 10**10, 10**400])
def test_invalid_limit_is_refused(given):
    assert refused(limit=given).why.startswith("limit: ")


def test_number_too_long_to_print_is_refused():
    assert "a value too large to show" in refused(limit=10**5000, sample=10**5000).why


@pytest.mark.parametrize("name", ["", "Web", "-a", "a b", "a\n", "ä", "a" * 64, 5, None, "w\ud800"])
def test_invalid_name_is_refused(name):
    error = refused(name=name)
    assert "name: " in error.why and "`name: web`" in error.fix
    error.args[0].encode()  # the message can be printed for any input


def test_one_message_reports_all_violations():
    error = refused(sampel=0.1, mode="captur", match={"packets": "tcp", "containers": {"nmae": "a"}, "direction": "up"})
    for word in (
        "sampel: there is no such field",
        "mode: must be",
        "match.containers.nmae: ",
        "match.direction: must be",
    ):
        assert word in error.why
    for hint in ("'sample'", "'capture'", "'name'"):
        assert f"did you mean {hint}?" in error.fix


def test_message_of_many_violations_is_cut():
    error = refused(**{f"x{number}": 1 for number in range(100)})
    assert error.why.endswith("and 92 more") and len(str(error)) < 1500


@pytest.mark.parametrize(
    ("fields", "problem", "remedy"),
    [
        ({"by": "flow"}, "`by` belongs to mode aggregate", "leave it out"),
        ({"mode": "count", "by": "pair"}, "`by` belongs to mode aggregate", "leave it out"),
        ({"mode": "aggregate", "limit": 5}, "mode aggregate records none", "use `sample`"),
        ({"match": {"direction": "in"}}, "direction 'in' is as seen from containers", "select some"),
        ({"match": {"containers": {}}}, "it has no selector", "give name, image, label or network"),
        ({"match": {"containers": {"name": []}}}, "must have from 1 to 64 entries", "name: web-*"),
        ({"match": {"containers": {"name": ["a"] * 65}}}, "must have from 1 to 64 entries", "name: web-*"),
        ({"match": {"containers": {"label": {"version": 1.1}}}}, "label 'version' must be text", "quotes"),
        ({"match": {"containers": {"label": {"a=b": "c"}}}}, "'a=b' contains '='", "key=value"),
        ({"match": {"containers": {"label": "=x"}}}, "match.containers.label[0]: must match", "tier=front"),
        ({"match": {"containers": {"image": [1.10]}}}, "must be text, not 1.1", "quotes"),
        ({"match": "x" * 2001}, "at most 2000 characters", "tcp port 80"),
        ({"match": 80}, "must be a mapping of fields, not 80", "tcp port 80"),
        ({"points": []}, "must have from 1 to 128 entries", "points: default"),
        ({"points": "no spaces"}, "points[0]: must match", "points: default"),
    ],
)
def test_refusal_says_problem_and_fix(fields, problem, remedy):
    error = refused(**fields)
    assert problem in error.why and remedy in error.fix


def test_labels_have_three_equal_forms():
    as_list = Containers(label=["tier=front", "canary"])
    assert as_list == Containers(label={"tier": "front", "canary": None})
    assert Containers(label="canary").label == ("canary",)


def test_parts_of_a_rule_raise_rule_errors():
    with pytest.raises(RuleError, match="match cannot be used"):
        Match(packet="tcp")
    with pytest.raises(RuleError, match="containers cannot be used"):
        Containers()


def test_dumped_rule_is_read_back_equal():
    rule = Rule(
        name="web",
        match=Match(packets="tcp", containers=Containers(name=["a*"], label={"x": None}), direction="out"),
        points=["path", "kfree_skb"],
        mode="aggregate",
        by="flow",
        sample=0.3,
        duration="1h",
    )
    for mode in ("python", "json"):
        assert Rule(**rule.model_dump(mode=mode)) == rule
        assert Rule(**rule.model_dump(mode=mode, exclude_none=True)) == rule
    assert hash(rule) == hash(Rule(**rule.model_dump()))


def test_rule_set_limits_number_and_names():
    rules = [Rule(name=f"r{number}", match="") for number in range(MAX_RULES + 1)]
    assert len(RuleSet(rules=rules[:-1]).rules) == MAX_RULES
    with pytest.raises(RuleError, match="from 1 to 16 entries, not 17"):
        RuleSet(rules=rules)
    with pytest.raises(RuleError, match="more than one rule has the name 'r0'"):
        RuleSet(rules=[rules[0], rules[0]])


def test_number_of_rules_equals_bits_of_a_record():
    field = re.search(r"u(\d+) rules;", (ROOT / "bpf" / "records.h").read_text())
    assert int(field[1]) == MAX_RULES


def test_every_field_is_described_in_schema_and_page():
    definitions = schema()["$defs"]
    for model in (Rule, Match, Containers):
        described = definitions[model.__name__]["properties"]
        assert described.keys() == model.model_fields.keys()
        for name, field in described.items():
            assert field["description"] and field["examples"], name
            assert f"| `{name}` |" in PAGE, name


def test_examples_in_the_schema_are_valid():
    for name, field in Rule.model_fields.items():
        for example in field.examples:
            Rule(**{"name": "web", "match": "tcp"} | ({"mode": "aggregate"} if name == "by" else {}) | {name: example})
    for name, field in Containers.model_fields.items():
        assert all(Containers(**{name: example}) for example in field.examples)


def test_examples_on_the_page_are_valid():
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    assert [rule.name for block in blocks for rule in parse_rules(block)] == ["web"]
    scope = {}
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    exec(code.replace('load_rules("web.yaml")', f'load_rules("{ROOT}/docs/examples/web.yaml")'), scope)
    assert scope["cm"].Rule is Rule
