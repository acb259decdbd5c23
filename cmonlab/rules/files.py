"""Reader of files of rules, in YAML and JSON.

A file is untrusted input: any content gives valid rules or one RuleError, in bounded time and memory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from cmonlab.errors import RuleError

from .model import Rule, RuleSet
from .problems import nearest, short

MAX_BYTES = 1 << 18
_MAX_NODES = 8_000  # of a YAML document
_MAX_DEPTH = 20
_MAX_DIGITS = 64  # to convert a long sexagesimal number can take hours
_TEXT = "tag:yaml.org,2002:str"
_EXAMPLE = "for instance `rules: [{name: web, match: tcp port 80}]`; docs/rules.md has more"


class _Loader(yaml.SafeLoader):
    """YAML without aliases (a few bytes could expand to gigabytes), and without duplicate keys."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(
                problem="aliases (*name) are not allowed: write the value out", problem_mark=mark
            )
        self._nodes += 1
        self._depth += 1
        if self._nodes > _MAX_NODES or self._depth > _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="it is too large or too deep for rules", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            if key.tag != _TEXT:
                raise yaml.MarkedYAMLError(problem="a key must be text; quote it", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"the key {short(key.value)} occurs twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: Any) -> Any:
        if node.tag != _TEXT and len(node.value) > _MAX_DIGITS:
            raise yaml.MarkedYAMLError(problem="it is too long; quote it if it is text", problem_mark=node.start_mark)
        return super().construct_scalar(node)


# A name or a label may look like a date, which YAML would convert to an object.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_rules(path: str | Path) -> tuple[Rule, ...]:
    """Read a file of rules.

    Parameters
    ----------
    path : str or Path
        File in JSON if its name ends in ``.json``, else in YAML; UTF-8, at most 256 KiB. It contains
        ``rules: [...]``, a list of rules, or one rule.

    Returns
    -------
    tuple of Rule
        At least one rule, in the order of the file; no two have the same name.

    Raises
    ------
    RuleError
        The file cannot be read, or does not contain valid rules; the message names each rule and field.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = getattr(error, "strerror", None) or str(error)
        raise RuleError(f"{path} cannot be read", why=why, fix="name a file of rules") from error
    return parse_rules(content, source=str(path), is_json=Path(path).suffix == ".json")


def parse_rules(content: str | bytes, *, source: str = "the text", is_json: bool = False) -> tuple[Rule, ...]:
    """Read rules from text in the format of `load_rules`.

    Parameters
    ----------
    content : str or bytes
        The text; bytes are UTF-8.
    source : str
        Name of the text in error messages.
    is_json : bool
        Whether the text is JSON, else it is YAML.

    Returns
    -------
    tuple of Rule
        At least one rule, in the order of the text; no two have the same name.

    Raises
    ------
    RuleError
        The text does not contain valid rules.
    """
    if len(content) > MAX_BYTES:
        raise RuleError(f"{source} is too large for rules", why=f"it has over {MAX_BYTES} bytes", fix="split it")
    data = _data(content, source, is_json)
    try:
        return RuleSet(rules=_listed(data)).rules
    except RuleError as error:
        raise RuleError(f"{source}: {error.what}", why=error.why, fix=error.fix) from None


def schema() -> dict[str, Any]:
    """Return the JSON schema of a file of rules."""
    forms = TypeAdapter(RuleSet | list[Rule] | Rule).json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Rules of cmonlab", **forms}


def _data(content: str | bytes, source: str, is_json: bool) -> Any:
    kind = "JSON" if is_json else "YAML"
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        return _from_json(text) if is_json else yaml.load(text, Loader=_Loader)
    except UnicodeDecodeError as error:
        raise RuleError(
            f"{source} is not text", why=f"byte {error.start + 1} is not UTF-8", fix="save it as UTF-8"
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise RuleError(
            f"{source} is not {kind}", why=f"{at}{_line(error.problem or error.context or '')}", fix=_EXAMPLE
        ) from None
    except Exception as error:
        # Both libraries also raise ValueError, KeyError, IndexError and RecursionError.
        why = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        why += _line(str(error))
        raise RuleError(f"{source} is not {kind}", why=why, fix=_EXAMPLE) from error


def _line(text: str) -> str:
    """Return a library's message as one printable line; it may quote a long part of the document."""
    return " ".join(text[:200].encode("ascii", "backslashreplace").decode().split())


def _from_json(text: str) -> Any:
    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name, value in pairs:
            if name in fields:
                raise ValueError(f"the key {short(name)} occurs twice")
            fields[name] = value
        return fields

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not a number")

    return json.loads(text, object_pairs_hook=without_duplicates, parse_constant=refuse)


def _listed(data: Any) -> list[Any]:
    """Return the list of rules from any of a file's three forms; the model checks its content."""
    if not isinstance(data, dict):
        return data if isinstance(data, list) else [data]
    if "rules" not in data:
        return [data]
    others = [name for name in data if name != "rules"]
    if others:
        near = nearest(others[0], list(Rule.model_fields))
        fix = f"put {near!r} into a rule of the list" if near else "leave it out"
        raise RuleError(
            "the set of rules cannot be used", why=f"there is a field {short(others[0])} next to `rules`", fix=fix
        )
    if not isinstance(data["rules"], list):
        raise RuleError(
            "the set of rules cannot be used", why=f"`rules` must be a list, not {short(data['rules'])}", fix=_EXAMPLE
        )
    return data["rules"]
