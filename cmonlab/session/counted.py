"""The tables of what aggregate rules counted."""

from __future__ import annotations

import pandas as pd

from ..analysis import aggregate
from ..analysis import pairs as _pairs
from .base import Base


class Counted(Base):
    """Traffic, loss and delay of whole windows, counted in the kernel."""

    def pairs(self) -> pd.DataFrame:
        """Traffic, loss and delay per window and direction; columns of ``schema.describe("pairs")``."""
        return _pairs.pairs(self._counted, self._facts.context)

    def flows(self) -> pd.DataFrame:
        """The same per flow, where a rule aggregates by flow; columns of ``schema.describe("flows")``."""
        return _pairs.pairs(self._counted, self._facts.context, flows=True)

    def segments(self, windows: bool = False) -> pd.DataFrame:
        """One row a segment and direction, over all or per window; columns of ``schema.describe("segments")``."""
        return aggregate.segments(self._counted, self._facts.context, windows)

    def drop_counts(self) -> pd.DataFrame:
        """Dropped packets per window, place and reason; columns of ``schema.describe("drop_counts")``."""
        return aggregate.drops(self._counted, self._facts.context, self._facts.reasons)
