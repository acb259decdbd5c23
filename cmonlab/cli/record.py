"""``cmonlab record``: one recording from the command line."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import typer

from cmonlab.data.store import directory as store
from cmonlab.data.store.directory import MANIFEST
from cmonlab.errors import SessionError
from cmonlab.lab.topology.templates.registry import template
from cmonlab.lab.workload import workload
from cmonlab.points.catalogue import BY_NAME
from cmonlab.progress import shown
from cmonlab.recording.record import check_duration, record, rules_of
from cmonlab.rules import compile_rules
from cmonlab.session.rescue import save_somewhere
from cmonlab.session.session import Session
from cmonlab.system.files import replacing
from cmonlab.system.signals import defer_signals
from cmonlab.tracing import preflight

from . import console


@dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    out: Path
    template: str
    parameters: dict[str, str | int]
    workload: str
    rule: str | Path | None
    duration_s: float
    points: list[str] | None
    overhead: bool


def record_one(request: Request, as_json: bool) -> None:
    """Check everything that can be checked first, then deploy, record, save and print.

    Raises
    ------
    CmonlabError
        Any of its kinds; nothing is left behind, and what was recorded is saved.
    """
    store.check_target(request.out)
    topology = template(request.template, **request.parameters)
    load = workload(request.workload)
    compile_rules(rules_of(load.default_rule if request.rule is None else request.rule, request.points), list(BY_NAME))
    check_duration(request.duration_s)
    preflight.require()
    with (
        shown(title=request.workload) as progress,
        topology.deploy(notify=lambda text: progress(text, 0.0)) as lab,
    ):
        session = run_in(
            lab,
            load,
            request.rule,
            request.duration_s,
            request.out,
            progress,
            points=request.points,
            overhead=request.overhead,
        )
    if as_json:
        typer.echo(json.dumps(account(session, request.out)))
    else:
        print_session(session)
        console.say(f"saved to {request.out}; look at it with: cmonlab report {request.out}")
    if session.manifest["recording"]["ended"] == "interrupted":
        raise KeyboardInterrupt


def run_in(lab, load, rule, duration_s, out, progress, points=None, overhead=False, replace=False) -> Session:
    """Record a workload in a lab and save the session, also when it was interrupted or the workload failed."""
    spare = partial(replacing, mark=MANIFEST) if replace else nullcontext
    # `record` lets Ctrl-C through while there is something to break off; the rest must come home.
    with defer_signals() as pending:
        try:
            session = record(
                lab, load, rule, duration_s=duration_s, points=points, overhead=overhead, progress=progress
            )
        except Exception as error:
            if (kept := getattr(error, "session", None)) is not None:
                console.say(f"what was recorded until it failed was saved to {_save_after_failure(kept, out, spare)}")
            raise
        progress("saving", 1.0)
        with spare(out):
            save_somewhere(session, out)
        ended = session.manifest["recording"]["ended"]
        if ended == "memory limit reached":
            console.say(
                "memory limit reached: later events were counted as lost, see the ledger; "
                "record for a shorter time, or narrow the rule"
            )
        if pending or ended == "interrupted":
            console.say(f"the session up to the interruption was saved to {out}")
    return session


def _save_after_failure(session: Session, out: Path, spare) -> Path | str:
    """Save, and return where: the error that is under way is the one to tell."""
    try:
        with spare(out):
            return save_somewhere(session, out)
    except SessionError as error:
        if (saved := getattr(error, "saved", None)) is None:
            return f"no directory ({error.what}: {error.why})"
        return saved


def account(session: Session, out: Path) -> dict:
    """Return what ``record --json`` prints.

    ``packets`` counts the segments of a GSO buffer one by one; a journey is a buffer.
    """
    journeys = session.journeys()
    return {
        "packets": int(journeys["gso_segs"].sum()),
        "journeys": len(journeys),
        "complete_journeys": int(journeys["complete"].sum()),
        "events": len(session),
        "lost_events": session.lost_events,
        "seconds": round(session.manifest["recording"]["seconds"], 3),
        "out": str(out),
    }


def print_session(session: Session) -> None:
    """Print the session's summary and its breakdown, a table a direction; of aggregates, their segments."""
    console.out().print(repr(session), markup=False)
    table, counted = session.breakdown(), session.segments()
    for direction, rows in counted.groupby("direction", observed=True, sort=False):
        columns = ["segment", "n", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "kind"]
        console.show(rows[columns], f"{direction}: segments, aggregated")
    if table.empty and counted.empty:
        console.out().print("no journey is complete, so there is no breakdown", markup=False)
    bounds = ["p50_low_ns", "p50_high_ns", "p99_low_ns", "p99_high_ns"] if session.sampled else []
    for direction, rows in table.groupby("direction", observed=True, sort=False):
        console.show(
            rows[["segment", "n", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "share", *bounds]],
            f"{direction}: where the one-way delay goes",
        )


def check_replaceable(out: Path) -> None:
    """Check that `out` is free, or holds a session that may be replaced.

    Raises
    ------
    SessionError
        Something else is there.
    """
    if not os.path.isfile(out / store.MANIFEST):
        store.check_target(out)
