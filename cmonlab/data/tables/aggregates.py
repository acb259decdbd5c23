"""The tables of what aggregate rules counted."""

from __future__ import annotations

import pandas as pd

from ..analysis import aggregate
from ..analysis import flows as _flows
from ..analysis import pairs as _pairs
from .events import Captured


class Counted(Captured):
    """Traffic, loss and delay of whole windows, counted in the kernel; pairs and flows of events where it did not."""

    @property
    def aggregated(self) -> bool:
        """Whether a rule aggregated: then `pairs` and `flows` are of windows."""
        return self._cells is not None

    def pairs(self) -> pd.DataFrame:
        """Traffic, loss and delay per direction; columns of ``schema.describe("pairs")``.

        Per window where rules aggregate, of the whole recording otherwise.
        """
        return self._who(flows=False)

    def flows(self) -> pd.DataFrame:
        """The same per flow, where a rule aggregates by flow or captures; columns of ``schema.describe("flows")``."""
        return self._who(flows=True)

    def _who(self, flows: bool) -> pd.DataFrame:
        if self.aggregated:
            return _pairs.pairs(self.cells, self.facts.context, flows)
        ends_ns = self.columns["ts_ns"][[0, -1]].tolist() if len(self.columns["ts_ns"]) else (0, 0)
        tables = self._journeys, self._fates(), self.retransmissions(), self.rtt()
        return _flows.of_events(self.correlated, *tables, *ends_ns, flows)

    def segments(self, windows: bool = False) -> pd.DataFrame:
        """One row a segment and direction, over all or per window; columns of ``schema.describe("segments")``."""
        return aggregate.segments(self.cells, self.facts.context, windows)

    def drop_counts(self) -> pd.DataFrame:
        """Dropped packets per window, place and reason; columns of ``schema.describe("drop_counts")``."""
        return aggregate.drops(self.cells, self.facts.context, self.facts.reasons)
