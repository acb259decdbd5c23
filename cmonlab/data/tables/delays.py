"""Tables of one-way delays."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cmonlab.errors import UnknownName

from ..analysis import delays, tail, timeline
from ..analysis import journeys as _journeys
from ..analysis.category import labelled
from ..analysis.names import protocol
from ..correlation.stream import flow_numbers, numbered
from .aggregates import AggregateTables
from .metadata import MetadataTables


class DelayTables(AggregateTables, MetadataTables):
    """One-way delay: its distribution, variation and course, and the segments that make it long."""

    def one_way_delay(self) -> pd.DataFrame:
        """Return quantiles of the one-way delay of complete journeys.

        Returns
        -------
        pandas.DataFrame
            One row per direction; columns of ``schema.describe("one_way_delay")``; times in ns.
        """
        journeys, took_ns, direction = self._complete()
        share = self.facts.share(self.ends.rules[journeys])
        return delays.one_way_delay(took_ns, direction, share, self.facts.clock_error_ns)

    def delay_variation(self, by: str = "direction") -> pd.DataFrame:
        """Return the variation of the one-way delay: between consecutive packets (IPDV), and above the minimum (PDV).

        Parameters
        ----------
        by : {"direction", "flow"}
            Rows are directions, or flows.

        Returns
        -------
        pandas.DataFrame
            One row per direction and measure, with the columns of ``schema.describe("delay_variation")``, or one per
            flow and measure, with those of ``schema.describe("delay_variation_by_flow")``. Times are in ns.

        Raises
        ------
        UnknownName
            `by` is neither of them.

        Notes
        -----
        Consecutive packets are always of one flow. In a sample, they are consecutive packets of the sample.
        """
        if by not in ("direction", "flow"):
            raise UnknownName("part of the delay variation", by, ("direction", "flow"))
        events, found, ends = self.columns, self.correlated, self.ends
        continued = np.isin(ends.outcome, [_journeys.OUTCOMES.index(word) for word in ("merged", "split")])
        sent = np.flatnonzero(_journeys.began(events, found, self.facts.names) & ~continued)
        at = found.first_tx[sent]
        direction = ends.direction[sent]
        flow = numbered(flow_numbers(events, at, events["proto"][at]), direction.codes)
        names = {"direction": pd.Series(direction)}
        if by == "flow":
            names["proto"] = pd.Series(labelled(events["proto"][at], protocol))
            names |= {name: pd.Series(events[name][at]) for name in ("sport", "dport")}
        took_ns = events["ts_ns"][found.last[sent]] - events["ts_ns"][found.first[sent]]
        stream = flow if by == "flow" else direction.codes.astype(np.int64)
        return delays.variation(took_ns, ends.complete[sent], flow, stream, names)

    def timeline(self, window_s: float = 0.1) -> pd.DataFrame:
        """Return traffic, delay and loss over time.

        Parameters
        ----------
        window_s : float
            Width of a window in seconds. If a session has aggregates only, its own windows are joined to reach at least
            this width, but never divided.

        Returns
        -------
        pandas.DataFrame
            One row per window, rule and direction; columns of ``schema.describe("timeline")``.

        Raises
        ------
        ValueError
            The window is not greater than 0.
        """
        tables = {"trace_gaps": self.trace_gaps(), "ledger": self.ledger()}
        if self._cells is not None and not len(self.columns["ts_ns"]):
            return timeline.counted(self.cells, self.facts.context, tables, window_s)
        tables |= {"journeys": self._journeys, "drops": self.drops(), "retransmissions": self.retransmissions()}
        return timeline.captured(self.columns, self.correlated, tables, window_s)

    def slowest(self, n: int = 10, direction: str | None = None) -> pd.DataFrame:
        """Return the slowest complete journeys, and the segment that made each of them slow.

        Parameters
        ----------
        n : int
            Number of journeys, at least 1.
        direction : str, optional
            One direction of the journeys table; all by default.

        Returns
        -------
        pandas.DataFrame
            One row per journey, the slowest first; columns of ``schema.describe("slowest")``; times in ns. No row if no
            journey is complete.

        Raises
        ------
        ValueError
            `n` is less than 1.
        UnknownName
            No complete journey has that direction.
        """
        if n < 1:
            raise ValueError(f"n is {n}; it must be at least 1")
        journeys, took_ns, directions = self._complete(direction)
        wanted = np.argsort(-took_ns, kind="stable")[:n]
        start_ns = self.columns["ts_ns"][self.correlated.first[journeys]]
        return tail.slowest(self.walk, journeys, took_ns, start_ns, directions, wanted)

    def where_is_the_tail(self, direction: str | None = None, quantile: float = 0.99) -> pd.DataFrame:
        """Return which segments make the tail: a high quantile of the one-way delay less its median, by segment.

        Parameters
        ----------
        direction : str, optional
            One direction of the journeys table; all by default.
        quantile : float
            Above 0.5 and below 1.

        Returns
        -------
        pandas.DataFrame
            One row per direction and segment, and one for the residual; they add up to the difference. Columns of
            ``schema.describe("where_is_the_tail")``; times in ns. The part of a segment is its mean over the journeys
            around the quantile less its mean over those around the median; see `cmonlab.data.analysis.tail`.

        Raises
        ------
        ValueError
            `quantile` is not above 0.5 and below 1.
        UnknownName
            No complete journey has that direction.
        """
        if not 0.5 < quantile < 1:
            raise ValueError(f"quantile is {quantile}; it must be above 0.5 and below 1")
        return tail.where(self.walk, *self._complete(direction), quantile)

    def _complete(self, direction: str | None = None) -> tuple[np.ndarray, np.ndarray, pd.Categorical]:
        """Return number, one-way delay (ns) and direction of the complete journeys, of all directions or of one."""
        journeys, found, ts = np.flatnonzero(self.ends.complete), self.correlated, self.columns["ts_ns"]
        every = self.ends.direction[journeys].remove_unused_categories()
        if direction is not None:
            if direction not in every.categories:
                raise UnknownName("direction", direction, every.categories)
            journeys = journeys[every == direction]
            every = every[every == direction].remove_unused_categories()
        return journeys, ts[found.last[journeys]] - ts[found.first[journeys]], every
