"""What every group of a session's tables is made from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pandas as pd

from ..analysis import journeys as _journeys
from ..analysis.walk import Walk
from ..correlation.correlate import Journeys, correlate
from ..store import cells as _stored_cells
from .manifest import Facts


class Base:
    """What a session is made from; see `Session` for the parameters."""

    def __init__(
        self,
        columns: Mapping[str, np.ndarray],
        manifest: Mapping,
        cells: Mapping[str, np.ndarray] | None = None,
        notes: Mapping[str, np.ndarray] | None = None,
    ):
        self.columns = dict(columns)
        self.manifest = dict(manifest)
        self._cells = None if cells is None else dict(cells)
        self._notes = None if notes is None else dict(notes)
        self.facts = Facts(self.manifest)

    @cached_property
    def correlated(self) -> Journeys:
        facts, columns = self.facts, self.columns
        breaks = facts.breaks(columns["epoch"], columns["ts_ns"])
        macvlans = facts.names.macvlans
        return correlate(
            columns, facts.stages, facts.lost_points(), breaks, facts.partial(), rx_namespace_by_address=macvlans
        )

    @cached_property
    def ends(self) -> _journeys.Ends:
        return _journeys.ends_of(self.columns, self.correlated, self.facts.names, self.facts.stages)

    @cached_property
    def _journeys(self) -> pd.DataFrame:
        return _journeys.table(self.columns, self.correlated, self.ends, self.facts.names, self.facts.reasons)

    @property
    def walk(self) -> Walk:
        return Walk(self.columns, self.correlated, self.facts.names, self.facts.kinds)

    @property
    def cells(self) -> Mapping[str, np.ndarray]:
        return _stored_cells.columns_of([]) if self._cells is None else self._cells
