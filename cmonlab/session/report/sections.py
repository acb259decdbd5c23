"""A session as a section of the report: its figures, tables and notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cmonlab import plot
from cmonlab.data.analysis.overhead import program_times
from cmonlab.data.analysis.overhead import summary as overhead_summary
from cmonlab.data.tables.manifest import Manifest

from ..session import Session
from .page import RunReport

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from cmonlab.data.analysis.overhead import Overhead

_ENOUGH = 20  # journeys for a distribution


_OVERHEAD_NOTE = (
    "Tracing overhead: each round ran the workload untraced and traced, in random order; a first round is not counted. "
    "Differences and ratios are taken within a round; the table has their medians and 95% bootstrap intervals. CPU is "
    "the CPU time per operation of the whole machine, other work included; tracer CPU is the number of CPUs that the "
    "tracer's process kept busy."
)


def run_report(session: Session, title: str) -> RunReport:
    """Return a session's section of the report.

    Parameters
    ----------
    session : Session
    title : str
        Heading, for instance the workload's name.

    Returns
    -------
    RunReport
    """
    return RunReport(title, _facts(session), _figures(session), _tables(session), _notes(session))


def _facts(session: Session) -> list[tuple[str, str]]:
    manifest = session.manifest
    journeys, workload = session.journeys(), manifest.get("workload") or {}
    facts = [
        ("rules", session.rules_summary),
        ("recorded", f"{manifest['recording']['seconds']:.1f} s, {manifest['recording']['ended']}"),
        ("journeys", f"{len(journeys):,}, {int(journeys['complete'].sum()):,} complete"),
        *([("sampling", session.sampled)] if session.sampled else []),
        ("packets dropped", f"{len(session.drops()):,}"),
        *_aggregated(session),
        ("events", f"{len(session):,}"),
        ("lost events", f"{session.lost_events:,}"),
        ("trace gaps", f"{len(session.trace_gaps()):,}, {session.trace_gap_ns / 1e6:.1f} ms"),
        ("tracing overhead", overhead_summary(session.overhead())),
        ("clock error", "none: one clock"),
        *((name, _metric(value)) for name, value in workload.get("metrics", {}).items()),
        *_machine(manifest["host"]),
        ("recorded at", manifest["created"]),
    ]
    return facts + [("budget", sentence) for sentence in Manifest(session.manifest).budget_sentences()]


def _metric(value: float) -> str:
    """Return a workload's number as text: counts with all their digits, others with six."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"


def _machine(host: Mapping) -> list[tuple[str, str]]:
    return [
        ("kernel", f"{host['kernel']} ({host['clocksource']})"),
        ("machine", f"{host['cpu'] or host['machine']}, {host['cpus']} CPUs"),
    ]


def _aggregated(session: Session) -> list[tuple[str, str]]:
    """Return the counts of each aggregate rule; a packet that several rules match counts for each of them."""
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
    """Return the number of complete journeys per direction, the largest first."""
    table = session.journeys()
    return table.loc[table["complete"], "direction"].value_counts().loc[lambda n: n > 0].to_dict()


def _figures(session: Session) -> dict:
    draw, directions = session.plot, _directions(session)
    if not len(session) and session.aggregated:  # aggregates keep nothing about single packets
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


def _tables(session: Session) -> dict[str, pd.DataFrame]:
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
            f"The tracer itself lost {session.lost_events:,} events: counts are too low by that number, and journeys "
            "may lack hops or end at the arrival. Narrow the rule, or lower the rate."
        )
    if session.trace_gap_ns:
        notes.append(
            f"Trace gaps: {session.trace_gap_ns / 1e6:.1f} ms in {len(session.trace_gaps()):,} intervals, summed over "
            "CPUs. Tracepoints do not fire on a CPU while it runs a process that this machine hides; packets that "
            "passed then were not seen."
        )
    if session.sampled:
        notes.append(
            f"Only a share of the packets was recorded, {session.sampled}: counts and rates are of that share."
        )
    if len(session.budget()):
        notes.append(
            "A budget changed the share of packets that was recorded, at the times in the table budget: journeys of "
            "packets in flight at such a time may lack hops, and counts before and after it are not comparable."
        )
    if missing := session.manifest["missing"]:
        notes.append(f"This kernel lacked {', '.join(missing)}: journeys may end earlier, at the arrival.")
    if len(session.overhead()):
        notes.append(_OVERHEAD_NOTE)
    inventory = session.manifest.get("inventory", {})
    if inventory.get("missed"):
        notes.append(f"These containers were gone before their names could be read: {', '.join(inventory['missed'])}.")
    if inventory.get("error"):
        notes.append(f"Containers that were started later may lack their names: {inventory['error']}.")
    if session.manifest["recording"]["ended"] != "finished":
        notes.append(f"The recording ended early: {session.manifest['recording']['ended']}.")
    return notes


def overhead_report(found: Overhead, expressions: Sequence[str], host: Mapping) -> RunReport:
    """Return the section of the report that shows a measurement of tracing overhead.

    Parameters
    ----------
    found : Overhead
        The measurement.
    expressions : sequence of str
        The pcap expressions of the rules that were traced; empty for all IP packets.
    host : mapping of str to object
        The machine, as in a manifest.

    Returns
    -------
    RunReport
    """
    table = found.table()
    rounds = len(found.order)
    summary = [
        ("rules", "; ".join(expression or "all IP packets" for expression in expressions)),
        (
            "rounds",
            f"{rounds}, each {found.round_s:g} s per tracer and untraced; {found.warmup} more at the start not counted",
        ),
        ("tracing overhead", overhead_summary(table)),
        *_machine(host),
    ]
    caption = f"{found.workload['name']} · {rounds} rounds"
    notes = [_OVERHEAD_NOTE]
    if np.isnan(table["low"]).any():
        notes.append(f"{rounds} rounds are too few for intervals.")
    figures = {"Tracing overhead": plot.overhead(table, caption=caption)}
    tables = {"overhead": table, "program_times": program_times(found.programs)}
    return RunReport(
        found.workload["name"], summary, figures, {name: one for name, one in tables.items() if len(one)}, notes
    )
