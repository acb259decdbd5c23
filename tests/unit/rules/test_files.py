"""Files of rules: all valid forms, and invalid content of any kind."""

import json
import time

import pytest

from cmonlab.errors import RuleError
from cmonlab.rules import load_rules, parse_rules
from cmonlab.rules.files import MAX_BYTES as LARGEST
from tests.support import ROOT

EXAMPLES = sorted((ROOT / "docs" / "examples").iterdir())
RULE = {"name": "web", "match": "tcp port 80"}


def refused(content, **options) -> RuleError:
    with pytest.raises(RuleError) as caught:
        parse_rules(content, **options)
    error = caught.value
    assert error.what and error.fix and len(str(error)) < 3000
    return error


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_valid(path):
    rules = load_rules(path)
    assert rules and path.name in (ROOT / "docs" / "rules.md").read_text()


@pytest.mark.parametrize("data", [{"rules": [RULE]}, [RULE], RULE], ids=["rules", "list", "one"])
def test_three_forms_of_a_file_are_equal_in_yaml_and_json(data, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(data))
    (tmp_path / "a.yaml").write_text(json.dumps(data))  # JSON is YAML, too
    assert (
        load_rules(tmp_path / "a.json")
        == load_rules(str(tmp_path / "a.yaml"))
        == parse_rules(json.dumps(data).encode())
    )


def test_date_stays_text_and_byte_order_mark_is_ignored():
    assert parse_rules("\ufeffname: 2001-01-01\nmatch: udp".encode())[0].name == "2001-01-01"


def test_message_names_file_rule_and_field(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("rules:\n- {name: web, match: udp}\n- {name: db, match: tcp, sampel: 1}\n")
    with pytest.raises(RuleError) as caught:
        load_rules(path)
    assert caught.value.what == f"{path}: rule 'db' cannot be used"
    assert caught.value.why == "sampel: there is no such field"
    assert "did you mean 'sample'?" in caught.value.fix


def test_one_message_reports_several_broken_rules():
    error = refused("- {name: a, match: 1}\n- {name: b, match: udp}\n- {match: udp}\n- 5", source="f")
    assert error.what == "f: rule 'a' and rule number 3 and rule number 4 cannot be used"
    assert "rule 'a': match: must be a mapping" in error.why and "rule number 3: name: is missing" in error.why


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "must be a mapping of fields, not None"),
        ("[]", "from 1 to 16 entries, not 0"),
        ("rules: web", "`rules` must be a list, not 'web'"),
        ("rules: []\nsample: 1", "there is a field 'sample' next to `rules`"),
        ("just text", "must be a mapping of fields, not 'just text'"),
        ("a: &x b\nc: *x", "line 2, column 4: aliases"),
        ("a: &a [b]\nb: &b [*a, *a]", "aliases"),
        ("name: web\nname: db\nmatch: udp", "line 2, column 1: the key 'name' occurs twice"),
        ("name: web\nmatch: {containers: {label: {1: a}}}", "a key must be text"),
        ("? [a, b]\n: c", "a key must be text"),
        ("<<: {name: web}\nmatch: udp", "a key must be text"),
        ("name: !!python/object/apply:os.system [id]", "could not determine a constructor"),
        ("name: !own web", "could not determine a constructor"),
        ("limit: !!int x", "invalid literal"),
        ("limit: !!bool x", "KeyError"),
        ("limit: " + "9" * 100, "too long"),
        ("limit: " + ":".join("1" * 100000), "too long"),
        ("a: b\n---\na: b", "but found another document"),
        ("a: [", "expected the node content"),
        ("a: \x07", "special characters are not allowed"),
        (b"\xff\xfe\x00", "byte 1 is not UTF-8"),
        ("[" * 10000, "too large or too deep"),
        ("? " * 10000, "too large or too deep"),
    ],
)
def test_invalid_yaml_is_refused(content, problem):
    assert problem in refused(content).why


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "Expecting value"),
        ('{"name": "web", "name": "db"}', "the key 'name' occurs twice"),
        ('{"sample": NaN}', "NaN is not a number"),
        ('{"limit": -Infinity}', "-Infinity is not a number"),
        ('{"name": "web", "match": "udp", "sample": 1e999}', "sample: "),
        ('{"limit": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ('{"name": "web", "match": "\\ud800"}', "match.packets: "),
        ("[" * 100000, "RecursionError"),
        ('{"name": "web", "match": "udp"} x', "Extra data"),
    ],
)
def test_invalid_json_is_refused(content, problem):
    assert problem in refused(content, is_json=True).why


LARGE = {
    "comment": "#" * LARGEST,
    "flow": "[" + "a," * (LARGEST // 2 - 1) + "]",
    "block": "- a\n" * (LARGEST // 4),
    "plain": "a\n" * (LARGEST // 2),
    "lines": "\n" * LARGEST,
    "tag": "!" * LARGEST,
    "keys": "{" + "".join(f"k{number}: 1," for number in range(20000)) + "}",
    "escapes": '"' + "\\x41" * (LARGEST // 4 - 1) + '"',
    "colons": ":" * LARGEST,
}


@pytest.mark.parametrize("content", LARGE.values(), ids=LARGE)
def test_largest_yaml_is_refused_in_time(content):
    began = time.process_time()
    assert len(content) <= LARGEST
    refused(content)
    assert time.process_time() - began < 5  # some ten times what it takes


@pytest.mark.parametrize(
    "content",
    [
        "[" + "1," * (LARGEST // 2 - 2) + "1]",
        '{"rules": [' + "{}," * 80000 + "{}]}",
        "{" + ",".join(f'"{n}": 1' for n in range(20000)) + "}",
    ],
    ids=["values", "rules", "fields"],
)
def test_largest_json_is_refused_in_time(content):
    began = time.process_time()
    assert len(content) <= LARGEST
    refused(content, is_json=True)
    assert time.process_time() - began < 5


def test_unreadable_file_is_refused(tmp_path):
    for path, problem in [(tmp_path / "none", "No such file"), (tmp_path, "Is a directory"), ("a\0b", "null byte")]:
        with pytest.raises(RuleError) as caught:
            load_rules(path)
        assert "cannot be read" in caught.value.what and problem in caught.value.why
    with pytest.raises(RuleError, match="too large"):
        load_rules("/dev/zero")
