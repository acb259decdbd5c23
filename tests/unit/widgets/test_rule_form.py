"""The form for rules: it writes the YAML that a user would write by hand."""

import pytest

from cmonlab.rules import Rule, load_rules, parse_rules
from cmonlab.widgets import drafts
from cmonlab.widgets.form import rule_form

RULES = [
    Rule(name="web", match="tcp port 80"),
    Rule(name="all", match=""),
    Rule(
        name="some",
        match={
            "packets": "udp",
            "containers": {"name": ["web-*", "db"], "label": {"tier": "front, back", "x": None}},
            "direction": "in",
        },
        points=["path", "drops"],
        mode="aggregate",
        by="flow",
        sample="12.5%",
        max_overhead="800ns",
        duration="5min",
    ),
    Rule(name="some-2", match={"packets": "", "containers": {"image": "nginx*", "network": 'my "net"'}}, mode="count"),
    Rule(name="most", match="icmp", points="default", limit=1000, sample=0.1, max_overhead="3%", duration=90),
    Rule(name="pair", match="ip6", mode="aggregate", by="pair", points=["net_dev_queue", "mine"]),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_form_writes_the_rule_that_it_shows(rule, tmp_path):
    form = rule_form()
    form.show(rule)
    assert form.error is None and form.rules == [rule]
    form.save(tmp_path / "rules.yaml")
    assert load_rules(tmp_path / "rules.yaml") == (rule,)
    again = rule_form()
    again.load(tmp_path / "rules.yaml")
    assert again.rules == [rule] and again.yaml.value == form.yaml.value


def test_fields_change_the_yaml():
    form = rule_form()
    fields = form.fields
    fields["name"].value, fields["packets"].value = "web", "tcp port 80"
    fields["mode"].value, fields["by"].value, fields["sample"].value = "aggregate", "flow", "10%"
    fields["containers_name"].value, fields["direction"].value = "web-*, db", "out"
    fields["points"].value = ("path", "drops")
    assert form.yaml.value == (
        "rules:\n- name: web\n  match:\n    packets: tcp port 80\n    containers:\n      name:\n      - web-*\n"
        "      - db\n    direction: out\n  points:\n  - path\n  - drops\n  mode: aggregate\n  sample: 10%\n  by: flow\n"
    )
    assert form.rules == list(parse_rules(form.yaml.value)) and form.rules[0].sample == 0.1


def test_edited_yaml_fills_the_fields():
    form = rule_form()
    form.yaml.value = "name: web\nmatch: {packets: tcp port 80, containers: {label: {tier: front}}}\nlimit: 5000\n"
    assert form.error is None
    assert form.fields["packets"].value == "tcp port 80" and form.fields["limit"].value == "5000"
    assert form.fields["containers_label"].value == "tier=front"
    assert form.rules == [
        Rule(name="web", match={"packets": "tcp port 80", "containers": {"label": "tier=front"}}, limit=5000)
    ]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "No!", "name"),
        ("sample", "200%", "sample"),
        ("limit", "many", "limit"),
        ("duration", "soon", "duration"),
        ("by", "flow", "mode aggregate"),
        ("direction", "in", "containers"),
        ("max_overhead", "little", "max_overhead"),
    ],
)
def test_the_form_reports_what_is_wrong(field, value, message, tmp_path):
    applied = []
    form = rule_form(on_apply=applied.append)
    form.fields[field].value = value
    assert message in str(form.error) and message in form.message.value
    form._apply.click()
    form._path.value = str(tmp_path / "bad.yaml")
    form._save.click()
    assert not applied and not (tmp_path / "bad.yaml").exists()
    form.fields[field].value = drafts.empty()[field]
    assert form.error is None
    form._apply.click()
    assert [[rule.name for rule in rules] for rules in applied] == [["packets"]]


def test_wrong_yaml_stays_to_be_corrected_and_fields_do_not_change():
    form = rule_form()
    form.yaml.value = "name: [web"
    assert "not YAML" in str(form.error) and form.yaml.value == "name: [web"
    assert form.fields["name"].value == "packets"
    form.yaml.value = "name: web\nmatch: ''\n"
    assert form.error is None and form.fields["name"].value == "web"


def test_the_form_edits_several_rules(tmp_path):
    form = rule_form()
    form.show(RULES, chosen="some")
    assert form.fields["name"].value == "some"
    form._which.value = 0
    form.fields["packets"].value = "tcp port 81"
    assert [rule.name for rule in form.rules] == [rule.name for rule in RULES]
    assert form.rules[0].match.packets == "tcp port 81" and form.rules[1:] == RULES[1:]
    form._add.click()
    assert len(form.rules) == len(RULES) + 1 and form.fields["name"].value == "rule1"
    form._drop.click()
    assert len(form.rules) == len(RULES)


def test_a_missing_file_is_reported():
    form = rule_form()
    form._path.value = "/nowhere/rules.yaml"
    form._load.click()
    assert "cannot be read" in form.message.value
    form._save.click()
    assert "cannot be written" in form.message.value


def test_fields_of_the_form_are_those_of_the_rule_model():
    assert set(drafts.written(drafts.empty())) <= set(Rule.model_fields)
    every = {name.partition("_")[0] if name.startswith("containers") else name for name in drafts.empty()}
    assert every == (set(Rule.model_fields) - {"match"}) | {"packets", "containers", "direction"}
