"""Rules as a form holds them, before they are valid: texts to YAML and back."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from cmonlab.rules import Rule

#: The form's fields, in the order of the file. Those of containers are lists of patterns or labels.
CONTAINERS = ("name", "image", "label", "network")
Draft = dict[str, Any]


def empty(name: str = "packets") -> Draft:
    """Return the draft of a rule that takes every IP packet."""
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
    """Return the draft that `written` makes this rule of."""
    told = rule.model_dump(mode="json")
    match, selected = told["match"], told["match"]["containers"] or {}
    draft = empty(rule.name) | {"packets": match["packets"], "direction": match["direction"]}
    draft |= {f"containers_{kind}": _joined(selected.get(kind) or ()) for kind in CONTAINERS}
    draft |= {"points": tuple(told["points"]), "mode": told["mode"], "by": told["by"] or ""}
    draft["sample"] = "100%" if told["sample"] == 1 else repr(told["sample"])
    for name in ("limit", "max_overhead", "duration"):
        draft[name] = "" if told[name] is None else str(told[name])
    return draft


def written(draft: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file says of a draft: what is left as it is by itself is left out."""
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
    # Texts as they are: what is wrong in them the model tells.
    texts = {name: draft[name].strip() for name in ("by", "limit", "max_overhead", "duration")}
    return rule | {name: text if name == "by" else _number(text) for name, text in texts.items() if text}


def to_yaml(drafts: Sequence[Mapping[str, Any]]) -> str:
    """Return the file of these drafts."""
    return yaml.safe_dump(
        {"rules": [written(draft) for draft in drafts]}, sort_keys=False, allow_unicode=True, width=100
    )


def _number(text: str) -> Any:
    """Return a number where the text is one; the model takes a whole one for a limit only so."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _listed(text: str) -> list[str]:
    """Return the entries of a line: parted by commas, in quotes where they hold one."""
    return [entry.strip() for entry in next(csv.reader([text], skipinitialspace=True), []) if entry.strip()]


def _joined(entries: Sequence[str]) -> str:
    """Return the line of some entries; see `_listed`."""
    quoted = ['"' + entry.replace('"', '""') + '"' if set(entry) & set(',"') else entry for entry in entries]
    return ", ".join(quoted)
