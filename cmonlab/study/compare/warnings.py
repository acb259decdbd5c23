"""Threats to the validity of a difference: what else differs between the sides, what was lost, what tracing cost."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cmonlab.data.analysis.overhead import program_time_per_packet
from cmonlab.schema.format import duration, with_unit

if TYPE_CHECKING:
    from cmonlab.session.session import Session

FEW_RUNS = 5
#: A quantile with fewer values beyond it depends on chance.
FEW_BEYOND = 10
# Resolution of the clock sources that are coarser than a nanosecond.
_STEP_NS = {"hpet": 100.0, "acpi_pm": 280.0, "jiffies": 10e6}
_SRTT_STEP_NS = 1000.0
# What should be the same on all sides, and its plural.
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
    """How one session was recorded, as far as comparisons need it.

    Attributes
    ----------
    alike : dict of str to str
        What should be the same on all sides: name (``"rules"``, ``"kernel"``, …) → a short description.
    lost_events : int
        Events that the tracer lost.
    trace_gap_ns : int
        Sum of the trace gaps.
    ended : str
        How the recording ended.
    overhead : DataFrame
        Tracing overhead; columns of ``schema.describe("overhead")``.
    clock_step_ns : float
        The clock's resolution. All events of a session have the same clock, so it has no other error.
    on_the_way_ns : dict of str to float
        Direction → how long (ns) the tracer's programs run while one packet is in flight; empty if not known.
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
        """Return the circumstances of a session."""
        manifest, host = session.manifest, session.manifest["host"]
        workload = manifest.get("workload") or {}
        return cls(
            {
                "rules": session.rules_summary,
                "points": ", ".join(sorted(point["name"] for point in manifest["points"])),
                "sample": session.sampled or "all packets",
                "kernel": str(host.get("kernel")),
                "machine": f"{host.get('cpu')}, {host.get('cpus')} CPUs",
                "workload": f"{workload.get('name', 'none')} {_parameters(workload)}".strip(),
            },
            session.lost_events,
            session.trace_gap_ns,
            manifest["recording"]["ended"],
            session.overhead(),
            _STEP_NS.get(host.get("clocksource"), 1.0),
            _on_the_way(session),
        )


def _on_the_way(session: Session) -> dict[str, float]:
    times, points = session.program_times(), session.facts.points
    if times["tracer"].nunique() != 1:
        return {}
    program_ns = {points[row.point]: row.mean_ns for row in times.itertuples() if row.point in points}
    return program_time_per_packet(session.columns["point"], session.correlated, session.ends, program_ns)


def _parameters(workload: Mapping[str, Any]) -> str:
    return json.dumps(workload.get("parameters", {}), sort_keys=True).strip("{}").replace('"', "")


Sides = Mapping[str, Sequence[Circumstances]]


def of_recordings(sides: Sides) -> list[str]:
    """Return warnings about how the sides were recorded, one sentence per warning.

    Parameters
    ----------
    sides : mapping of str to sequence of Circumstances
        Side → its runs.
    """
    return [*_runs(sides), *_unlike(sides), *_lost(sides), *_observed(sides)]


def _runs(sides: Sides) -> list[str]:
    single = [name for name, runs in sides.items() if len(runs) == 1]
    few = [f"{name} ({len(runs)})" for name, runs in sides.items() if 1 < len(runs) < FEW_RUNS]
    found = []
    if single:
        found.append(
            f"one run only: {', '.join(single)}. Intervals show the scatter within this run; the variation from run to "
            "run is not in them, so another run may well lie outside."
        )
    if few:
        found.append(
            f"fewer than {FEW_RUNS} runs: {', '.join(few)}. Intervals are wide, because so few runs say little about "
            "their scatter."
        )
    return found


