"""``cmonlab overhead``: how tracing with some rules slows down a workload."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from cmonlab.lab.topology.deploy import Lab

FILE = "overhead.json"


@dataclass(frozen=True)
class Request:
    """The options of the command.

    Attributes
    ----------
    out : Path
        Directory for ``overhead.json`` and ``report.html``.
    workload : str
        Name of the workload.
    rule : str, Path or None
        A pcap expression or a file of rules; None: the workload's own traffic.
    points : list of str or None
        Points or groups.
    rounds : int
        Number of rounds.
    round_s : float
        How long the workload runs in each round, s.
    """

    out: Path
    workload: str
    rule: str | Path | None
    points: list[str] | None
    rounds: int
    round_s: float


def run(request: Request, as_json: bool) -> None:
    """Measure, print the table, and write ``overhead.json`` and ``report.html``; earlier files are replaced.

    Parameters
    ----------
    request : Request
        What to measure.
    as_json : bool
        Print the samples as one JSON object instead of the table.

    Raises
    ------
    CmonlabError
        This host cannot trace, or something fails; containers and networks are removed.
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
        traced = Traced(rules, inventory.containers)
        found = measure(lab, load, {"traced": traced}, request.rounds, request.round_s, progress=progress)
        result = _result(found, rules, lab)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        console.show(found.table(), f"{request.workload}: tracing overhead")
    _write(request.out / FILE, result)
    section = overhead_report(found, [rule.match.packets for rule in rules], result["host"])
    page = write_report(request.out / "report.html", [section])
    console.say(f"wrote {request.out / FILE} and {page}")


def _result(found: Overhead, rules: list[Rule], lab: Lab) -> dict[str, Any]:
    """Return the content of overhead.json: the samples, the host, versions, the topology and the rules."""
    return {
        "created": now(),
        "host": host(),
        "packages": versions(),
        "topology": lab.topology.describe(),
        "rules": [rule.model_dump(mode="json") for rule in rules],
        **found.describe(),
    }


def _write(path: Path, result: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise SessionError(
            f"{path} cannot be written", why=error.strerror or str(error), fix="choose another --out"
        ) from error
