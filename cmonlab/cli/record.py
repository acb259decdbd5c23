"""``cmonlab record``: one recording from the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import typer

from cmonlab.data.store.directory import MANIFEST, check_target
from cmonlab.errors import SessionError
from cmonlab.lab.topology.templates.registry import template
from cmonlab.lab.workload import Workload, workload
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

if TYPE_CHECKING:
    from cmonlab.lab.topology.deploy import Lab

_Replacing: TypeAlias = Callable[[Path], AbstractContextManager[object]]


@dataclass(frozen=True)
class Request:
    """The options of the command.

    Attributes
    ----------
    out : Path
        New directory for the session.
    template : str
        Name of the network template.
    parameters : dict of str to (str or int)
        Parameters of the template.
    workload : str
        Name of the workload.
    rule : str, Path or None
        A pcap expression or a file of rules; None: the workload's own traffic.
    duration_s : float
        How long the workload runs, s.
    points : list of str or None
        Points or groups.
    overhead : bool
        Whether to measure the tracing overhead first.
    """

    out: Path
    template: str
    parameters: dict[str, str | int]
    workload: str
    rule: str | Path | None
    duration_s: float
    points: list[str] | None
    overhead: bool


def record_one(request: Request, as_json: bool) -> None:
    """Check all options first, then deploy, record, save and print.

    Parameters
    ----------
    request : Request
        What to record.
    as_json : bool
        Print one JSON object (see `summary`) instead of tables.

    Raises
    ------
    CmonlabError
        An option is wrong, this host cannot trace, or something fails. Containers and networks are removed, and
        what was recorded is saved.
    """
    check_target(request.out)
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
        typer.echo(json.dumps(summary(session, request.out)))
    else:
        print_session(session)
        console.say(f"saved to {request.out}; look at it with: cmonlab report {request.out}")
    if session.manifest["recording"]["ended"] == "interrupted":
        raise KeyboardInterrupt


def run_in(
    lab: Lab,
    load: Workload,
    rule: str | Path | None,
    duration_s: float,
    out: Path,
    progress: Callable[[str, float], None],
    points: list[str] | None = None,
    overhead: bool = False,
    replace: bool = False,
) -> Session:
    """Record a workload in a lab and save the session, also when it was interrupted or the workload failed.

    Parameters
    ----------
    lab : Lab
        Where the workload runs.
    load : Workload
        What runs.
    rule : str, Path or None
        A pcap expression or a file of rules; None: the workload's own traffic.
    duration_s : float
        How long the workload runs, s.
    out : Path
        Directory for the session.
    progress : callable
        Called with a phrase and a fraction from 0 to 1.
    points : list of str, optional
        Points or groups.
    overhead : bool
        Measure the tracing overhead first.
    replace : bool
        Replace an earlier session in `out`.

    Returns
    -------
    Session
        What was recorded.

    Raises
    ------
    CmonlabError
        The workload failed, this host cannot trace, or `out` cannot be written.
    """
    replaced: _Replacing = partial(replacing, mark=MANIFEST) if replace else nullcontext
    # `record` handles Ctrl-C while the workload runs; afterwards the session must be saved without interruption.
    with defer_signals() as pending:
        try:
            session = record(
                lab, load, rule, duration_s=duration_s, points=points, overhead=overhead, progress=progress
            )
        except Exception as error:
            if (kept := getattr(error, "session", None)) is not None:
                saved = _save_after_failure(kept, out, replaced)
                console.say(f"the recording up to the failure was saved to {saved}")
            raise
        progress("saving", 1.0)
        with replaced(out):
            save_somewhere(session, out)
        ended = session.manifest["recording"]["ended"]
        if ended == "memory limit reached":
            console.say(
                "memory limit reached: later events are counted as lost in the ledger; "
                "record for a shorter time, or narrow the rule"
            )
        if pending or ended == "interrupted":
            console.say(f"the session up to the interruption was saved to {out}")
    return session


def _save_after_failure(session: Session, out: Path, replaced: _Replacing) -> Path | str:
    """Save and return where; an error here must not hide the one that ended the recording."""
    try:
        with replaced(out):
            return save_somewhere(session, out)
    except SessionError as error:
        if (saved := getattr(error, "saved", None)) is None:
            return f"no directory ({error.what}: {error.why})"
        return saved


def summary(session: Session, out: Path) -> dict[str, int | float | str]:
    """Return what ``record --json`` prints.

    Parameters
    ----------
    session : Session
        What was recorded.
    out : Path
        Where it was saved.

    Returns
    -------
    dict
        Counts, seconds and the directory. ``packets`` counts all segments of a GSO buffer; a journey is one buffer.
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
    """Print a summary of the session, and one table per direction: the breakdown, or the aggregated segments."""
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
    """Check that `out` does not exist, is empty, or has a session, which may be replaced.

    Raises
    ------
    SessionError
        Something else is there.
    """
    if not os.path.isfile(out / MANIFEST):
        check_target(out)
