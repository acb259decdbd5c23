"""A session: one run's recording, with every table and figure that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from . import schema, store
from .analysis import journeys as _journeys
from .analysis import latency, traffic
from .analysis.category import labelled
from .analysis.names import Names
from .engine.correlate import Journeys, Stages, correlate
from .errors import SessionError, UnknownName


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
    """

    def __init__(self, columns: Mapping[str, np.ndarray], manifest: Mapping):
        self._columns = dict(columns)
        self.manifest = dict(manifest)

    # ---- what the manifest says -------------------------------------------

    @cached_property
    def _stages(self) -> Stages:
        points = self.manifest["points"]
        return Stages(**{
            stage: frozenset(p["id"] for p in points if p["stage"] == stage)
            for stage in ("transmit", "receive", "deliver", "read", "consume", "drop")
        })  # fmt: skip

    @cached_property
    def _names(self) -> Names:
        addresses6 = {int(key): bytes.fromhex(raw) for key, raw in self.manifest["addresses6"].items()}
        return Names(self.links(), addresses6, {p["id"]: p["label"] for p in self.manifest["points"]})

    @cached_property
    def _reasons(self) -> dict[int, str]:
        return {int(number): name for number, name in self.manifest["drop_reasons"].items()}

    @cached_property
    def _found(self) -> Journeys:
        lossy = {row["point"] for row in self.manifest["ledger"] if row["lost"]}
        lost = {p["id"] for p in self.manifest["points"] if p["name"] in lossy}
        silent = self.blind()[["start_ns", "end_ns"]].to_numpy(np.int64).ravel()
        return correlate(self._columns, self._stages, lost, silent)

    @property
    def lost_events(self) -> int:
        """The monitor's own lost events; never packet loss."""
        return int(self.ledger()["lost"].sum())

    @property
    def duration_s(self) -> float:
        """Seconds between the first and the last event, 0 without events."""
        ts = self._columns["ts_ns"]
        return float(ts[-1] - ts[0]) / 1e9 if len(ts) else 0.0

    def __len__(self) -> int:
        return len(self._columns["ts_ns"])

    def __repr__(self) -> str:
        table = self.journeys()
        workload = (self.manifest.get("workload") or {}).get("name", "no workload")
        rule = self.manifest["rule"]["expression"] or "all IP packets"
        complete, dropped = int(table["complete"].sum()), int((table["outcome"] == "dropped").sum())
        blind_ms = self.blind_ns / 1e6
        lines = [
            f"<Session {workload}, rule {rule!r}, {self.duration_s:.2f} s",
            f"  {len(table):,} journeys, {complete:,} complete, {dropped:,} dropped",
            f"  {len(self):,} events, {self.lost_events:,} lost events, tracepoints blind for {blind_ms:.1f} ms",
            "  observer overhead not measured; one clock, no clock error>",
        ]
        if missing := self.manifest["rule"].get("missing"):
            lines.insert(-1, f"  this kernel lacked {', '.join(missing)}")
        return "\n".join(lines)

    # ---- tables ------------------------------------------------------------

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row a hop; columns of ``schema.describe("events")``."""
        columns = self._columns
        names = {p["id"]: p["name"] for p in self.manifest["points"]}
        place = columns["netns"].astype(np.uint64) << np.uint64(32) | columns["ifindex"]
        frame = dict(columns)
        frame["point"] = labelled(columns["point"], lambda number: names.get(number, str(number)))
        frame["place"] = labelled(place, lambda word: self._names.place(word >> 32, word & 0xFFFFFFFF))
        return pd.DataFrame({name: frame[name] for name in schema.columns("events")}, copy=False)

    @cached_property
    def _journeys(self) -> pd.DataFrame:
        return _journeys.table(self._columns, self._found, self._names, self._stages, self._reasons)

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
            wanted = self._journeys["journey"].to_numpy()[self._journeys["complete"].to_numpy()]
        else:
            wanted = np.unique(np.atleast_1d(np.asarray(journeys, np.int64)))
            for number in wanted:
                if not 0 <= number < len(self._found):
                    raise UnknownName("journey", str(number), [f"0 to {len(self._found) - 1}"])
        return latency.hops(self._columns, self._found, self._names, wanted)

    def breakdown(self) -> pd.DataFrame:
        """One row a segment and direction of complete journeys; columns of ``schema.describe("breakdown")``."""
        complete = np.flatnonzero(self._journeys["complete"])
        direction = self._journeys["direction"].array[complete].remove_unused_categories()
        return latency.breakdown(self._columns, self._found, self._names, complete, direction)

    def throughput(self, window_s: float = 0.1) -> pd.DataFrame:
        """What reached its destination per window; columns of ``schema.describe("throughput")``."""
        return traffic.throughput(self._columns, self._found, self._journeys, window_s)

    def drops(self) -> pd.DataFrame:
        """One row a dropped packet; columns of ``schema.describe("drops")``."""
        symbols = {int(low): name for low, name in self.manifest["symbols"].items()}
        return traffic.drops(self._columns, self._found, self._names, self._stages.drop, self._reasons, symbols)

    def ledger(self) -> pd.DataFrame:
        """What became of the packets at each point; columns of ``schema.describe("ledger")``."""
        return pd.DataFrame(self.manifest["ledger"], columns=schema.columns("ledger"))

    def blind(self) -> pd.DataFrame:
        """When tracepoints were silent and packets may have passed unseen; columns of ``schema.describe("blind")``."""
        return pd.DataFrame(self.manifest["blind"], columns=schema.columns("blind"))

    @property
    def blind_ns(self) -> int:
        """Nanoseconds for which tracepoints stayed silent, summed over CPUs."""
        table = self.blind()
        return int((table["end_ns"] - table["start_ns"]).sum())

    def links(self) -> pd.DataFrame:
        """Every interface that was there; columns of ``schema.describe("links")``."""
        return pd.DataFrame(self.manifest["links"], columns=schema.columns("links"))

    def table(self, name: str) -> pd.DataFrame:
        """Return one of the session's tables by name.

        Raises
        ------
        UnknownName
            There is no such table.
        """
        tables = ("breakdown", "journeys", "drops", "throughput", "ledger", "blind", "links", "hops")
        if name not in tables:
            raise UnknownName("table", name, tables)
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
        store.save(Path(path), self._columns, self.manifest)
        return Path(path)

    def slowest(self, direction: str | None = None) -> int:
        """Return the number of the complete journey with the greatest one-way delay.

        Raises
        ------
        SessionError
            No journey is complete.
        """
        return self._at_quantile(1.0, direction)

    def typical(self, direction: str | None = None) -> int:
        """Return the number of the complete journey with the median one-way delay.

        Raises
        ------
        SessionError
            No journey is complete.
        """
        return self._at_quantile(0.5, direction)

    def _at_quantile(self, quantile: float, direction: str | None) -> int:
        table = self._journeys[self._journeys["complete"]]
        if direction is not None:
            table = table[table["direction"] == direction]
        if table.empty:
            raise SessionError(
                "no journey is complete",
                fix="look at session.ledger() and session.drops() for what happened to the packets",
            )
        delay = table["one_way_delay_ns"].to_numpy()
        at = np.argsort(delay, kind="stable")[int((len(delay) - 1) * quantile)]
        return int(table["journey"].to_numpy()[at])
