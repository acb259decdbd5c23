"""Tables from the counters of aggregate rules."""

from __future__ import annotations

import pandas as pd

from ..analysis import aggregate
from ..analysis import flows as _flows
from ..analysis import pairs as _pairs
from .events import EventTables


class AggregateTables(EventTables):
    """Traffic, loss and delay per window, counted in the kernel; pairs and flows also from events."""

    @property
    def aggregated(self) -> bool:
        """Whether a rule aggregated; then `pairs` and `flows` have one row per window."""
        return self._cells is not None

    def pairs(self) -> pd.DataFrame:
        """Return traffic, loss and delay per direction.

        Returns
        -------
        pandas.DataFrame
            One row per direction, rule and window if rules aggregate, else one per direction; columns of
            ``schema.describe("pairs")``.
        """
        return self._traffic(flows=False)

    def flows(self) -> pd.DataFrame:
        """Return traffic, loss and delay per flow.

        Returns
        -------
        pandas.DataFrame
            One row per flow, rule and window if rules aggregate, else one per flow; columns of
            ``schema.describe("flows")``. Ports are 0 if a rule aggregates by pairs of addresses.
        """
        return self._traffic(flows=True)

    def _traffic(self, flows: bool) -> pd.DataFrame:
        if self.aggregated:
            return _pairs.pairs(self.cells, self.facts.context, flows)
        start_ns, end_ns = self.columns["ts_ns"][[0, -1]].tolist() if len(self.columns["ts_ns"]) else (0, 0)
        tables = self._journeys, self._fates(), self.retransmissions(), self.rtt()
        return _flows.of_events(self.correlated, *tables, start_ns, end_ns, flows)

    def segments(self, windows: bool = False) -> pd.DataFrame:
        """Return the time that packets took for each segment, from aggregates.

        Parameters
        ----------
        windows : bool
            One row per segment, direction and window; otherwise one per segment and direction.

        Returns
        -------
        pandas.DataFrame
            Columns of ``schema.describe("segments")``; times in ns. No row if no rule aggregated.
        """
        return aggregate.segments(self.cells, self.facts.context, windows)

    def drop_counts(self) -> pd.DataFrame:
        """Return the number of dropped packets, from aggregates.

        Returns
        -------
        pandas.DataFrame
            One row per window, direction, place and reason; columns of ``schema.describe("drop_counts")``. No row if no
            rule aggregated.
        """
        return aggregate.drops(self.cells, self.facts.context, self.facts.reasons)
