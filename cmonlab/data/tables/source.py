"""The data of a session that all its tables are computed from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import pandas as pd

from ..analysis import journeys as _journeys
from ..analysis.walk import Walk
from ..correlation.correlate import Journeys, correlate
from ..store import cells as _stored_cells
from .manifest import Manifest


class SessionData:
    """The data of a session.

    Parameters
    ----------
    columns : mapping of str to numpy.ndarray
        The stored columns of the events, shape (events,), in order of time.
    manifest : mapping
        Content of ``manifest.json``.
    cells : mapping of str to numpy.ndarray, optional
        Cells that aggregate rules counted: the columns of ``cmonlab.data.store.cells``.
    probe_values : mapping of str to numpy.ndarray, optional
        Values that custom probes read: the columns of ``cmonlab.data.store.probe_values``.

    Attributes
    ----------
    columns : dict of str to numpy.ndarray
        As above.
    manifest : dict
        As above.
    facts : Manifest
        The manifest in the form that tables need.
    correlated : Journeys
        The journeys that correlation found among the events; computed once.
    ends : Ends
        Where each journey began, and how it ended; computed once.
    walk : Walk
        The labelled hops and segments of the journeys.
    cells : mapping of str to numpy.ndarray
        As above; columns without rows if no rule aggregated.
    """

    def __init__(
        self,
        columns: Mapping[str, np.ndarray],
        manifest: Mapping,
        cells: Mapping[str, np.ndarray] | None = None,
        probe_values: Mapping[str, np.ndarray] | None = None,
    ):
        self.columns = dict(columns)
        self.manifest = dict(manifest)
        self._cells = None if cells is None else dict(cells)
        self._probe_values = None if probe_values is None else dict(probe_values)
        self.facts = Manifest(self.manifest)

    @cached_property
    def correlated(self) -> Journeys:
        """The journeys that correlation found among the events."""
        facts, columns = self.facts, self.columns
        breaks = facts.breaks(columns["epoch"], columns["ts_ns"])
        macvlans = facts.names.macvlans
        return correlate(
            columns, facts.stages, facts.lost_points(), breaks, facts.partial(), rx_namespace_by_address=macvlans
        )

    @cached_property
    def ends(self) -> _journeys.Ends:
        """Where each journey began, and how it ended."""
        return _journeys.ends_of(self.columns, self.correlated, self.facts.names, self.facts.stages)

    @cached_property
    def _journeys(self) -> pd.DataFrame:
        return _journeys.table(self.columns, self.correlated, self.ends, self.facts.names, self.facts.reasons)

    @property
    def walk(self) -> Walk:
        """The labelled hops and segments of the journeys."""
        return Walk(self.columns, self.correlated, self.facts.names, self.facts.kinds)

    @property
    def cells(self) -> Mapping[str, np.ndarray]:
        """The columns of the cells that aggregate rules counted; without rows if no rule aggregated."""
        return _stored_cells.columns_of([]) if self._cells is None else self._cells