def _unlike(sides: Sides) -> list[str]:
    found = []
    for what, many in _ALIKE.items():
        values = {name: sorted({run.alike[what] for run in runs}) for name, runs in sides.items()}
        if len({tuple(of) for of in values.values()}) > 1:
            shown = "; ".join(f"{name}: {' or '.join(map(_short, of))}" for name, of in values.items())
            found.append(f"the {many} differ between the sides and may cause the difference: {shown}")
        elif any(len(of) > 1 for of in values.values()):
            mixed = ", ".join(name for name, of in values.items() if len(of) > 1)
            found.append(f"the {many} differ between the runs of {mixed}")
    return found


def _short(text: str, most: int = 90) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _lost(sides: Sides) -> list[str]:
    found = []
    for name, runs in sides.items():
        if lost := sum(run.lost_events for run in runs):
            found.append(f"{name}: {lost:,} lost events: the tracer lost them, so packets are missing")
        if gap := sum(run.trace_gap_ns for run in runs):
            found.append(f"{name}: trace gaps: {duration(gap)} in total, in which packets passed unseen")
        if early := sorted({run.ended for run in runs} - {"finished"}):
            found.append(f"{name}: a recording did not finish: {', '.join(early)}")
    return found


def _observed(sides: Sides) -> list[str]:
    without = [name for name, runs in sides.items() if all(run.overhead.empty for run in runs)]
    if not without:
        return []
    return [
        f"tracing overhead was not measured: {', '.join(without)}. It is not known how much of a difference tracing "
        "causes; record with overhead=True."
    ]


def clock_error(metric: str, unit: str, runs: Sequence[Circumstances]) -> float:
    """Return the difference that the clock alone may cause, in the unit of the metric.

    Parameters
    ----------
    metric : str
        What is compared.
    unit : str
        Its unit; only times (``"ns"``) have a clock error.
    runs : sequence of Circumstances
        Runs of both sides.
    """
    if unit != "ns":
        return 0.0
    step = max(run.clock_step_ns for run in runs)
    return max(step, _SRTT_STEP_NS) if metric in ("rtt", "srtt") else step


def tracer(metric: str, row: Any, side: Sequence[Circumstances], base: Sequence[Circumstances]) -> float:
    """Return the difference that tracing alone may cause, in the unit of the metric; NaN if not known.

    Parameters
    ----------
    metric : str
        What is compared.
    row : namedtuple
        A row of the table ``compared``, without its verdict.
    side, base : sequence of Circumstances
        The runs of the side and of the baseline.

    Notes
    -----
    One-way delays and segments: the run time of the tracer's programs is known. A difference of one-way delays contains
    the difference between the two sides' run times; a difference of segments contains at most the whole run time.

    Other metrics: the cost comes from the traced and untraced rounds of the workload. Sides that were traced alike
    (same rules, points and sample) have similar costs, so only the difference of their costs remains. Otherwise, or if
    only one side was measured, the largest measured cost counts: the upper end of its interval. The overhead is that of
    the workload's own delays, mostly of a round trip, so it is an upper bound for a one-way delay and for a segment.
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
    """Return how long (ns) programs run per packet on both sides; None if not known or not relevant to the metric."""
    if metric not in ("one_way_delay", "segment"):
        return None
    known = [[run.on_the_way_ns for run in runs if run.on_the_way_ns] for runs in (side, base)]
    if not all(known):
        return None
    # If the sides' containers have different names, the baseline does not have this direction.
    means = [[run.get(direction, float(np.mean(list(run.values())))) for run in runs] for runs in known]
    return float(np.mean(means[0])), float(np.mean(means[1]))


def _cost(
    metric: str, unit: str, statistic: str, value: float, runs: Sequence[Circumstances]
) -> tuple[float, float] | None:
    """Return by how much tracing changed one side's runs, and the upper bound; None if it was not measured."""
    word, take = _overhead_of(metric, unit, statistic, value)
    rows = [row for run in runs for row in run.overhead.itertuples() if row.metric == word]
    if not rows:
        return None
    changes = np.array([take(row) for row in rows], float)
    ends = np.where(np.isfinite(changes[:, 1:]), changes[:, 1:], changes[:, :1])
    return float(changes[:, 0].mean()), float(np.abs(ends).max())


