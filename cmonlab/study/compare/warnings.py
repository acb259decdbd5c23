"""What a reader must know before believing a difference: what else differs, what was lost, what observing cost."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cmonlab.data.analysis.overhead import on_the_way
from cmonlab.schema.format import duration, with_unit

if TYPE_CHECKING:
    from cmonlab.session.session import Session

FEW_RUNS = 5
#: Fewer values beyond a quantile leave it to chance.
FEW_BEYOND = 10
# The coarsest step of clocksources that are not counted in single nanoseconds or less.
_STEP_NS = {"hpet": 100.0, "acpi_pm": 280.0, "jiffies": 10e6}
_SRTT_STEP_NS = 1000.0
# What should be the same on all sides, and the word for several.
_ALIKE = {
    "rules": "rules",
    "points": "points",
    "sample": "samples",
    "kernel": "kernels",
    "machine": "machines",
    "workload": "workloads",
}


@dataclass(frozen=True)
class Circumstances:
    """Of one session, what a comparison asks for beside the values.

    Attributes
    ----------
    alike : dict of str to str
        What should be the same on all sides, each in a word.
    lost_events, trace_gap_ns : int
    ended : str
        How the recording ended.
    overhead : DataFrame
        Columns of ``schema.TABLES["overhead"]``.
    clock_step_ns : float
        The clock's resolution. Sessions have one clock, so nothing else makes an error of it.
    on_the_way_ns : dict of str to float
        By direction, for how long the tracer's programs run while a packet is on its way; empty where unknown.
    """

    alike: dict[str, str]
    lost_events: int
    trace_gap_ns: int
    ended: str
    overhead: pd.DataFrame
    clock_step_ns: float
    on_the_way_ns: Mapping[str, float]

    @classmethod
    def of(cls, session: Session) -> Circumstances:
        """Read them from a session."""
        told, host = session.manifest, session.manifest["host"]
        workload = told.get("workload") or {}
        return cls(
            {
                "rules": session.rules_summary,
                "points": ", ".join(sorted(point["name"] for point in told["points"])),
                "sample": session.sampled or "all packets",
                "kernel": str(host.get("kernel")),
                "machine": f"{host.get('cpu')}, {host.get('cpus')} CPUs",
                "workload": f"{workload.get('name', 'none')} {_parameters(workload)}".strip(),
            },
            session.lost_events,
            session.trace_gap_ns,
            told["recording"]["ended"],
            session.overhead(),
            _STEP_NS.get(host.get("clocksource"), 1.0),
            _on_the_way(session),
        )


def _on_the_way(session: Session) -> dict[str, float]:
    times, points = session.program_times(), session.facts.points
    if times["tracer"].nunique() != 1:
        return {}
    program_ns = {points[row.point]: row.mean_ns for row in times.itertuples() if row.point in points}
    return on_the_way(session.columns["point"], session.correlated, session.ends, program_ns)


def _parameters(workload: Mapping[str, Any]) -> str:
    return json.dumps(workload.get("parameters", {}), sort_keys=True).strip("{}").replace('"', "")


Sides = Mapping[str, Sequence[Circumstances]]


def of_recordings(sides: Sides) -> list[str]:
    """Return warnings about how the sides were recorded, a sentence each.

    Parameters
    ----------
    sides : mapping of str to sequence of Circumstances
        A sequence a side, an entry a run.
    """
    return [*_runs(sides), *_unlike(sides), *_lost(sides), *_observed(sides)]


def _runs(sides: Sides) -> list[str]:
    single = [name for name, runs in sides.items() if len(runs) == 1]
    few = [f"{name} ({len(runs)})" for name, runs in sides.items() if 1 < len(runs) < FEW_RUNS]
    told = []
    if single:
        told.append(
            f"one run only: {', '.join(single)}. Intervals tell how the values scatter within it; what varies from run "
            "to run is not in them, so another run may well lie outside."
        )
    if few:
        told.append(
            f"fewer than {FEW_RUNS} runs: {', '.join(few)}. Intervals are wide, as so few hardly tell their scatter."
        )
    return told


def _unlike(sides: Sides) -> list[str]:
    told = []
    for what, many in _ALIKE.items():
        values = {name: sorted({run.alike[what] for run in runs}) for name, runs in sides.items()}
        if len({tuple(of) for of in values.values()}) > 1:
            shown = "; ".join(f"{name}: {' or '.join(map(_short, of))}" for name, of in values.items())
            told.append(f"the {many} differ between the sides, and may be what makes the difference: {shown}")
        elif any(len(of) > 1 for of in values.values()):
            mixed = ", ".join(name for name, of in values.items() if len(of) > 1)
            told.append(f"the {many} differ between the runs of {mixed}")
    return told


def _short(text: str, most: int = 90) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _lost(sides: Sides) -> list[str]:
    told = []
    for name, runs in sides.items():
        if lost := sum(run.lost_events for run in runs):
            told.append(f"{name}: {lost:,} lost events: packets are missing that the monitor itself lost")
        if gap := sum(run.trace_gap_ns for run in runs):
            told.append(f"{name}: trace gaps: {duration(gap)} in total, in which packets passed unseen")
        if early := sorted({run.ended for run in runs} - {"finished"}):
            told.append(f"{name}: a recording did not finish: {', '.join(early)}")
    return told


def _observed(sides: Sides) -> list[str]:
    without = [name for name, runs in sides.items() if all(run.overhead.empty for run in runs)]
    if not without:
        return []
    return [
        f"tracing overhead was not measured: {', '.join(without)}. How much of a difference is the tracer's is not "
        "known; record with overhead=True."
    ]


def clock_error(metric: str, unit: str, runs: Sequence[Circumstances]) -> float:
    """Return the difference that the clock alone may make, in the unit of the metric."""
    if unit != "ns":
        return 0.0
    step = max(run.clock_step_ns for run in runs)
    return max(step, _SRTT_STEP_NS) if metric in ("rtt", "srtt") else step


def tracer(metric: str, row, side: Sequence[Circumstances], base: Sequence[Circumstances]) -> float:
    """Return the difference that the tracers alone may make, in the unit of the metric; NaN where not known.

    Parameters
    ----------
    metric : str
    row : namedtuple
        Of the table ``compared``, without its verdict.
    side, base : sequence of Circumstances
        An entry a run.

    Notes
    -----
    Of what is measured from point to point, the programs' own time is known: what they run longer on one side's way
    than on the other's is in a difference of one-way delays, and in one of segments no more than all that they run.

    Else the workload's rounds tell. Tracers that look alike (same rules, points and sample) cost alike, so of their
    cost only the difference remains; where they do not, or one side was not measured, the greatest cost that was
    measured counts: the upper end of its interval. The overhead is that of the workload's own delays, of a round trip
    mostly, so it bounds that of a one-way delay and of a segment.
    """
    if (ran := _ran(metric, row.direction, side, base)) is not None:
        return max(ran) if metric == "segment" else abs(ran[0] - ran[1])
    found = [_cost(metric, row.unit, row.statistic, row.baseline_value, runs) for runs in (side, base)]
    known = [cost for cost in found if cost is not None]
    if not known:
        return math.nan
    alike = all(
        {run.alike[what] for run in side} == {run.alike[what] for run in base} for what in ("rules", "points", "sample")
    )
    if len(known) == 2 and alike:
        return abs(known[0][0] - known[1][0])
    return max(upper for _, upper in known)


def _ran(
    metric: str, direction: str, side: Sequence[Circumstances], base: Sequence[Circumstances]
) -> tuple[float, float] | None:
    """Return for how long programs run on both sides' ways; None where that is not known, or says nothing of this."""
    if metric not in ("one_way_delay", "segment"):
        return None
    told = [[run.on_the_way_ns for run in runs if run.on_the_way_ns] for runs in (side, base)]
    if not all(told):
        return None
    # Where the sides' containers have other names, the baseline has no such direction.
    means = [[run.get(direction, np.mean(list(run.values()))) for run in runs] for runs in told]
    return float(np.mean(means[0])), float(np.mean(means[1]))


