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
    """One run's events and manifest.

    Parameters
    ----------
    columns : mapping of str to numpy.ndarray
        The stored columns of the events, in order of time.
    manifest : mapping
        Provenance, names and the ledger, as in ``manifest.json``.
    cells : mapping of str to numpy.ndarray, optional
        What aggregate rules counted: the columns of ``cmonlab.cells``.
    notes : mapping of str to numpy.ndarray, optional
        What custom points took down: the columns of ``cmonlab.extras``.
    """

    def __init__(
        self, columns: Mapping[str, np.ndarray], manifest: Mapping,
        cells: Mapping[str, np.ndarray] | None = None, notes: Mapping[str, np.ndarray] | None = None,
    ):  # fmt: skip
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
