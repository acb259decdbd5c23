"""Comparing sessions: whether one is faster, by how much, and how far to trust the answer."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cmonlab import schema
from cmonlab.data.analysis.bootstrap import Side
from cmonlab.data.analysis.differences import Pair, judged
from cmonlab.errors import SessionError, UnknownName
from cmonlab.session.session import Session, open

from . import metrics
from . import warnings as threats

if TYPE_CHECKING:
    One = Session | str | os.PathLike
_SHOWN = ("direction", "name", "statistic", "value", "difference", "low", "high", "verdict")


def compare(
    sides: Mapping[str, One | Sequence[One]],
    metric: str = "one_way_delay",
    direction: str | Mapping[str, str] | None = None,
    quantiles: Sequence[float] = (0.5, 0.9, 0.99),
    *,
    segment: str | None = None,
    baseline: str | None = None,
) -> Comparison:
    """Compare sessions: differences with confidence intervals, effect sizes, and threats to validity.

    Parameters
    ----------
    sides : mapping of str to session, or to a sequence of sessions
        Name → one run or its repetitions. A run is a `Session` or the path of a saved one. Saved sessions are opened
        one after the other, so that only one is in memory.
    metric : str
        ``one_way_delay`` (complete journeys), ``segment``, ``srtt`` (or ``rtt``, the same), ``throughput`` (windows of
        0.1 s), ``loss``, or a result of the workload, for instance ``latency_p99_ns``.
    direction : str or mapping of str to str, optional
        One direction only, for instance ``"c1 → c0"``; by default all directions that every session has. A mapping
        gives the direction of each side, for sides whose containers have different names.
    quantiles : sequence of float
        Quantiles to compare in addition to the mean, between 0 and 1.
    segment : str, optional
        Compare the time in a segment instead of `metric`: the segment's name, a shell pattern
        (``"c1:eth0 xmit → host:veth* rx"``; the times of all matching segments are added up), or a kind
        (``"queueing"``).
    baseline : str, optional
        The side that the others are compared with; the first by default.

    Returns
    -------
    Comparison

    Raises
    ------
    UnknownName
        There is no such metric, segment, direction or side.
    SessionError
        There are fewer than two sides, a session cannot be read or has no value of the metric, or the sides have no
        direction in common.

    Notes
    -----
    Confidence intervals come from bootstrap resampling. If a side has several runs, whole runs are resampled (cluster
    bootstrap), because packets of one run are not independent. If it has one run, blocks of consecutive packets are
    resampled (moving block bootstrap); the interval then does not contain the variation from run to run. See
    `cmonlab.data.analysis.bootstrap` for the sources. Each interval is at 95% on its own: of twenty comparisons of
    equal sides, about one interval leaves out 0.
    """
    metric = "segment" if segment is not None else metric
    runs = {name: _runs(name, of) for name, of in sides.items()}
    baseline = _checked(runs, baseline, metric, segment, quantiles)
    values: dict[str, list[metrics.Values]] = {name: [] for name in runs}
    circumstances: dict[str, list[threats.Circumstances]] = {name: [] for name in runs}
    for name, session in _each(runs):
        values[name].append(metrics.read(session, metric, segment))
        circumstances[name].append(threats.Circumstances.of(session))
    pairs = _pairs(values, metric, segment, direction, baseline)
    return Comparison(metric, baseline, pairs, tuple(quantiles), circumstances)


def _runs(name: str, given: One | Sequence[One]) -> list[One]:
    runs: list[One] = [given] if isinstance(given, Session | str | os.PathLike) else list(given)
    if not runs or not all(isinstance(run, Session | str | os.PathLike) for run in runs):
        raise SessionError(f"the side {name!r} has no sessions", fix="give a session, its path, or a list of them")
    return runs


def _checked(
    runs: Mapping[str, list], baseline: str | None, metric: str, segment: str | None, quantiles: Sequence[float]
) -> str:
    """Return the baseline's name."""
    if len(runs) < 2:
        raise SessionError(f"{len(runs)} side cannot be compared", fix="give two or more sides, each with a name")
    if baseline is not None and baseline not in runs:
        raise UnknownName("side", baseline, runs)
    if metric == "segment" and not segment:
        raise SessionError("no segment is named", fix='name one: segment="c0:eth0 rx → c0:eth0 receive"')
    if not all(0 < quantile < 1 for quantile in quantiles):
        raise SessionError(f"{tuple(quantiles)} are not quantiles", fix="give numbers above 0 and below 1")
    return baseline or next(iter(runs))


