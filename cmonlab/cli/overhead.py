"""``cmonlab overhead``: what tracing with some rules does to a workload."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import typer

from cmonlab.data.analysis.overhead import Overhead
from cmonlab.errors import SessionError
from cmonlab.lab.docker.recipe import versions
from cmonlab.lab.inventory.inventory import Inventory
from cmonlab.lab.topology.templates.registry import template
from cmonlab.lab.workload import workload
from cmonlab.points.catalogue import BY_NAME
from cmonlab.progress import shown
from cmonlab.recording.overhead import check_rounds, measure
from cmonlab.recording.record import check_duration, rules_of
from cmonlab.recording.traced import Traced
from cmonlab.rules import Rule, compile_rules
from cmonlab.session.report.page import write_report
from cmonlab.session.report.sections import overhead_report
from cmonlab.system.files import write_text
from cmonlab.system.host import host, now
from cmonlab.tracing import preflight

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
    compile_rules(rules, list(BY_NAME))
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
        console.show(found.table(), f"{request.workload}: tracing overhead")
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
        write_text(path, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise SessionError(
            f"{path} cannot be written", why=error.strerror or str(error), fix="choose another --out"
        ) from error
