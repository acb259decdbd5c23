"""Tables of the network as a graph."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..analysis import edge_cells, edges
from ..analysis.graph import Graph
from .aggregates import AggregateTables


class GraphTables(AggregateTables):
    """The topology of the network, and the traffic on its edges."""

    def topology(self) -> pd.DataFrame:
        """Return the graph of the network: how namespaces, bridges and interfaces are connected.

        Returns
        -------
        pandas.DataFrame
            One row per edge; columns of ``schema.describe("topology")``.
        """
        tables = self.columns, self.cells
        words = [np.unique(one["netns"].astype(np.uint64) << np.uint64(32) | one["ifindex"]) for one in tables]
        return Graph(self.facts.names, np.unique(np.concatenate(words))).table()

    def edges(self, windows: bool = False) -> pd.DataFrame:
        """Return traffic, loss and delay of each edge of the topology.

        They are computed from aggregates if the session has any, else from events.

        Parameters
        ----------
        windows : bool
            One row per edge, direction and window: a window of the aggregates, or a second of the events. Otherwise one
            row per edge and direction.

        Returns
        -------
        pandas.DataFrame
            Columns of ``schema.describe("edges")``.
        """
        if self._cells is not None and len(self.cells["start_ns"]):
            return edge_cells.counted(self.cells, self.facts.context, windows)
        facts = self.facts
        return edges.captured(self.columns, self.correlated, facts.names, facts.stages, windows)