def _each(runs: Mapping[str, list[One]]) -> Iterator[tuple[str, Session]]:
    for name, given in runs.items():
        for run in given:
            yield name, run if isinstance(run, Session) else open(Path(run))


def _pairs(
    values: Mapping[str, list[metrics.Values]],
    metric: str,
    segment: str | None,
    direction: str | Mapping[str, str] | None,
    baseline: str,
) -> list[Pair]:
    unit = next(iter(values.values()))[0].unit
    word = segment if metric == "segment" else metric
    pairs = []
    for mine in _directions(values, direction):
        sides = {
            name: Side([run.by_direction[mine[name]] for run in runs], seed=number)
            for number, (name, runs) in enumerate(values.items())
        }
        pairs += [
            Pair(str(word), mine[name], name, baseline, unit, side, sides[baseline])
            for name, side in sides.items()
            if name != baseline
        ]
    return pairs


def _directions(
    values: Mapping[str, list[metrics.Values]], direction: str | Mapping[str, str] | None
) -> list[dict[str, str]]:
    """Return the directions to compare, one dict (side → its direction) per comparison."""
    known = {name: _common(runs) for name, runs in values.items()}
    if all(of == [""] for of in known.values()):
        return [dict.fromkeys(values, "")]
    if direction is not None:
        wanted = dict(direction) if isinstance(direction, Mapping) else dict.fromkeys(values, direction)
        for name in values:
            if wanted.get(name) not in known[name]:
                raise UnknownName(f"direction of {name}", str(wanted.get(name, "")), known[name])
        return [wanted]
    common = [one for one in next(iter(known.values())) if all(one in of for of in known.values())]
    if not common:
        listed = "; ".join(f"{name}: {', '.join(of) or 'none'}" for name, of in known.items())
        raise SessionError(
            "the sides have no direction in common",
            why=listed,
            fix='name the direction of each side: direction={"bridge": "c1 → c0", "host": "…"}',
        )
    return [dict.fromkeys(values, one) for one in common]


def _common(runs: list[metrics.Values]) -> list[str]:
    return [one for one in runs[0].by_direction if all(one in run.by_direction for run in runs)]


