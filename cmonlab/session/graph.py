"""The tables of the network as a graph."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..analysis import edge_cells, edges
from ..analysis.graph import Graph as _Graph
from .counted import Counted


class Graph(Counted):
    """What is wired to what, and what passed there."""

    def topology(self) -> pd.DataFrame:
        """What one would draw of the network, an edge a row; columns of ``schema.describe("topology")``."""
        tables = self._columns, self._counted
        words = [np.unique(one["netns"].astype(np.uint64) << np.uint64(32) | one["ifindex"]) for one in tables]
        return _Graph(self._facts.names, np.unique(np.concatenate(words))).table()

    def edges(self, windows: bool = False) -> pd.DataFrame:
        """What crossed each edge of the topology, each way; columns of ``schema.describe("edges")``.

        Of aggregates where the session has them, else of captured events.

        Parameters
        ----------
        windows : bool
            One row a window of the aggregates, or a second of the events, and not of the whole.
        """
        if self._cells is not None and len(self._counted["start_ns"]):
            return edge_cells.counted(self._counted, self._facts.context, windows)
        facts = self._facts
        return edges.captured(self._columns, self._found, facts.names, facts.stages, windows)
