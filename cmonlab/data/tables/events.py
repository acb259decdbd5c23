"""The tables that follow from recorded events."""

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
from .source import Base


class Captured(Base):
    """Hops, journeys, and what follows from them."""

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row a hop; columns of ``schema.describe("events")``."""
        columns = self.columns
        names = {p["id"]: p["name"] for p in self.manifest["points"]}
        place = columns["netns"].astype(np.uint64) << np.uint64(32) | columns["ifindex"]
        frame = {**columns, "point": labelled(columns["point"], lambda number: names.get(number, str(number)))}
        frame["place"] = labelled(place, lambda word: self.facts.names.place(word >> 32, word & 0xFFFFFFFF))
        return pd.DataFrame({name: frame[name] for name in schema.columns("events")}, copy=False)

    def journeys(self) -> pd.DataFrame:
        """One row a packet; columns of ``schema.describe("journeys")``."""
        return self._journeys.copy(deep=False)

    def hops(self, journeys: int | list[int] | None = None) -> pd.DataFrame:
        """One row a hop of the given journeys, of all complete ones by default.

        Parameters
        ----------
        journeys : int or list of int, optional
            Numbers from the journeys table.

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
        """Where the time of complete journeys went, per direction.

        Parameters
        ----------
        by : {"segment", "kind"}
            One row a segment (columns of ``schema.describe("breakdown")``), or one a kind: processing,
            queueing, softirq, scheduling (``schema.describe("breakdown_by_kind")``).

        Raises
        ------
        UnknownName
            It is parted by neither.
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
        """What reached its destination per window; columns of ``schema.describe("throughput")``."""
        return traffic.throughput(self.columns, self.correlated, self._journeys, window_s)

    def drops(self) -> pd.DataFrame:
        """One row a dropped packet; columns of ``schema.describe("drops")``."""
        facts = self.facts
        return traffic.drops(
            self.columns, self.correlated, facts.names, facts.stages.drop, facts.reasons, facts.symbols
        )

    def retransmissions(self) -> pd.DataFrame:
        """One row a segment that TCP sent once more; columns of ``schema.describe("retransmissions")``."""
        facts = self.facts
        return _loss.repeated(self.columns, self.correlated, facts.names, facts.stages, self._journeys, self.drops())

    def rtt(self) -> pd.DataFrame:
        """TCP's smoothed round trip times, where ``tcp_probe`` was traced; ``schema.describe("rtt")``."""
        return _loss.rtt(self.columns, self.facts.names, self.facts.stages)

    def loss(self) -> pd.DataFrame:
        """What became of the packets of each direction; columns of ``schema.describe("loss")``."""
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
        """One row a packet that `loss` counts, with its outcome."""
        facts = self.facts
        return _loss.fates(self.columns, self.correlated, facts.names, facts.stages, self._journeys, self.drops())

    def probe(self, name: str) -> pd.DataFrame:
        """One row a hop of a custom point (`cmonlab.Probe`), with its fields.

        Raises
        ------
        UnknownName
            The session has no custom point of that name.
        """
        known = {probe["name"]: probe for probe in self.manifest.get("probes", [])}
        if name not in known or self._notes is None:
            raise UnknownName("custom point", name, known)
        return _probes.table(self.columns, self.correlated, self.facts.names, self._notes, known[name])
