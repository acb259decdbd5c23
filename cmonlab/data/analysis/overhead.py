"""Tracing overhead, from traced and untraced rounds of a workload."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cmonlab import schema

from .stats import paired

if TYPE_CHECKING:
    from ..correlation.correlate import Journeys
    from .journeys import Ends

UNTRACED = "untraced"
#: This metric has no ratio: without a tracer it is close to 0.
TRACER_CPU = "tracer CPU"
_SHORT = ("throughput", "p50", "CPU")
_SIGN = str.maketrans("-", "−")

#: Names of metrics in sessions of older versions → names now.
_FORMER = {"observer CPU": TRACER_CPU}

Samples = Mapping[str, Mapping[str, Sequence[float]]]


def table(samples: Samples, units: Mapping[str, str]) -> pd.DataFrame:
    """Return by how much each tracer changed the workload's metrics.

    Parameters
    ----------
    samples : mapping of str to mapping of str to sequence of float
        Tracer, or ``"untraced"`` → metric → one sample per round; the same rounds for all.
    units : mapping of str to str
        Metric → unit.

    Returns
    -------
    DataFrame
        Columns of ``schema.TABLES["overhead"]``; no row where nothing was measured.
    """
    rows = [
        _row(tracer, _FORMER.get(metric, metric), units[metric], samples[UNTRACED][metric], values)
        for tracer, metrics in samples.items()
        if tracer != UNTRACED
        for metric, values in metrics.items()
    ]
    dtypes = {column.name: column.dtype for column in schema.TABLES["overhead"]}
    return pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)


def program_times(programs: Mapping[str, Mapping[str, Sequence[float]]]) -> pd.DataFrame:
    """Return the run times of each tracer's programs.

    Parameters
    ----------
    programs : mapping of str to mapping of str to (float, int)
        Tracer → point → mean time of a run (ns), and number of runs.

    Returns
    -------
    DataFrame
        Columns of ``schema.TABLES["program_times"]``.
    """
    rows = [(tracer, point, *found) for tracer, points in programs.items() for point, found in points.items()]
    dtypes = {column.name: column.dtype for column in schema.TABLES["program_times"]}
    return pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)


def program_time_per_packet(
    point: np.ndarray, found: Journeys, ends: Ends, program_ns: Mapping[int, float]
) -> dict[str, float]:
    """Return how long the tracer's programs run while one packet is in flight.

    Parameters
    ----------
    point : numpy.ndarray of uint8, shape (events,)
        Point id of each event.
    found : Journeys
        From `correlate.correlate`.
    ends : Ends
        From `journeys.ends_of`.
    program_ns : mapping of int to float
        Point id → mean run time of its program, ns.

    Returns
    -------
    dict of str to float
        Direction → mean over its complete journeys in ns, with one run of a program per hop.
    """
    cost = np.zeros(int(point.max(initial=0)) + 1)
    for number, took_ns in program_ns.items():
        if number < len(cost):
            cost[number] = took_ns
    so_far = np.concatenate([[0.0], np.cumsum(cost[point[found.event]])])
    whole = pd.Series(np.diff(so_far[found.start])[ends.complete])
    means = whole.groupby(ends.direction[ends.complete], observed=True).mean()
    return {str(direction): float(mean) for direction, mean in means.items()}


def _row(tracer: str, metric: str, unit: str, untraced: Sequence[float], observed: Sequence[float]) -> dict:
    change = paired(observed, untraced)
    ratio = None if metric == TRACER_CPU else change.ratio
    return {
        "tracer": tracer,
        "metric": metric,
        "unit": unit,
        "untraced": np.median(untraced),
        "observed": np.median(observed),
        "difference": change.difference.median,
        "low": change.difference.interval[0],
        "high": change.difference.interval[1],
        "ratio": ratio.median if ratio else np.nan,
        "ratio_low": ratio.interval[0] if ratio else np.nan,
        "ratio_high": ratio.interval[1] if ratio else np.nan,
        "rounds": change.difference.n,
    }


def summary(rows: pd.DataFrame) -> str:
    """Return the overhead of one tracer as text, with the most important metrics only; of several, their number.

    Parameters
    ----------
    rows : DataFrame
        Columns of ``schema.TABLES["overhead"]``.

    Returns
    -------
    str
        ``"throughput −1.2% (95% −2.0…−0.4), p50 +0.8 µs (…), …"``, ``"of 4 tracers, see its table"``, or
        ``"not measured"``.
    """
    if rows.empty:
        return "not measured"
    if (tracers := rows["tracer"].nunique()) > 1:
        return f"of {tracers} tracers, see its table"
    shown = rows[rows["metric"].isin(_SHORT) & rows["ratio"].notna()]
    return ", ".join(_change(row) for row in shown.itertuples())


def _change(row) -> str:
    if row.unit == "ns":
        change, unit = np.array([row.difference, row.low, row.high]) / 1000, " µs"
    else:
        change, unit = 100 * (np.array([row.ratio, row.ratio_low, row.ratio_high]) - 1), "%"
    middle, low, high = (f"{value:+.{_places(change)}f}".translate(_SIGN) for value in change)
    interval = f"95% {low}…{high}" if np.isfinite(change).all() else f"{row.rounds} rounds only"
    return f"{row.metric} {middle}{unit} ({interval})"


def _places(change: np.ndarray) -> int:
    """Return the number of decimal places for a change and the ends of its interval."""
    return 1 if np.nanmax(np.abs(change)) >= 1 else 2


@dataclass(frozen=True)
class Overhead:
    """Metrics of a workload with and without tracers, round by round.

    Attributes
    ----------
    workload : dict
        Description of the workload.
    round_s : float
        Seconds that the workload ran in each round for each tracer.
    warmup : int
        Number of rounds that were run before and left out.
    order : list of list of str
        The tracers of each round in the order in which they were run.
    units : dict of str to str
        Metric → unit.
    samples : dict of str to dict of str to list of float
        Tracer, or ``"untraced"`` → metric → one sample per round.
    programs : dict of str to dict of str to (float, int)
        Tracer → point → mean run time of its program (ns), and number of runs; of tracers that have programs. They are
        from a separate run of the workload, because measuring them takes time itself.
    """

    workload: dict
    round_s: float
    warmup: int
    order: list[list[str]]
    units: dict[str, str]
    samples: dict[str, dict[str, list[float]]]
    programs: dict[str, dict[str, tuple[float, int]]] = field(default_factory=dict)

    @classmethod
    def read(cls, data: Mapping) -> Overhead:
        """Return the result that `describe` wrote; `data` is what it returned, for example read from JSON."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})

    def table(self) -> pd.DataFrame:
        """Return by how much each tracer changed each metric; columns of ``schema.describe("overhead")``."""
        return table(self.samples, self.units)

    def describe(self) -> dict:
        """Return a dict for JSON: every sample, and the rows of the table."""
        rows = json.loads(self.table().to_json(orient="records", double_precision=15))
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"table": rows}
