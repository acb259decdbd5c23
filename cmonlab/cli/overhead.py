"""``cmonlab overhead``: what tracing with some rules does to a workload."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import typer

from ..errors import SessionError
from ..kernel import preflight
from ..kernel.points import BY_NAME
from ..manifest import host, now
from ..overhead import Overhead, Traced, check_rounds, measure
from ..progress import shown
from ..recording import check_duration, rules_of
from ..report import write_report
from ..rules import Rule, standardise
from ..summary import overhead_report
from ..topology.inventory import Inventory
from ..topology.recipe import versions
from ..topology.templates import template
from ..workload import workload
from . import console

FILE = "overhead.json"


@dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    out: Path
    workload: str
    rule: str | Path | None
    points: list[str] | None
    rounds: int
    round_s: float


def run(request: Request, as_json: bool) -> None:
    """Measure, print the table, and write ``overhead.json`` and ``report.html``, in place of earlier ones.

    Raises
    ------
    CmonlabError
        Any of its kinds; containers and networks are removed.
    """
    load = workload(request.workload)
    rules = rules_of(load.default_rule if request.rule is None else request.rule, request.points)
    standardise(rules, list(BY_NAME))
    check_duration(request.round_s)
    check_rounds(request.rounds)
    preflight.require()
    with (
        shown(title=request.workload) as progress,
        template("bridge", containers=2).deploy(notify=lambda text: progress(text, 0.0)) as lab,
        Inventory.of(lab) as inventory,
    ):
        watch = Traced(rules, inventory.containers)
        found = measure(lab, load, {"traced": watch}, request.rounds, request.round_s, progress=progress)
        told = _told(found, rules, lab)
    if as_json:
        typer.echo(json.dumps(told))
    else:
        console.show(found.table(), f"{request.workload}: observer overhead")
    _write(request.out / FILE, told)
    page = write_report(request.out / "report.html", [overhead_report(found, rules, told["host"])])
    console.say(f"wrote {request.out / FILE} and {page}")


def _told(found: Overhead, rules: list[Rule], lab) -> dict:
    """Return what overhead.json holds: the samples, and where and with what they were taken."""
    return {
        "created": now(),
        "host": host(),
        "packages": versions(),
        "topology": lab.topology.describe(),
        "rules": [rule.model_dump(mode="json") for rule in rules],
        **found.describe(),
    }


def _write(path: Path, told: dict) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise SessionError(
            f"{path} cannot be written", why=error.strerror or str(error), fix="choose another --out"
        ) from error
