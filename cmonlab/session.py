"""A session: one run's recording, with every table and figure that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from . import cells as _cells
from . import schema, store
from .analysis import aggregate, latency, traffic
from .analysis import journeys as _journeys
from .analysis import loss as _loss
from .analysis import overhead as _overhead
from .analysis import pairs as _pairs
from .analysis import probes as _probes
from .analysis.category import labelled
from .analysis.walk import Walk
from .engine.correlate import Journeys, correlate
from .errors import UnknownName
from .facts import Facts

#: Tables by name; each is a method of Session.
TABLES = (
    "breakdown", "journeys", "hops", "throughput", "loss", "drops", "retransmissions", "rtt", "pairs",
    "flows", "segments", "drop_counts", "rules", "budget", "ledger", "blind", "links", "overhead",
)  # fmt: skip


def open(path: str | Path) -> Session:
    """Open a saved session; needs no root, no Docker and no bcc.

    Parameters
    ----------
    path : str or Path
        Directory that `Session.save` or ``cmonlab record`` wrote.

    Raises
    ------
    SessionError
        The directory holds no session or a damaged one.
    """
    return Session(*store.load(Path(path)))


class Session:
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

    # ---- what the manifest says -------------------------------------------

    @cached_property
    def _found(self) -> Journeys:
        facts, columns = self._facts, self._columns
        breaks = facts.breaks(columns["epoch"], columns["ts_ns"])
        return correlate(columns, facts.stages, facts.lost_points(), breaks, sampled=facts.partial())

    @property
    def lost_events(self) -> int:
        """The monitor's own lost events; never packet loss."""
        return int(self.ledger()["lost"].sum())

    @property
    def duration_s(self) -> float:
        """Seconds between the first and the last event; of what aggregates cover, where there is none."""
        ts, counted = self._columns["ts_ns"], self._counted
        if len(ts):
            return float(ts[-1] - ts[0]) / 1e9
        return float(counted["end_ns"].max() - counted["start_ns"].min()) / 1e9 if len(counted["end_ns"]) else 0.0

    @property
    def told(self) -> str:
        """The rules in words."""
        return self._facts.told()

    @property
    def sampled(self) -> str:
        """``"sampled 10%"`` where journeys are those of a share of the packets, else empty."""
        return self._facts.sampled()

    def __len__(self) -> int:
        return len(self._columns["ts_ns"])

    def __repr__(self) -> str:
        ends = self._ends
        workload = (self.manifest.get("workload") or {}).get("name", "no workload")
        lines = [
            f"<Session {workload}, {self.duration_s:.2f} s, rules: {self.told}",
            f"  {len(self._found):,} journeys, {ends.complete.sum():,} complete, {ends.dropped.sum():,} dropped"
            f"{self.sampled and f' ({self.sampled}{self._facts.in_all(ends.rules)})'}",
            f"  {len(self):,} events, {self.lost_events:,} lost events, blind for {self.blind_ns / 1e6:.1f} ms",
            f"  observer overhead: {_overhead.told(self._facts.overhead)}; one clock, no clock error>",
        ]
        if self._cells is not None:
            windows = len(np.unique(self._counted["start_ns"]))
            lines.insert(2, f"  {windows:,} windows of aggregates, {len(self._counted['start_ns']):,} cells")
        return "\n".join([*lines[:-1], *(f"  {remark}" for remark in self._facts.remarks()), lines[-1]])

    # ---- tables ------------------------------------------------------------

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row a hop; columns of ``schema.describe("events")``."""
        columns = self._columns
        names = {p["id"]: p["name"] for p in self.manifest["points"]}
        place = columns["netns"].astype(np.uint64) << np.uint64(32) | columns["ifindex"]
        frame = {**columns, "point": labelled(columns["point"], lambda number: names.get(number, str(number)))}
        frame["place"] = labelled(place, lambda word: self._facts.names.place(word >> 32, word & 0xFFFFFFFF))
        return pd.DataFrame({name: frame[name] for name in schema.columns("events")}, copy=False)

    @cached_property
    def _ends(self) -> _journeys.Ends:
        return _journeys.ends_of(self._columns, self._found, self._facts.names, self._facts.stages)

    @cached_property
    def _journeys(self) -> pd.DataFrame:
        return _journeys.table(self._columns, self._found, self._ends, self._facts.names, self._facts.reasons)

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
            wanted = np.flatnonzero(self._ends.complete)
        else:
            wanted = np.unique(np.atleast_1d(np.asarray(journeys, np.int64)))
            for number in wanted:
                if not 0 <= number < len(self._found):
                    raise UnknownName("journey", str(number), [f"0 to {len(self._found) - 1}"])
        return latency.hops(self._walk, wanted)

    @property
    def _walk(self) -> Walk:
        return Walk(self._columns, self._found, self._facts.names, self._facts.kinds)

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
        complete = np.flatnonzero(self._ends.complete)
        direction = self._ends.direction[complete].remove_unused_categories()
        share = self._facts.share(self._ends.rules[complete])
        if by == "kind":
            return latency.by_kind(self._walk, complete, direction, share)
        sent_ns = self._columns["ts_ns"][self._found.departure[complete]]
        return latency.breakdown(self._walk, complete, sent_ns, direction, share)

    def of_rule(self, name: str) -> Session:
        """Return what a capture rule took as a session of its own; its ledger stays that of all rules.

        Raises
        ------
        UnknownName
            No capture rule has this name.
        """
        entries, taken = self._facts.taken_by(name, self._columns["rules"], self._columns["epoch"])
        return Session({n: of[taken] for n, of in self._columns.items()}, {**self.manifest, "rules": entries})

    def throughput(self, window_s: float = 0.1) -> pd.DataFrame:
        """What reached its destination per window; columns of ``schema.describe("throughput")``."""
        return traffic.throughput(self._columns, self._found, self._journeys, window_s)

    def drops(self) -> pd.DataFrame:
        """One row a dropped packet; columns of ``schema.describe("drops")``."""
        facts = self._facts
        return traffic.drops(self._columns, self._found, facts.names, facts.stages.drop, facts.reasons, facts.symbols)

    def retransmissions(self) -> pd.DataFrame:
        """One row a segment that TCP sent once more; columns of ``schema.describe("retransmissions")``."""
        facts = self._facts
        return _loss.repeated(self._columns, self._found, facts.names, facts.stages, self._journeys, self.drops())

    def rtt(self) -> pd.DataFrame:
        """TCP's smoothed round trip times, where ``tcp_probe`` was traced; ``schema.describe("rtt")``."""
        return _loss.rtt(self._columns, self._facts.names, self._facts.stages)

    def loss(self) -> pd.DataFrame:
        """What became of the packets of each direction; columns of ``schema.describe("loss")``."""
        facts = self._facts
        return _loss.by_direction(
            self._columns, self._found, facts.names, facts.stages, self._journeys, self.drops(), self.retransmissions()
        )

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
        return _probes.table(self._columns, self._found, self._facts.names, self._notes, known[name])

    # ---- tables of aggregate rules ------------------------------------------

    @property
    def _counted(self) -> Mapping[str, np.ndarray]:
        return _cells.columns_of([]) if self._cells is None else self._cells

    def pairs(self) -> pd.DataFrame:
        """Traffic, loss and delay per window and direction; columns of ``schema.describe("pairs")``."""
        return _pairs.pairs(self._counted, self._facts.context)

    def flows(self) -> pd.DataFrame:
        """The same per flow, where a rule aggregates by flow; columns of ``schema.describe("flows")``."""
        return _pairs.pairs(self._counted, self._facts.context, flows=True)

    def segments(self, windows: bool = False) -> pd.DataFrame:
        """One row a segment and direction, over all or per window; columns of ``schema.describe("segments")``."""
        return aggregate.segments(self._counted, self._facts.context, windows)

    def drop_counts(self) -> pd.DataFrame:
        """Dropped packets per window, place and reason; columns of ``schema.describe("drop_counts")``."""
        return aggregate.drops(self._counted, self._facts.context, self._facts.reasons)

    # ---- tables of the manifest ---------------------------------------------

    def rules(self) -> pd.DataFrame:
        """One row a rule; columns of ``schema.describe("rules")``."""
        return self._facts.rules()

    def budget(self) -> pd.DataFrame:
        """One row a change that a rule's budget made; columns of ``schema.describe("budget")``."""
        return self._facts.budget()

    def ledger(self) -> pd.DataFrame:
        """What became of the packets at each point; columns of ``schema.describe("ledger")``."""
        return self._facts.table("ledger")

    def blind(self) -> pd.DataFrame:
        """When tracepoints were silent and packets may have passed unseen; columns of ``schema.describe("blind")``."""
        return self._facts.table("blind")

    def links(self) -> pd.DataFrame:
        """Every interface that was there; columns of ``schema.describe("links")``."""
        return self._facts.table("links")

    def overhead(self) -> pd.DataFrame:
        """What tracing cost the workload, where it was measured; columns of ``schema.describe("overhead")``."""
        return self._facts.overhead.copy()

    @property
    def blind_ns(self) -> int:
        """Nanoseconds for which tracepoints stayed silent, summed over CPUs."""
        table = self.blind()
        return int((table["end_ns"] - table["start_ns"]).sum())

    def table(self, name: str) -> pd.DataFrame:
        """Return one of the session's tables by name.

        Raises
        ------
        UnknownName
            There is no such table.
        """
        if name not in TABLES:
            raise UnknownName("table", name, TABLES)
        return getattr(self, name)()

    # ---- figures and files -------------------------------------------------

    @property
    def plot(self):
        """Figures of this session's tables: ``session.plot.breakdown()`` and so on."""
        from .figures import Figures

        return Figures(self)

    def save(self, path: str | Path) -> Path:
        """Write the session to a new directory, whole or not at all.

        Raises
        ------
        SessionError
            The directory is taken or cannot be written. The session stays usable.
        """
        store.save(Path(path), self._columns, self.manifest, self._cells, self._notes)
        return Path(path)

    def slowest(self, direction: str | None = None) -> int:
        """Return the number of the complete journey with the greatest one-way delay.

        Raises
        ------
        SessionError
            No journey is complete.
        """
        return _journeys.at_quantile(self._journeys, 1.0, direction)

    def typical(self, direction: str | None = None) -> int:
        """Return the number of the complete journey with the median one-way delay.

        Raises
        ------
        SessionError
            No journey is complete.
        """
        return _journeys.at_quantile(self._journeys, 0.5, direction)
