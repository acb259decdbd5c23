"""The tables of one-way delays."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cmonlab.errors import UnknownName

from ..analysis import delays, tail, timeline
from ..analysis import journeys as _journeys
from ..analysis.category import labelled
from ..analysis.names import protocol
from ..correlation.stream import flow_numbers, numbered
from .aggregates import Counted
from .metadata import Told


class Delays(Counted, Told):
    """How long packets took, how steadily, when, and why some took longer."""

    def one_way_delay(self) -> pd.DataFrame:
        """How long complete journeys took, per direction; columns of ``schema.describe("one_way_delay")``."""
        journeys, took_ns, direction = self._complete()
        share = self.facts.share(self.ends.rules[journeys])
        return delays.one_way_delay(took_ns, direction, share, self.facts.clock_error_ns)

    def delay_variation(self, by: str = "direction") -> pd.DataFrame:
        """How much the one-way delay varies: between consecutive packets (IPDV), and above the least (PDV).

        Parameters
        ----------
        by : {"direction", "flow"}
            One row a direction and measure (columns of ``schema.describe("delay_variation")``), or one a
            flow (``schema.describe("delay_variation_by_flow")``). Consecutive packets are always of one
            flow. Of a sample, they are consecutive in the sample.

        Raises
        ------
        UnknownName
            It is parted by neither.
        """
        if by not in ("direction", "flow"):
            raise UnknownName("part of the delay variation", by, ("direction", "flow"))
        events, found, ends = self.columns, self.correlated, self.ends
        went_on = np.isin(ends.outcome, [_journeys.OUTCOMES.index(word) for word in ("merged", "split")])
        sent = np.flatnonzero(_journeys.began(events, found, self.facts.names) & ~went_on)
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
        """What happened when, window by window; columns of ``schema.describe("timeline")``.

        Parameters
        ----------
        window_s : float
            Width of a window. A session of aggregates alone has windows of its own, which are put together
            to no less than this, and never parted.

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
        """Return the complete journeys that took longest, and what made each slow.

        Parameters
        ----------
        n : int
            How many, at least 1.
        direction : str, optional
            One direction of the journeys table, all by default.

        Returns
        -------
        DataFrame
            Columns of ``schema.describe("slowest")``, no row where no journey is complete.

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
        """Part a high quantile of the one-way delay less its median into segments, which add up to it.

        Parameters
        ----------
        direction : str, optional
            One direction of the journeys table, all by default.
        quantile : float
            Above 0.5 and below 1.

        Returns
        -------
        DataFrame
            Columns of ``schema.describe("where_is_the_tail")``: a segment's part is its mean over the
            journeys around the quantile less that over those around the median. See
            `cmonlab.data.analysis.tail.where` for the method.

        Raises
        ------
        ValueError
            There is no tail at this quantile.
        UnknownName
            No complete journey has that direction.
        """
        if not 0.5 < quantile < 1:
            raise ValueError(f"quantile is {quantile}; it must be above 0.5 and below 1")
        return tail.where(self.walk, *self._complete(direction), quantile)

    def _complete(self, direction: str | None = None) -> tuple[np.ndarray, np.ndarray, pd.Categorical]:
        """Return number, one-way delay (ns) and direction of each complete journey, all or of one direction."""
        journeys, found, ts = np.flatnonzero(self.ends.complete), self.correlated, self.columns["ts_ns"]
        every = self.ends.direction[journeys].remove_unused_categories()
        if direction is not None:
            if direction not in every.categories:
                raise UnknownName("direction", direction, every.categories)
            journeys = journeys[every == direction]
            every = every[every == direction].remove_unused_categories()
        return journeys, ts[found.last[journeys]] - ts[found.first[journeys]], every