def _cost(
    metric: str, unit: str, statistic: str, value: float, runs: Sequence[Circumstances]
) -> tuple[float, float] | None:
    """Return by how much observing changed one side's runs, and by how much at most; None where it was not measured."""
    word, take = _overhead_of(metric, unit, statistic, value)
    rows = [row for run in runs for row in run.overhead.itertuples() if row.metric == word]
    if not rows:
        return None
    changes = np.array([take(row) for row in rows], float)
    ends = np.where(np.isfinite(changes[:, 1:]), changes[:, 1:], changes[:, :1])
    return float(changes[:, 0].mean()), float(np.abs(ends).max())


def _overhead_of(metric: str, unit: str, statistic: str, value: float) -> tuple[str, Callable]:
    """Return the metric of the table of overhead that tells of this one, and what takes (change, low, high) of it."""
    if unit == "ns":
        rank = _rank(metric, statistic)
        word = "p50" if rank <= 50 else "p99" if rank <= 99 else "p99.9"
        return word, lambda row: (row.difference, row.low, row.high)
    if unit in ("bit/s", "1/s"):
        return "throughput", lambda row: tuple(value * (r - 1) for r in (row.ratio, row.ratio_low, row.ratio_high))
    return "", lambda row: (math.nan,) * 3


def _rank(metric: str, statistic: str) -> float:
    """Return the percentile that a statistic, or the workload's own metric, is; a mean counts as the median."""
    if statistic != "mean":
        return float(statistic.removeprefix("p"))
    word = metric.removesuffix("_ns").rpartition("_p")[2]
    return {"90": 90.0, "99": 99.0, "999": 99.9}.get(word, 50.0)


