"""Every table of a session, by name."""

from __future__ import annotations

from typing import Self

import numpy as np
import pandas as pd

from cmonlab.errors import UnknownName
from cmonlab.schema import SESSION_TABLES

from ..analysis import journeys as _journeys
from ..analysis import overhead as _overhead
from .delays import DelayTables
from .graph import GraphTables


class Tables(DelayTables, GraphTables):
    """All tables of a session.

    Parameters
    ----------
    columns : mapping of str to numpy.ndarray
        The stored columns of the events, shape (events,), in order of time.
    manifest : mapping
        Provenance, names and the ledger, as in ``manifest.json``.
    cells : mapping of str to numpy.ndarray, optional
        Cells that aggregate rules counted: the columns of ``cmonlab.data.store.cells``.
    probe_values : mapping of str to numpy.ndarray, optional
        Values that custom probes read: the columns of ``cmonlab.data.store.probe_values``.

    Attributes
    ----------
    columns, manifest, facts, correlated, ends, walk, cells
        The data that tables are computed from; see `SessionData`.
    events : pandas.DataFrame
        One row per event.
    """

    @property
    def lost_events(self) -> int:
        """Number of events that the tracer lost; this is not packet loss."""
        return int(self.ledger()["lost"].sum())

    @property
    def duration_s(self) -> float:
        """Seconds between the first and the last event; without events, the time that aggregates cover."""
        ts, counted = self.columns["ts_ns"], self.cells
        if len(ts):
            return float(ts[-1] - ts[0]) / 1e9
        return float(counted["end_ns"].max() - counted["start_ns"].min()) / 1e9 if len(counted["end_ns"]) else 0.0

    @property
    def rules_summary(self) -> str:
        """The rules as text."""
        return self.facts.rules_summary()

    @property
    def sampled(self) -> str:
        """``"sampled 10%"`` if only a share of the packets was recorded, else empty."""
        return self.facts.sampled()

    def __len__(self) -> int:
        return len(self.columns["ts_ns"])

    def __repr__(self) -> str:
        ends = self.ends
        workload = (self.manifest.get("workload") or {}).get("name", "no workload")
        lines = [
            f"<Session {workload}, {self.duration_s:.2f} s, rules: {self.rules_summary}",
            f"  {len(self.correlated):,} journeys, {ends.complete.sum():,} complete, {ends.dropped.sum():,} dropped"
            f"{self.sampled and f' ({self.sampled}{self.facts.in_all(ends.rules)})'}",
            f"  {len(self):,} events, {self.lost_events:,} lost events, "
            f"trace gaps: {self.trace_gap_ns / 1e6:.1f} ms in total",
            f"  tracing overhead: {_overhead.summary(self.facts.overhead)}; one clock, no clock error>",
        ]
        if self._cells is not None:
            windows = len(np.unique(self.cells["start_ns"]))
            lines.insert(2, f"  {windows:,} windows of aggregates, {len(self.cells['start_ns']):,} cells")
        return "\n".join([*lines[:-1], *(f"  {remark}" for remark in self.facts.remarks()), lines[-1]])

    @property
    def trace_gap_ns(self) -> int:
        """Total duration of all trace gaps in ns, summed over CPUs."""
        table = self.trace_gaps()
        return int((table["end_ns"] - table["start_ns"]).sum())

    def of_rule(self, name: str) -> Self:
        """Return the events that one capture rule recorded, as a session of their own.

        Parameters
        ----------
        name : str
            Name of the rule.

        Returns
        -------
        Session
            The ledger stays that of all rules. It has no aggregates and no probe values.

        Raises
        ------
        UnknownName
            No capture rule has this name.
        """
        entries, taken = self.facts.taken_by(name, self.columns["rules"], self.columns["epoch"])
        return type(self)({n: of[taken] for n, of in self.columns.items()}, {**self.manifest, "rules": entries})

    def table(self, name: str) -> pd.DataFrame:
        """Return a table by its name.

        Parameters
        ----------
        name : str
            One of `cmonlab.schema.SESSION_TABLES`.

        Returns
        -------
        pandas.DataFrame
            Columns of ``schema.describe(name)``.

        Raises
        ------
        UnknownName
            There is no such table.
        """
        if name not in SESSION_TABLES:
            raise UnknownName("table", name, SESSION_TABLES)
        return getattr(self, name)()

    def caption(self) -> str:
        """Return the line below each figure: number of packets, lost events, tracing overhead."""
        table, pairs = self.journeys(), self.pairs() if self.aggregated else None
        complete = int(table["complete"].sum())
        ended = self.manifest["recording"]["ended"]
        parts = [
            f"{complete:,} complete of {len(table):,} journeys" + (f" ({self.sampled})" if self.sampled else ""),
            f"{len(self):,} events, {self.lost_events:,} lost events",
            *([f"trace gaps: {self.trace_gap_ns / 1e6:.1f} ms"] if self.trace_gap_ns else []),
            f"tracing overhead: {_overhead.summary(self.overhead())}",
        ]
        if pairs is not None:
            windows = pairs["start_ns"].nunique()
            parts.insert(0, f"{pairs['packets_sent'].sum():,} packets in {windows:,} windows of aggregates")
        return " · ".join(parts + ([f"recording {ended}"] if ended != "finished" else []))

    def typical(self, direction: str | None = None) -> int:
        """Return a typical journey: the complete journey with the median one-way delay.

        Parameters
        ----------
        direction : str, optional
            One direction of the journeys table; all by default.

        Returns
        -------
        int
            Number in the journeys table.

        Raises
        ------
        SessionError
            No journey is complete.
        """
        return _journeys.at_quantile(self._journeys, 0.5, direction)