@dataclass(frozen=True, repr=False)
class Comparison:
    """The result of `compare`.

    Attributes
    ----------
    metric : str
        What was compared.
    baseline : str
        The side that the others are compared with.
    pairs : list of Pair
        Each other side paired with the baseline, per direction.
    quantiles : tuple of float
        Compared quantiles, between 0 and 1.
    circumstances : dict of str to list of Circumstances
        How each run of each side was recorded.
    """

    metric: str
    baseline: str
    pairs: list[Pair] = field(repr=False)
    quantiles: tuple[float, ...]
    circumstances: dict[str, list[threats.Circumstances]]
    _made: dict[str, pd.DataFrame] = field(default_factory=dict)

    def table(self) -> pd.DataFrame:
        """Return one row per side, direction and statistic; columns of ``schema.describe("compared")``."""
        return self._once("compared", self._table)

    def effects(self) -> pd.DataFrame:
        """Return effect sizes, one row per side and direction; columns of ``schema.describe("effects")``."""
        return self._once("effects", lambda: _joined("effects", [pair.effects() for pair in self.pairs]))

    def shifts(self) -> pd.DataFrame:
        """Return the shift function, one row per side, direction and quantile.

        Returns
        -------
        pandas.DataFrame
            Columns of ``schema.describe("shifts")``.
        """
        return self._once("shifts", lambda: _joined("shifts", [pair.shifts() for pair in self.pairs]))

    def _once(self, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name].copy()

    def _table(self) -> pd.DataFrame:
        runs = self.circumstances
        rows = pd.concat([pair.compared(self.quantiles) for pair in self.pairs], ignore_index=True)
        rows["clock_error"] = [
            threats.clock_error(self.metric, row.unit, [*runs[row.name], *runs[row.baseline]])
            for row in rows.itertuples()
        ]
        rows["overhead"] = [
            threats.tracer(self.metric, row, runs[row.name], runs[row.baseline]) for row in rows.itertuples()
        ]
        rows["verdict"] = judged(rows)
        return _joined("compared", [rows])

    @property
    def warnings(self) -> list[str]:
        """Threats to the validity of the differences, one sentence per threat."""
        runs = self.circumstances
        return threats.of_recordings(runs) + threats.of_differences(self.metric, self.table(), runs)

    @property
    def caption(self) -> str:
        """The line below figures: number of values, lost events, trace gaps."""
        return " · ".join(self._described(name) for name in self.circumstances)

    def _described(self, name: str) -> str:
        runs = self.circumstances[name]
        n = sum(pair.side.n if pair.name == name else pair.base.n for pair in self._of(name))
        lost, gap = sum(run.lost_events for run in runs), sum(run.trace_gap_ns for run in runs)
        many = f"{len(runs)} runs" if len(runs) > 1 else "1 run"
        rest = f", trace gaps: {gap / 1e6:.1f} ms" if gap else ""
        return f"{name}: {many}, {n:,} values, {lost:,} lost events{rest}"

    def _of(self, name: str) -> list[Pair]:
        """Return pairs that contain a side's values; of the baseline those with one other side."""
        other = next(pair.name for pair in self.pairs)
        return [pair for pair in self.pairs if pair.name == (other if name == self.baseline else name)]

    def plot(self, kind: str | None = None) -> Any:
        """Draw the comparison.

        Parameters
        ----------
        kind : {"shift", "dots"}, optional
            ``"shift"``: the difference at every quantile. ``"dots"``: the chosen statistics as dots with intervals.
            By default ``"dots"`` if each run has a single value, otherwise ``"shift"``.

        Returns
        -------
        plotly.graph_objects.Figure

        Raises
        ------
        UnknownName
            There is no such figure.
        """
        from cmonlab.plot.compare import differences, shift

        drawn = {
            "shift": lambda: shift(self.shifts(), caption=self.caption),
            "dots": lambda: differences(self.table(), caption=self.caption),
        }
        kind = kind or ("dots" if all(pair.scalar for pair in self.pairs) else "shift")
        if kind not in drawn:
            raise UnknownName("kind of figure", kind, drawn)
        return drawn[kind]()

    def _shown(self) -> pd.DataFrame:
        rows = self.table()
        shown = rows[[*_SHOWN[:3]]].copy()
        for name in _SHOWN[3:7]:
            shown[name] = [threats.with_unit(value, unit) for value, unit in zip(rows[name], rows["unit"], strict=True)]
        shown["ratio"] = rows["ratio"].round(4)
        shown["verdict"] = rows["verdict"]
        return shown.drop(columns="direction") if (rows["direction"] == "").all() else shown

    def __repr__(self) -> str:
        head = f"<Comparison of {self.pairs[0].metric} with {self.baseline}>"
        table = self._shown().to_string(index=False)
        return "\n".join([head, table, *(f"! {warning}" for warning in self.warnings)])

    def _repr_html_(self) -> str:
        head = html.escape(f"{self.pairs[0].metric}, compared with {self.baseline}")
        notes = "".join(f"<li>{html.escape(warning)}</li>" for warning in self.warnings)
        table = self._shown().to_html(index=False, escape=True, border=0)
        return f"<p><b>{head}</b></p>{table}" + (f"<ul>{notes}</ul>" if notes else "")


def _joined(name: str, tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the concatenated tables with the schema's columns and dtypes."""
    dtypes = {column.name: column.dtype for column in schema.TABLES[name]}
    filled = [table for table in tables if len(table)]
    if not filled:
        return pd.DataFrame({name: np.empty(0, dtype) for name, dtype in dtypes.items()})
    return pd.concat(filled, ignore_index=True)[list(dtypes)].astype(dtypes)
