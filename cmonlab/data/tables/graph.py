"""The tables of the network as a graph."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..analysis import edge_cells, edges
from ..analysis.graph import Graph as _Graph
from .aggregates import Counted


class Graph(Counted):
    """What is wired to what, and what passed there."""

    def topology(self) -> pd.DataFrame:
        """What one would draw of the network, an edge a row; columns of ``schema.describe("topology")``."""
        tables = self.columns, self.cells
        words = [np.unique(one["netns"].astype(np.uint64) << np.uint64(32) | one["ifindex"]) for one in tables]
        return _Graph(self.facts.names, np.unique(np.concatenate(words))).table()

    def edges(self, windows: bool = False) -> pd.DataFrame:
        """What crossed each edge of the topology, each way; columns of ``schema.describe("edges")``.

        Of aggregates where the session has them, else of captured events.

        Parameters
        ----------
        windows : bool
            One row a window of the aggregates, or a second of the events, and not of the whole.
        """
        if self._cells is not None and len(self.cells["start_ns"]):
            return edge_cells.counted(self.cells, self.facts.context, windows)
        facts = self.facts
        return edges.captured(self.columns, self.correlated, facts.names, facts.stages, windows)
