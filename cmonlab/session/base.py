"""What every group of a session's tables is made from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pandas as pd

from .. import cells as _cells
from ..analysis import journeys as _journeys
from ..analysis.walk import Walk
from ..engine.correlate import Journeys, correlate
from ..facts import Facts


class Base:
    """What a session is made from; see `Session` for the parameters."""

    def __init__(
        self,
        columns: Mapping[str, np.ndarray],
        manifest: Mapping,
        cells: Mapping[str, np.ndarray] | None = None,
        notes: Mapping[str, np.ndarray] | None = None,
    ):
        self._columns = dict(columns)
        self.manifest = dict(manifest)
        self._cells = None if cells is None else dict(cells)
        self._notes = None if notes is None else dict(notes)
        self._facts = Facts(self.manifest)

    @cached_property
    def _found(self) -> Journeys:
        facts, columns = self._facts, self._columns
        breaks = facts.breaks(columns["epoch"], columns["ts_ns"])
        macvlans = facts.names.macvlans
        return correlate(columns, facts.stages, facts.lost_points(), breaks, facts.partial(), handed_to=macvlans)

    @cached_property
    def _ends(self) -> _journeys.Ends:
        return _journeys.ends_of(self._columns, self._found, self._facts.names, self._facts.stages)

    @cached_property
    def _journeys(self) -> pd.DataFrame:
        return _journeys.table(self._columns, self._found, self._ends, self._facts.names, self._facts.reasons)

    @property
    def _walk(self) -> Walk:
        return Walk(self._columns, self._found, self._facts.names, self._facts.kinds)

    @property
    def _counted(self) -> Mapping[str, np.ndarray]:
        return _cells.columns_of([]) if self._cells is None else self._cells
