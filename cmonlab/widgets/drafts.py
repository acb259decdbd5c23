"""Drafts of rules, as a form holds them before they are valid, and their YAML."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from cmonlab.rules import Rule

#: Selectors of containers; each is a list of patterns or labels.
CONTAINERS = ("name", "image", "label", "network")
#: Field of the form → its value, in the order of the file.
Draft = dict[str, Any]


def empty(name: str = "packets") -> Draft:
    """Return the draft of a rule that matches every IP packet."""
    selectors = {f"containers_{kind}": "" for kind in CONTAINERS}
    return {
        "name": name,
        "packets": "",
        **selectors,
        "direction": "both",
        "points": ("default",),
        "mode": "capture",
        "by": "",
        "sample": "100%",
        "limit": "",
        "max_overhead": "",
        "duration": "",
    }


def of_rule(rule: Rule) -> Draft:
    """Return the draft that `written` turns into this rule."""
    values = rule.model_dump(mode="json")
    match, selected = values["match"], values["match"]["containers"] or {}
    draft = empty(rule.name) | {"packets": match["packets"], "direction": match["direction"]}
    draft |= {f"containers_{kind}": _joined(selected.get(kind) or ()) for kind in CONTAINERS}
    draft |= {"points": tuple(values["points"]), "mode": values["mode"], "by": values["by"] or ""}
    draft["sample"] = "100%" if values["sample"] == 1 else repr(values["sample"])
    for name in ("limit", "max_overhead", "duration"):
        draft[name] = "" if values[name] is None else str(values[name])
    return draft


def written(draft: Mapping[str, Any]) -> dict[str, Any]:
    """Return a draft as a file has it, without the fields that have their default."""
    selected = {kind: _listed(draft[f"containers_{kind}"]) for kind in CONTAINERS}
    selected = {kind: values for kind, values in selected.items() if values}
    match: Any = draft["packets"]
    if selected or draft["direction"] != "both":
        match = {"packets": draft["packets"]}
        match |= {"containers": selected} if selected else {}
        match |= {"direction": draft["direction"]} if draft["direction"] != "both" else {}
    rule = {"name": draft["name"], "match": match}
    points = list(draft["points"])
    if points != ["default"]:
        rule["points"] = points
    if draft["mode"] != "capture":
        rule["mode"] = draft["mode"]
    if draft["sample"] != "100%":
        rule["sample"] = _number(draft["sample"])
    # Wrong texts are kept: the model of rules reports what is wrong with them.
    texts = {name: draft[name].strip() for name in ("by", "limit", "max_overhead", "duration")}
    return rule | {name: text if name == "by" else _number(text) for name, text in texts.items() if text}


def to_yaml(drafts: Sequence[Mapping[str, Any]]) -> str:
    """Return the YAML file with these drafts."""
    return yaml.safe_dump(
        {"rules": [written(draft) for draft in drafts]}, sort_keys=False, allow_unicode=True, width=100
    )


def _number(text: str) -> Any:
    """Return the number that a text is, or the text; the model of rules needs an int as limit."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _listed(text: str) -> list[str]:
    """Return the entries of a line: separated by commas; an entry with a comma is quoted."""
    return [entry.strip() for entry in next(csv.reader([text], skipinitialspace=True), []) if entry.strip()]


def _joined(entries: Sequence[str]) -> str:
    """Return entries as one line; the inverse of `_listed`."""
    quoted = ['"' + entry.replace('"', '""') + '"' if set(entry) & set(',"') else entry for entry in entries]
    return ", ".join(quoted)
