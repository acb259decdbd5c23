"""Tables from recorded events."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pandas as pd

from cmonlab import schema
from cmonlab.errors import UnknownName

from ..analysis import latency, traffic
from ..analysis import loss as _loss
from ..analysis import probes as _probes
from ..analysis.category import labelled
from .source import SessionData


class EventTables(SessionData):
    """Events, journeys, and tables that are computed from them."""

    @cached_property
    def events(self) -> pd.DataFrame:
        """The events: one row per hop or socket event; columns of ``schema.describe("events")``."""
        columns = self.columns
        names = {p["id"]: p["name"] for p in self.manifest["points"]}
        place = columns["netns"].astype(np.uint64) << np.uint64(32) | columns["ifindex"]
        frame = {**columns, "point": labelled(columns["point"], lambda number: names.get(number, str(number)))}
        frame["place"] = labelled(place, lambda word: self.facts.names.place(word >> 32, word & 0xFFFFFFFF))
        return pd.DataFrame({name: frame[name] for name in schema.columns("events")}, copy=False)

    def journeys(self) -> pd.DataFrame:
        """Return the journeys of packets.

        Returns
        -------
        pandas.DataFrame
            One row per packet; columns of ``schema.describe("journeys")``.
        """
        return self._journeys.copy(deep=False)

    def hops(self, journeys: int | list[int] | None = None) -> pd.DataFrame:
        """Return the hops of journeys.

        Parameters
        ----------
        journeys : int or list of int, optional
            Numbers from the journeys table; all complete journeys by default.

        Returns
        -------
        pandas.DataFrame
            One row per hop; columns of ``schema.describe("hops")``; times in ns.

        Raises
        ------
        UnknownName
            There is no such journey.
        """
        if journeys is None:
            wanted = np.flatnonzero(self.ends.complete)
        else:
            wanted = np.unique(np.atleast_1d(np.asarray(journeys, np.int64)))
            for number in wanted:
                if not 0 <= number < len(self.correlated):
                    raise UnknownName("journey", str(number), [f"0 to {len(self.correlated) - 1}"])
        return latency.hops(self.walk, wanted)

    def breakdown(self, by: str = "segment") -> pd.DataFrame:
        """Return where complete journeys spent their time.

        Parameters
        ----------
        by : {"segment", "kind"}
            Rows are segments, or kinds: processing, queueing, softirq, scheduling.

        Returns
        -------
        pandas.DataFrame
            One row per direction and segment, with the columns of ``schema.describe("breakdown")``, or one per
            direction and kind, with those of ``schema.describe("breakdown_by_kind")``. Times are in ns.

        Raises
        ------
        UnknownName
            `by` is neither of them.
        """
        if by not in ("segment", "kind"):
            raise UnknownName("part of a breakdown", by, ("segment", "kind"))
        complete = np.flatnonzero(self.ends.complete)
        direction = self.ends.direction[complete].remove_unused_categories()
        share = self.facts.share(self.ends.rules[complete])
        if by == "kind":
            return latency.by_kind(self.walk, complete, direction, share)
        sent_ns = self.columns["ts_ns"][self.correlated.first_tx[complete]]
        return latency.breakdown(self.walk, complete, sent_ns, direction, share)

    def throughput(self, window_s: float = 0.1) -> pd.DataFrame:
        """Return what reached its destination over time.

        Parameters
        ----------
        window_s : float
            Width of a window in seconds.

        Returns
        -------
        pandas.DataFrame
            One row per window and direction; columns of ``schema.describe("throughput")``; rates in bit/s.

        Raises
        ------
        ValueError
            The window is not greater than 0.
        """
        return traffic.throughput(self.columns, self.correlated, self._journeys, window_s)

    def drops(self) -> pd.DataFrame:
        """Return the packets that were dropped, with place and reason.

        Returns
        -------
        pandas.DataFrame
            One row per dropped packet; columns of ``schema.describe("drops")``.
        """
        facts = self.facts
        return traffic.drops(
            self.columns, self.correlated, facts.names, facts.stages.drop, facts.reasons, facts.symbols
        )

    def retransmissions(self) -> pd.DataFrame:
        """Return TCP's retransmissions.

        Returns
        -------
        pandas.DataFrame
            One row per retransmitted segment; columns of ``schema.describe("retransmissions")``; times in ns.
        """
        facts = self.facts
        return _loss.repeated(self.columns, self.correlated, facts.names, facts.stages, self._journeys, self.drops())

    def rtt(self) -> pd.DataFrame:
        """Return TCP's smoothed round trip times.

        Returns
        -------
        pandas.DataFrame
            One row per event of ``tcp_probe``; columns of ``schema.describe("rtt")``; times in ns. No row if the point
            was not traced.
        """
        return _loss.rtt(self.columns, self.facts.names, self.facts.stages)

    def loss(self) -> pd.DataFrame:
        """Return the outcomes of packets, and the share that was lost.

        Returns
        -------
        pandas.DataFrame
            One row per direction; columns of ``schema.describe("loss")``.
        """
        facts = self.facts
        return _loss.by_direction(
            self.columns,
            self.correlated,
            facts.names,
            facts.stages,
            self._journeys,
            self.drops(),
            self.retransmissions(),
        )

    def _fates(self) -> pd.DataFrame:
        """Return one row per packet that `loss` counts, with its outcome."""
        facts = self.facts
        return _loss.fates(self.columns, self.correlated, facts.names, facts.stages, self._journeys, self.drops())

    def probe(self, name: str) -> pd.DataFrame:
        """Return the values that a custom probe (`cmonlab.Probe`) read.

        Parameters
        ----------
        name : str
            Name of the probe.

        Returns
        -------
        pandas.DataFrame
            One row per hop at the probe: ts_ns, cpu, journey (-1 if none), direction, sport, dport, and the probe's
            fields.

        Raises
        ------
        UnknownName
            The session has no custom probe of that name.
        """
        known = {probe["name"]: probe for probe in self.manifest.get("probes", [])}
        if name not in known or self._probe_values is None:
            raise UnknownName("custom probe", name, known)
        return _probes.table(self.columns, self.correlated, self.facts.names, self._probe_values, known[name])
