"""The plan of an experiment: which combinations, how often, in which order. Written before the first run."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cmonlab.errors import SessionError
from cmonlab.system import host as manifest
from cmonlab.system.files import write_text

PLAN = "plan.json"
FORMAT = 1


def ordered(cells: int, repetitions: int, seed: int) -> list[dict[str, Any]]:
    """Return the runs in the order in which they are made.

    Each repetition has every combination once, in another random order (randomised blocks: Fisher 1935, The Design of
    Experiments), so that what drifts over hours does not fall on one combination.
    """
    draw, runs = random.Random(seed), []
    for repetition in range(repetitions):
        block = list(range(cells))
        draw.shuffle(block)
        runs += [{"cell": cell, "repetition": repetition} for cell in block]
    width = max(3, len(str(len(runs))))
    return [{"run": f"run-{number:0{width}}"} | run for number, run in enumerate(runs, 1)]


def read(path: Path) -> dict[str, Any]:
    """Return the plan in a directory.

    Raises
    ------
    SessionError
        There is none, or it is damaged.
    """
    try:
        told = json.loads((path / PLAN).read_text(encoding="utf-8"))
        if told["format"] > FORMAT:
            raise SessionError(f"{path} was planned by a newer cmonlab", fix="upgrade cmonlab")
        for name in ("factors", "cells", "order"):
            told[name]
    except FileNotFoundError as error:
        raise SessionError(
            f"{path} holds no experiment", why=f"there is no {PLAN}", fix="run one there, or name another directory"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SessionError(f"the plan in {path} is damaged", why=str(error), fix="restore it from a copy") from error
    return told


def keep(path: Path, plan: Mapping[str, Any]) -> None:
    """Write a plan, or check that the one that stands there is the same.

    Raises
    ------
    SessionError
        Another plan stands there, something else does, or it cannot be written.
    """
    if (path / PLAN).exists():
        _check_same(path, read(path), json.loads(json.dumps(plan)))
        return
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise SessionError(f"{path} exists and is not an empty directory", fix="choose another directory")
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / PLAN, json.dumps({"created": manifest.now()} | dict(plan), indent=1, ensure_ascii=False))
    except OSError as error:
        raise SessionError(
            f"the plan cannot be written to {path}", why=error.strerror or str(error), fix="choose another directory"
        ) from error


def _check_same(path: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    different = [name for name in wanted if there.get(name) != wanted[name]]
    if different:
        raise SessionError(
            f"{path} was planned otherwise",
            why="; ".join(_change(name, there, wanted) for name in different),
            fix="choose another directory, or go on with the plan of this one",
        )


def _change(name: str, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    old, new = there.get(name), wanted[name]
    if name in ("cells", "order") or (isinstance(old, Sequence) and not isinstance(old, str)):
        return f"other {name}"
    return f"{name} was {old}, now {new}"
