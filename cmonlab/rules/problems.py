"""Conversion of pydantic's list of violations to one RuleError."""

from __future__ import annotations

import difflib
import json
import typing
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from pydantic import BaseModel, ValidationError

from cmonlab.errors import RuleError

_MAX_VIOLATIONS = 8  # in one message
_MAX_CHARACTERS = 40  # of a wrong value
QUOTE = "put numbers, dates, yes and no in quotes to make them text"
_SCHEMA = "`cmonlab rules schema` prints every field"


def rule_error(error: ValidationError, model: type[BaseModel], data: Mapping[str, Any]) -> RuleError:
    """Return one error that reports all violations.

    Parameters
    ----------
    error : ValidationError
        Error that pydantic raised for `data`.
    model : type
        Model that `data` was validated against.
    data : mapping
        Fields as they were given.
    """
    problems: dict[str, list[str]] = {}
    hints: dict[str, None] = {}
    examples: dict[str, None] = {}
    violations = error.errors(include_url=False)
    for violation in violations[:_MAX_VIOLATIONS]:
        owner, at = _owner(violation["loc"], model, data)
        problems.setdefault(owner, []).append(f"{_path(at)}{_problem(violation)}")
        hint, example = _fix(violation, model)
        hints |= dict.fromkeys(hint)
        examples |= dict.fromkeys(example)
    lines = [f"{owner}: {line}" if len(problems) > 1 else line for owner, lines in problems.items() for line in lines]
    lines += [f"and {len(violations) - _MAX_VIOLATIONS} more"] * (len(violations) > _MAX_VIOLATIONS)
    fixes = [*hints, *([f"for instance {', '.join(examples)}"] if examples else []), _SCHEMA]
    return RuleError(f"{' and '.join(problems)} cannot be used", why="; ".join(lines), fix="; ".join(fixes))


def short(value: object) -> str:
    """Return a value for a message: escaped, on one line, and cut to a readable length."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):  # an integer with thousands of digits, or deep nesting
        return "a value too large to show"
    return text if len(text) <= _MAX_CHARACTERS else f"{text[:_MAX_CHARACTERS]} …"


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the known name that is most similar to a name; empty if none is similar.

    Parameters
    ----------
    name : str
        Name as the user wrote it.
    known : sequence of str
        Valid names.
    """
    near = difflib.get_close_matches(name[:_MAX_CHARACTERS].lower(), known, n=1, cutoff=0.5)
    return near[0] if near else ""


def _owner(
    at: tuple[str | int, ...], model: type[BaseModel], data: Mapping[str, Any]
) -> tuple[str, tuple[str | int, ...]]:
    """Return the name of the part (a rule, or the set) that a violation is in, and its location in that part."""
    if "rules" in model.model_fields:
        if len(at) < 2:
            return "the set of rules", at
        number = int(at[1])
        rule = data["rules"][number]
        name = rule.get("name") if isinstance(rule, Mapping) else None
        return f"rule {short(name)}" if isinstance(name, str) else f"rule number {number + 1}", at[2:]
    name = data.get("name")
    kind = model.__name__.lower()
    return f"{kind} {short(name)}" if kind == "rule" and isinstance(name, str) else kind, at


def _path(at: tuple[str | int, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_cut(part)}" for part in at).lstrip(".")
    return f"{text}: " if text else ""


def _cut(part: str) -> str:
    return part if part.isidentifier() and len(part) <= _MAX_CHARACTERS else short(part)


def _problem(violation: Any) -> str:
    """Return what is wrong; pydantic's message is replaced where it uses terms of programming."""
    kind, value = violation["type"], violation["input"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "there is no such field"
    if kind == "value_error":
        return str(violation["ctx"]["error"].args[0])
    if kind == "string_type":
        return f"must be text, not {short(value)}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return f"must be a mapping of fields, not {short(value)}"
    if kind == "string_pattern_mismatch":
        return f"must match {violation['ctx']['pattern']}, not {short(value)}"
    return f"{violation['msg'].replace('Input should', 'must')}, not {short(value)}"


def _fix(violation: Any, model: type[BaseModel]) -> tuple[list[str], list[str]]:
    """Return how to fix a violation: hints, and examples."""
    kind, value = violation["type"], violation["input"]
    at = [part for part in violation["loc"] if isinstance(part, str)]
    for part in at[:-1]:
        field = model.model_fields.get(part)
        model = (_model_in(field.annotation) if field else None) or model
    if kind == "value_error" and len(violation["ctx"]["error"].args) > 1:
        return [violation["ctx"]["error"].args[1]], []
    if kind == "extra_forbidden":
        near = nearest(at[-1], list(model.model_fields))
        return [f"did you mean {near!r}?" if near else f"known fields: {', '.join(model.model_fields)}"], []
    field = model.model_fields.get(at[-1]) if at else None
    if field is None:
        return [], []
    near = nearest(value, _literals(field.annotation)) if isinstance(value, str) else ""
    if near:
        return [f"did you mean {near!r}?"], []
    quote = [QUOTE] if kind == "string_type" and isinstance(value, int | float | date) else []
    return quote, [f"`{at[-1]}: {_written(example)}`" for example in field.examples or ()]


def _written(example: object) -> str:
    return example if isinstance(example, str) else json.dumps(example)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, typing.get_args(annotation))), None)


def _literals(annotation: Any) -> list[str]:
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return list(arguments)
    return [name for argument in arguments for name in _literals(argument)]
