"""The plan of an experiment: combinations, repetitions and order. It is written before the first run."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cmonlab.errors import SessionError
from cmonlab.system.files import write_text
from cmonlab.system.host import now

PLAN = "plan.json"
FORMAT = 1


def ordered(cells: int, repetitions: int, seed: int) -> list[dict[str, Any]]:
    """Return the runs in the order in which they are made.

    Each repetition has every combination once, in another random order (randomised blocks: Fisher 1935, The Design of
    Experiments), so that a drift over hours does not affect one combination only.

    Parameters
    ----------
    cells : int
        Number of combinations.
    repetitions : int
        How often each is run.
    seed : int
        Seed of the random order.

    Returns
    -------
    list of dict
        One dict per run: ``run`` (its name), ``cell`` (index of the combination) and ``repetition``, from 0.
    """
    draw, runs = random.Random(seed), []
    for repetition in range(repetitions):
        block = list(range(cells))
        draw.shuffle(block)
        runs += [{"cell": cell, "repetition": repetition} for cell in block]
    width = max(3, len(str(len(runs))))
    return [{"run": f"run-{number:0{width}}"} | run for number, run in enumerate(runs, 1)]


def read(path: Path) -> dict[str, Any]:
    """Return the plan that is stored in a directory.

    Raises
    ------
    SessionError
        There is no plan, it is damaged, or a newer cmonlab wrote it.
    """
    try:
        plan = json.loads((path / PLAN).read_text(encoding="utf-8"))
        if plan["format"] > FORMAT:
            raise SessionError(f"{path} was planned by a newer cmonlab", fix="upgrade cmonlab")
        for name in ("factors", "cells", "order"):
            plan[name]
    except FileNotFoundError as error:
        raise SessionError(
            f"{path} holds no experiment", why=f"there is no {PLAN}", fix="run one there, or name another directory"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SessionError(f"the plan in {path} is damaged", why=str(error), fix="restore it from a copy") from error
    return plan


def write_or_check(path: Path, plan: Mapping[str, Any]) -> None:
    """Write a plan into a directory; if the directory has a plan already, check that it is the same.

    Parameters
    ----------
    path : Path
        Directory of the experiment; created if needed.
    plan : mapping
        The plan, as JSON-compatible data.

    Raises
    ------
    SessionError
        The directory holds another plan or other files, or the plan cannot be written.
    """
    if (path / PLAN).exists():
        _check_same(path, read(path), json.loads(json.dumps(plan)))
        return
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise SessionError(f"{path} exists and is not an empty directory", fix="choose another directory")
        path.mkdir(parents=True, exist_ok=True)
        write_text(path / PLAN, json.dumps({"created": now()} | dict(plan), indent=1, ensure_ascii=False))
    except OSError as error:
        raise SessionError(
            f"the plan cannot be written to {path}", why=error.strerror or str(error), fix="choose another directory"
        ) from error


def _check_same(path: Path, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    different = [name for name in wanted if there.get(name) != wanted[name]]
    if different:
        raise SessionError(
            f"{path} has another plan",
            why="; ".join(_change(name, there, wanted) for name in different),
            fix="choose another directory, or use the plan of this one",
        )


def _change(name: str, there: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    old, new = there.get(name), wanted[name]
    if name in ("cells", "order") or (isinstance(old, Sequence) and not isinstance(old, str)):
        return f"other {name}"
    return f"{name} was {old}, now {new}"
