"""Tracing overhead: what the rounds of a workload say about whoever looked on."""

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
#: Its ratio says nothing: without a tracer there is next to nothing.
TRACER_CPU = "tracer CPU"
_SHORT = ("throughput", "p50", "CPU")
_SIGN = str.maketrans("-", "−")

#: Names of metrics in sessions of older versions.
_FORMER = {"observer CPU": TRACER_CPU}

Samples = Mapping[str, Mapping[str, Sequence[float]]]


def table(samples: Samples, units: Mapping[str, str]) -> pd.DataFrame:
    """Return what each tracer changed.

    Parameters
    ----------
    samples : mapping of str to mapping of str to sequence of float
        Tracer, ``"untraced"`` among them → metric → one sample a round; the same rounds for all.
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
    """Return what each program takes.

    Parameters
    ----------
    programs : mapping of str to mapping of str to (float, int)
        Tracer → point → mean time of a run (ns), and runs.

    Returns
    -------
    DataFrame
        Columns of ``schema.TABLES["program_times"]``.
    """
    rows = [(tracer, point, *found) for tracer, points in programs.items() for point, found in points.items()]
    dtypes = {column.name: column.dtype for column in schema.TABLES["program_times"]}
    return pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)


def on_the_way(point: np.ndarray, found: Journeys, ends: Ends, program_ns: Mapping[int, float]) -> dict[str, float]:
    """Return for how long programs run while a packet is on its way.

    Parameters
    ----------
    point : numpy.ndarray of uint8, shape (events,)
        Of each event.
    found : Journeys
    ends : Ends
    program_ns : mapping of int to float
        Point's number → mean time of its program.

    Returns
    -------
    dict of str to float
        Direction → mean over its complete journeys, ns: one run a hop.
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
    """Return one tracer's rows for reading, the most telling metrics only; of several tracers, how many.

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
    return ", ".join(_told(row) for row in shown.itertuples())


def _told(row) -> str:
    if row.unit == "ns":
        change, unit = np.array([row.difference, row.low, row.high]) / 1000, " µs"
    else:
        change, unit = 100 * (np.array([row.ratio, row.ratio_low, row.ratio_high]) - 1), "%"
    middle, low, high = (f"{value:+.{_places(change)}f}".translate(_SIGN) for value in change)
    interval = f"95% {low}…{high}" if np.isfinite(change).all() else f"{row.rounds} rounds only"
    return f"{row.metric} {middle}{unit} ({interval})"


def _places(change: np.ndarray) -> int:
    """Return as many decimal places as the coarsest value needs."""
    return 1 if np.nanmax(np.abs(change)) >= 1 else 2


@dataclass(frozen=True)
class Overhead:
    """What a workload did with and without tracers, round by round.

    Attributes
    ----------
    workload : dict
        Its description.
    round_s : float
        How long it ran in each round for each tracer.
    warmup : int
        Rounds that were made before and left out.
    order : list of list of str
        Who looked on in each round, one after the other.
    units : dict of str to str
        Metric → unit.
    samples : dict of str to dict of str to list of float
        Tracer, ``"untraced"`` among them → metric → one sample a round.
    programs : dict of str to dict of str to (float, int)
        Tracer → point → mean time of a run of its program (ns), and runs, of tracers that have programs; from a
        run of the workload that is not among the rounds, as counting the time takes some itself.
    """

    workload: dict
    round_s: float
    warmup: int
    order: list[list[str]]
    units: dict[str, str]
    samples: dict[str, dict[str, list[float]]]
    programs: dict[str, dict[str, tuple[float, int]]] = field(default_factory=dict)

    @classmethod
    def read(cls, told: Mapping) -> Overhead:
        """Return what `describe` described."""
        return cls(**{name: told[name] for name in cls.__dataclass_fields__ if name in told})

    def table(self) -> pd.DataFrame:
        """Return what each tracer changed; columns of ``schema.describe("overhead")``."""
        return table(self.samples, self.units)

    def describe(self) -> dict:
        """Return what JSON can hold: every sample, and the table's rows."""
        rows = json.loads(self.table().to_json(orient="records", double_precision=15))
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"table": rows}