def _overhead_of(metric: str, unit: str, statistic: str, value: float) -> tuple[str, Callable]:
    """Return which metric of the overhead table applies, and a function that reads (change, low, high) from its row."""
    if unit == "ns":
        rank = _rank(metric, statistic)
        word = "p50" if rank <= 50 else "p99" if rank <= 99 else "p99.9"
        return word, lambda row: (row.difference, row.low, row.high)
    if unit in ("bit/s", "1/s"):
        return "throughput", lambda row: tuple(value * (r - 1) for r in (row.ratio, row.ratio_low, row.ratio_high))
    return "", lambda row: (math.nan,) * 3


def _rank(metric: str, statistic: str) -> float:
    """Return the percentile of a statistic, or of a metric of the workload; a mean counts as the median."""
    if statistic != "mean":
        return float(statistic.removeprefix("p"))
    word = metric.removesuffix("_ns").rpartition("_p")[2]
    return {"90": 90.0, "99": 99.0, "999": 99.9}.get(word, 50.0)


def of_differences(metric: str, rows: pd.DataFrame, sides: Sides) -> list[str]:
    """Return warnings about single differences, one sentence per warning.

    Parameters
    ----------
    metric : str
        What is compared.
    rows : pandas.DataFrame
        The table ``compared``, verdicts included.
    sides : mapping of str to sequence of Circumstances
        Side → its runs.
    """
    found = []
    for row in rows.itertuples():
        where = f"{row.statistic} of {row.name}" + (f", {row.direction}" if row.direction else "")
        size = with_unit(abs(row.difference), row.unit)
        if row.verdict == "below clock error":
            found.append(f"{where}: the difference, {size}, is below the clock error, {duration(row.clock_error)}")
        if row.verdict == "below tracing overhead":
            why = _why(metric, row.direction, sides[row.name], sides[row.baseline])
            limit = with_unit(row.overhead, row.unit)
            found.append(f"{where}: the difference, {size}, is below the tracing overhead, {limit}: {why}")
        found += _few_beyond(row, where) + _none_dropped(row, where)
    return found


def _why(metric: str, direction: str, side: Sequence[Circumstances], base: Sequence[Circumstances]) -> str:
    if _ran(metric, direction, side, base) is not None:
        if metric == "segment":
            return "the tracer's programs run that long per packet"
        return "the tracer's programs run that much longer per packet on one side"
    measured = [any(len(run.overhead) for run in runs) for runs in (side, base)]
    if not all(measured):
        return "it was measured on one side only, so the upper end of its interval counts"
    if any({r.alike[w] for r in side} != {r.alike[w] for r in base} for w in ("rules", "points", "sample")):
        return (
            "the sides were not traced alike, so the costs do not cancel out and the upper end of the interval counts"
        )
    return "both sides were traced alike, so the difference of their overheads counts"


def _few_beyond(row, where: str) -> list[str]:
    if row.statistic == "mean":
        return []
    share = 1 - float(row.statistic.removeprefix("p")) / 100
    beyond = min(row.n / row.runs, row.baseline_n / row.baseline_runs) * min(share, 1 - share)
    if beyond >= FEW_BEYOND:
        return []
    return [f"{where}: only about {beyond:.1f} values of a run lie beyond it, so it depends on chance"]


def _none_dropped(row, where: str) -> list[str]:
    """Bound the loss where no packet was dropped, by the rule of three (Hanley and Lippman-Hand 1983, JAMA)."""
    if row.metric != "loss" or (row.value > 0 and row.baseline_value > 0):
        return []
    most = 3 / min(row.n if row.value == 0 else row.baseline_n, row.baseline_n if row.baseline_value == 0 else row.n)
    return [
        f"{where}: a side dropped no packet, so there is no interval of its loss; it may be up to {most:.2g} (3 / n)"
    ]
