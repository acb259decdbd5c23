"""A session as a section of the report: figures, tables and what to know beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmonlab import plot
from cmonlab.data.analysis.overhead import program_times
from cmonlab.data.analysis.overhead import summary as overhead_summary
from cmonlab.data.tables.manifest import Facts

from ..session import Session
from .page import RunReport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cmonlab.data.analysis.overhead import Overhead
    from cmonlab.rules import Rule

_ENOUGH = 20  # journeys for a distribution


_OVERHEAD_NOTE = (
    "Tracing overhead: the workload ran untraced and traced in turn, in random order within each round, after a round "
    "that does not count. Differences and ratios are taken within a round; given are their medians and 95% bootstrap "
    "intervals. CPU is the time that all processors were busy, other work on the machine included, per piece of work; "
    "tracer CPU is that of the observing process."
)


def run_report(session: Session, title: str) -> RunReport:
    """Return a session's section of the report.

    Parameters
    ----------
    session : Session
    title : str
        Heading, for instance the workload's name.
    """
    return RunReport(title, _facts(session), _figures(session), _tables(session), _notes(session))


def _facts(session: Session) -> list[tuple[str, str]]:
    told = session.manifest
    journeys, workload = session.journeys(), told.get("workload") or {}
    facts = [
        ("rules", session.rules_summary),
        ("recorded", f"{told['recording']['seconds']:.1f} s, {told['recording']['ended']}"),
        ("journeys", f"{len(journeys):,}, {int(journeys['complete'].sum()):,} complete"),
        *([("sampling", session.sampled)] if session.sampled else []),
        ("packets dropped", f"{len(session.drops()):,}"),
        *_aggregated(session),
        ("events", f"{len(session):,}"),
        ("lost events", f"{session.lost_events:,}"),
        ("trace gaps", f"{len(session.trace_gaps()):,}, {session.trace_gap_ns / 1e6:.1f} ms"),
        ("tracing overhead", overhead_summary(session.overhead())),
        ("clock error", "none: one clock"),
        *((name, f"{value:,.6g}") for name, value in workload.get("metrics", {}).items()),
        *_machine(told["host"]),
        ("recorded at", told["created"]),
    ]
    return facts + [("budget", told) for told in Facts(session.manifest).budgets_told()]


def _machine(host: Mapping) -> list[tuple[str, str]]:
    return [
        ("kernel", f"{host['kernel']} ({host['clocksource']})"),
        ("machine", f"{host['cpu'] or host['machine']}, {host['cpus']} CPUs"),
    ]


def _aggregated(session: Session) -> list[tuple[str, str]]:
    """Return what aggregate rules counted; packets of several rules count for each."""
    if not session.aggregated:
        return []
    rows = session.pairs().groupby("rule", observed=True)[["packets_sent", "packets_arrived", "dropped"]].sum()
    return [
        (
            f"aggregate {row.Index}",
            f"{row.packets_sent:,} sent, {row.packets_arrived:,} arrived, {row.dropped:,} dropped",
        )
        for row in rows.itertuples()
    ]


def _directions(session: Session) -> dict[str, int]:
    """Return how many complete journeys went each direction, the busiest first."""
    table = session.journeys()
    return table.loc[table["complete"], "direction"].value_counts().loc[lambda n: n > 0].to_dict()


def _figures(session: Session) -> dict:
    draw, directions = session.plot, _directions(session)
    if not len(session) and session.aggregated:  # that tells of no single packet
        return {"Over time": draw.timeline(), "Who talks to whom": draw.flow_matrix(), "Ledger": draw.ledger()}
    figures = {"Where the time goes": draw.breakdown(), "What the time is spent on": draw.breakdown(by="kind")}
    for direction, journeys in list(directions.items())[:2]:
        if journeys >= _ENOUGH:
            figures[f"Segments, {direction}"] = draw.ecdf(direction)
            figures[f"Tail of the segments, {direction}"] = draw.ecdf(direction, tail=True)
    for direction in list(directions)[:1]:
        figures[f"Where the tail comes from, {direction}"] = draw.tail(direction)
        figures[f"A typical journey, {direction}"] = draw.waterfall(session.typical(direction))
        figures[f"The slowest journey, {direction}"] = draw.waterfall(_slowest(session, direction))
    figures |= {"Throughput": draw.throughput(), "Drops": draw.drops(), "Ledger": draw.ledger()}
    return figures | ({"Tracing overhead": draw.overhead()} if len(session.overhead()) else {})


def _slowest(session: Session, direction: str) -> int:
    return int(session.slowest(1, direction)["journey"].iloc[0])


def _tables(session: Session) -> dict:
    paths = session.journeys().groupby(["direction", "path"], observed=True)
    delays = paths.agg(n=("journey", "size"), complete=("complete", "sum"), p50_ns=("one_way_delay_ns", "median"))
    tables = {
        "breakdown": session.breakdown(),
        "breakdown_by_kind": session.breakdown(by="kind"),
        "paths": delays.reset_index(),
        "loss": session.loss(),
        "rules": session.rules(),
        "ledger": session.ledger(),
    }
    others = {
        "budget": session.budget(),
        "segments": session.segments(),
        "overhead": session.overhead(),
        "program_times": session.program_times(),
        **({"pairs": session.pairs()} if session.aggregated else {}),
    }
    return tables | {name: table for name, table in others.items() if len(table)}


def _notes(session: Session) -> list[str]:
    notes = ["A segment is the time between two adjacent hops; the segments of a journey add up to its one-way delay."]
    if session.lost_events:
        notes.append(
            f"{session.lost_events:,} events were lost by the monitor itself: counts are too low by that, journeys may "
            "lack hops or end at the arrival. Narrow the rule, or lower the rate."
        )
    if session.trace_gap_ns:
        notes.append(
            f"Tracepoints stayed silent for {session.trace_gap_ns / 1e6:.1f} ms in {len(session.trace_gaps()):,} intervals "
            "(summed over CPUs), while a process ran that this machine keeps from view; "
            "packets that passed then were not seen."
        )
    if session.sampled:
        notes.append(f"Journeys are of a share of the packets, {session.sampled}: counts and rates are of that share.")
    if len(session.budget()):
        notes.append(
            "A budget changed how much was taken, at the times in the table budget: journeys on their way at such a "
            "time may lack hops, and counts before and after are of different shares of the packets."
        )
    if missing := session.manifest["missing"]:
        notes.append(f"This kernel lacked {', '.join(missing)}: journeys may end before that, at the arrival.")
    if len(session.overhead()):
        notes.append(_OVERHEAD_NOTE)
    inventory = session.manifest.get("inventory", {})
    if inventory.get("missed"):
        notes.append(f"Gone before they could be named: {', '.join(inventory['missed'])}.")
    if inventory.get("error"):
        notes.append(f"Containers that came later may lack their names: {inventory['error']}.")
    if session.manifest["recording"]["ended"] != "finished":
        notes.append(f"The recording ended early: {session.manifest['recording']['ended']}.")
    return notes


def overhead_report(found: Overhead, rules: Sequence[Rule], host: Mapping) -> RunReport:
    """Return the report's section of a measurement of tracing overhead.

    Parameters
    ----------
    found : Overhead
    rules : sequence of Rule
        What was traced.
    host : mapping
        As in a manifest.
    """
    table = found.table()
    rounds = len(found.order)
    summary = [
        ("rules", "; ".join(rule.match.packets or "all IP packets" for rule in rules)),
        ("rounds", f"{rounds} of {found.round_s:g} s each way, {found.warmup} before them left out"),
        ("tracing overhead", overhead_summary(table)),
        *_machine(host),
    ]
    caption = f"{found.workload['name']} · {rounds} rounds"
    notes = [_OVERHEAD_NOTE]
    if np.isnan(table["low"]).any():
        notes.append(f"{rounds} rounds are too few for an interval: there are none.")
    figures = {"Tracing overhead": plot.overhead(table, caption=caption)}
    tables = {"overhead": table, "program_times": program_times(found.programs)}
    return RunReport(
        found.workload["name"], summary, figures, {name: one for name, one in tables.items() if len(one)}, notes
    )