def of_differences(metric: str, rows: pd.DataFrame, sides: Sides) -> list[str]:
    """Return warnings about single differences; `rows` is the table ``compared``, verdicts included."""
    told = []
    for row in rows.itertuples():
        where = f"{row.statistic} of {row.name}" + (f", {row.direction}" if row.direction else "")
        size = with_unit(abs(row.difference), row.unit)
        if row.verdict == "below clock error":
            told.append(f"{where}: the difference, {size}, is below the clock error, {duration(row.clock_error)}")
        if row.verdict == "below tracing overhead":
            why = _why(metric, row.direction, sides[row.name], sides[row.baseline])
            limit = with_unit(row.overhead, row.unit)
            told.append(f"{where}: the difference, {size}, is below the tracing overhead, {limit}: {why}")
        told += _few_beyond(row, where) + _none_dropped(row, where)
    return told


def _why(metric: str, direction: str, side: Sequence[Circumstances], base: Sequence[Circumstances]) -> str:
    if _ran(metric, direction, side, base) is not None:
        return f"its programs run so {'long' if metric == 'segment' else 'much longer'} on one side's way"
    measured = [any(len(run.overhead) for run in runs) for runs in (side, base)]
    if not all(measured):
        return "it was measured on one side only, so its upper end counts"
    if any({r.alike[w] for r in side} != {r.alike[w] for r in base} for w in ("rules", "points", "sample")):
        return "the sides were not observed alike, so the cost does not cancel and its upper end counts"
    return "both sides were observed alike, so what counts is by how much their overheads differ"


def _few_beyond(row, where: str) -> list[str]:
    if row.statistic == "mean":
        return []
    share = 1 - float(row.statistic.removeprefix("p")) / 100
    beyond = min(row.n / row.runs, row.baseline_n / row.baseline_runs) * min(share, 1 - share)
    if beyond >= FEW_BEYOND:
        return []
    return [f"{where}: about {beyond:.1f} values of a run lie beyond it, so it is left to chance"]


def _none_dropped(row, where: str) -> list[str]:
    """Tell what an interval from 0 to 0 hides: of n packets none was dropped (Hanley and Lippman-Hand 1983, JAMA)."""
    if row.metric != "loss" or (row.value > 0 and row.baseline_value > 0):
        return []
    most = 3 / min(row.n if row.value == 0 else row.baseline_n, row.baseline_n if row.baseline_value == 0 else row.n)
    return [f"{where}: a side dropped no packet, so no interval tells its loss; it may be up to {most:.2g} (3 / n)"]
