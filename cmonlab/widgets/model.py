"""The live model: the last minutes of an agent's windows, and the tables that a view draws.

It does not depend on widgets. One thread may fill it while another one reads it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from cmonlab.data.analysis.aggregate import HOP, SEGMENT
from cmonlab.data.store.directory import empty_columns
from cmonlab.session.session import Session

from . import recent
from .agent_status import AgentStatus
from .history import History
from .selection import Selection
from .visible import nodes_around, rows_between

EDGE = {
    "packets": np.int64,
    "bytes": np.int64,
    "dropped": np.int64,
    "loss": np.float32,
    "delay_p50_ns": np.float32,
    "delay_p99_ns": np.float32,
}
PAIR = {
    "packets_sent": np.int64,
    "packets_arrived": np.int64,
    "bytes": np.int64,
    "dropped": np.int64,
    "retransmissions": np.int64,
    "one_way_delay_p50_ns": np.float32,
    "one_way_delay_p99_ns": np.float32,
    "srtt_p50_ns": np.float32,
}
SUMS = {"packets": np.int64, "hops": np.int64, "bytes": np.int64, "dropped": np.int64}
MARKS = ["ts_ns", "time", "note"]

KEEP_S, RECENT_S, _CELL_BYTES = 300.0, 10.0, 48 << 20
_MARKS_KEPT = 1000
_STALE_S = 2.0  # after this time without a window, rates are 0


class Live:
    """What an agent measured in the last minutes.

    Parameters
    ----------
    keep_s : float
        How far series go back, s.
    recent_s : float
        How far segments and drops go back, s. They are computed from cells, which need more memory.
    containers : collection of str, optional
        The containers that are shown, together with what connects them; by default all.

    Attributes
    ----------
    agent_status : AgentStatus
        Losses and cost of the tracing itself.
    rule : str
        Name of the aggregate rule that is shown; empty: the first one.
    windows : int
        Number of windows so far.
    """

    def __init__(self, keep_s: float = KEEP_S, recent_s: float = RECENT_S, containers: Collection[str] | None = None):
        self._containers = None if containers is None else frozenset(containers)
        self._lock = threading.RLock()
        self._recent_ns = int(recent_s * 1e9)
        self.edges_kept, self.pairs_kept, self.sums = (History(fields, keep_s) for fields in (EDGE, PAIR, SUMS))
        self._cells: deque[tuple[int, int, Mapping[str, np.ndarray]]] = deque()
        self._cells_bytes = 0
        self._links: Any = None
        self._topology: pd.DataFrame | None = None
        self._last: Session | None = None
        self._received_s = 0.0
        self._marks: deque[tuple[int, str]] = deque(maxlen=_MARKS_KEPT)
        self._clock_offset_ns: int | None = None
        self.agent_status = AgentStatus()
        self.rule = ""
        self.windows = 0

    # ---- input -------------------------------------------------------------------

    def take(self, window: Session) -> None:
        """Take a window of aggregates."""
        cells = window.cells
        if not len(cells["start_ns"]):
            return
        start_ns, end_ns = int(cells["start_ns"].min()), int(cells["end_ns"].max())
        shown = self._of_rule(window, cells)
        edges, pairs = shown.edges(), shown.pairs()
        with self._lock:
            self._take_manifest(window, end_ns)
            if self._containers is not None:
                topology = self.topology()
                edges = rows_between(edges, ("src", "dst"), {*topology["a"], *topology["b"]})
                pairs = pairs[pairs["src"].isin(self._containers) | pairs["dst"].isin(self._containers)]
            cells = shown.cells
            self._fill_gap(start_ns)
            self.edges_kept.add(start_ns, end_ns, _ends(edges), edges)
            self.pairs_kept.add(start_ns, end_ns, _ends(pairs), pairs)
            # Traffic from or to other hosts is seen at one end only.
            packets = np.maximum(pairs["packets_sent"], pairs["packets_arrived"]).sum()
            hops = cells["packets"][np.isin(cells["kind"], (HOP, SEGMENT))].sum()
            sums = {"packets": packets, "hops": hops, "bytes": pairs["bytes"].sum(), "dropped": pairs["dropped"].sum()}
            self.sums.add(start_ns, end_ns, [()], {name: np.array([value]) for name, value in sums.items()})
            self._keep_cells(start_ns, end_ns, cells)
            self.windows += 1

    def _of_rule(self, window: Session, cells: Mapping[str, np.ndarray]) -> Session:
        """Return the window with the cells of one rule, so that a packet that matches several rules counts once."""
        rules = {entry["slot"]: entry["name"] for entry in window.manifest["rules"]}
        slots = [slot for slot, name in rules.items() if name == self.rule] or np.unique(cells["rule"])[:1]
        rows = np.isin(cells["rule"], slots)
        if rows.all():
            return window
        return Session(empty_columns(), window.manifest, {name: values[rows] for name, values in cells.items()})

    def _take_manifest(self, window: Session, end_ns: int) -> None:
        """Take names, ledger and clock from a window."""
        if window.manifest["links"] is not self._links:
            self._links, self._topology = window.manifest["links"], self._visible(window.topology())
        self._last = window
        self.agent_status.update_ledger(window.ledger())
        # A window arrives some time after its end, so the smallest offset is the best.
        offset_ns = time.time_ns() - end_ns
        self._clock_offset_ns = offset_ns if self._clock_offset_ns is None else min(self._clock_offset_ns, offset_ns)
        self._received_s = time.monotonic()

    def _visible(self, topology: pd.DataFrame) -> pd.DataFrame:
        """Return the part of a topology that is shown."""
        if self._containers is None:
            return topology
        return rows_between(topology, ("a", "b"), nodes_around(topology, self._containers)).reset_index(drop=True)

    def _fill_gap(self, start_ns: int) -> None:
        """Add a window of zero packets for the time since the last window: agents do not send empty windows."""
        windows = self.sums.windows()
        if len(windows) and start_ns - windows[-1, 1] > 1e6:
            for kept in (self.edges_kept, self.pairs_kept):
                kept.add(int(windows[-1, 1]), start_ns, [], dict.fromkeys(kept.fields, np.empty(0)))
            none = dict.fromkeys(SUMS, np.zeros(1, np.int64))
            self.sums.add(int(windows[-1, 1]), start_ns, [()], none)

    def _keep_cells(self, start_ns: int, end_ns: int, cells: Mapping[str, np.ndarray]) -> None:
        self._cells.append((start_ns, end_ns, cells))
        self._cells_bytes += _nbytes(cells)
        while len(self._cells) > 1 and (
            self._cells[0][1] < end_ns - self._recent_ns or self._cells_bytes > _CELL_BYTES
        ):
            self._cells_bytes -= _nbytes(self._cells.popleft()[2])

    def choose(self, rule: str, unless: Collection[str] = ()) -> None:
        """Show another rule from now on; what was kept of the previous one is forgotten.

        Parameters
        ----------
        rule : str
            Name of a rule of mode aggregate.
        unless : collection of str
            Nothing changes while one of these rules is shown.
        """
        with self._lock:
            if rule == self.rule or self.rule in unless:
                return
            self.rule = rule
            for kept in (self.edges_kept, self.pairs_kept, self.sums):
                kept.clear()
            self._cells.clear()
            self._cells_bytes = 0

    # ---- tables ------------------------------------------------------------------

    @property
    def idle_s(self) -> float:
        """Seconds since the last window with a packet, infinite before the first."""
        return time.monotonic() - self._received_s if self._last is not None else float("inf")

    def topology(self) -> pd.DataFrame:
        """Return the edges of the graph, columns of `cmonlab.Session.topology`; empty before the first window."""
        with self._lock:
            return recent.no_topology() if self._topology is None else self._topology

    def edges(self, over_s: float = 2.0) -> pd.DataFrame:
        """Return what crossed each edge in the last `over_s` seconds, columns of `cmonlab.Session.edges`.

        Rates are those of the whole time, delays those of the last window with a packet.
        """
        with self._lock:
            return recent.edges(self.edges_kept, over_s)

    def pairs(self, over_s: float = 5.0) -> pd.DataFrame:
        """Return who sent packets to whom in the last `over_s` seconds.

        One row per source and destination, columns `recent.PAIRS`.
        """
        with self._lock:
            return recent.pairs(self.pairs_kept, over_s)

    @property
    def pairs_seen(self) -> int:
        """Number of different pairs so far; it grows with each new pair."""
        return self.pairs_kept.seen

    def series(self, selection: Selection) -> pd.DataFrame:
        """Return series of a selection: one row per window and line, columns `recent.SERIES`.

        There is one line per direction; a node with many edges has lines for those with most packets.
        """
        with self._lock:
            lines = recent.lines(selection, self.edges_kept, self.pairs_kept)
            kept = self.pairs_kept if selection.kind == "pair" else self.edges_kept
            return recent.series(kept, lines)

    def _session(self, selection: Selection) -> Session | None:
        """Return the last seconds of a selection, joined to one window."""
        with self._lock:
            last, windows, topology = self._last, list(self._cells), self.topology()
        if last is None or not windows:
            return None
        chosen = selection.chooser(last.facts.names, topology)
        parts = [(cells, chosen(cells)) for *_, cells in windows]
        joined = {name: np.concatenate([cells[name][rows] for cells, rows in parts]) for name in parts[0][0]}
        joined["start_ns"] = np.full(len(joined["start_ns"]), windows[0][0])
        joined["end_ns"] = np.full(len(joined["end_ns"]), windows[-1][1])
        return Session(empty_columns(), last.manifest, joined)

    def recent(self, selection: Selection) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return segments and drops of a selection in the last seconds.

        Returns
        -------
        segments : pandas.DataFrame
            Columns of ``schema.describe("segments")``.
        drops : pandas.DataFrame
            Columns of ``schema.describe("drop_counts")``.
        """
        session = self._session(selection)
        if session is None:
            return recent.no_segments(), recent.no_drops()
        return session.segments(), session.drop_counts()

    def rates(self, over_s: float = 1.0) -> dict[str, float]:
        """Return packets, hops, bytes and dropped packets per second over the last `over_s` seconds.

        All are zero when no window has arrived for two seconds.
        """
        with self._lock:
            start_ns, end_ns, rows, _ = self.sums.recent(over_s)
            width_s = (end_ns - start_ns) / 1e9
            stale = self.idle_s > _STALE_S or not width_s
            return {name: 0.0 if stale else float(rows[name].sum() / width_s) for name in SUMS}

    # ---- time and marks ----------------------------------------------------------

    def now_ns(self) -> int:
        """Return the agent's CLOCK_MONOTONIC in ns, estimated from the arrival of windows."""
        return time.monotonic_ns() if self._clock_offset_ns is None else time.time_ns() - self._clock_offset_ns

    def wall(self, ts_ns: Any) -> pd.DatetimeIndex:
        """Return local times for times of the agent's CLOCK_MONOTONIC (ns), accurate to some milliseconds."""
        offset_ns = self._clock_offset_ns
        if offset_ns is None:
            offset_ns = time.time_ns() - time.monotonic_ns()
        zone_ns = time.localtime().tm_gmtoff * 10**9
        return pd.DatetimeIndex(pd.to_datetime(np.asarray(ts_ns, np.int64) + offset_ns + zone_ns))

    def mark(self, note: str = "") -> None:
        """Mark this moment."""
        with self._lock:
            self._marks.append((self.now_ns(), note))

    @property
    def marks(self) -> pd.DataFrame:
        """Marked moments, one row per mark: ``ts_ns`` (the agent's CLOCK_MONOTONIC), ``time`` (local), ``note``."""
        with self._lock:
            rows = list(self._marks)
        table = pd.DataFrame(rows, columns=["ts_ns", "note"]).astype({"ts_ns": np.int64})
        table.insert(1, "time", self.wall(table["ts_ns"]))
        return table[MARKS]

    @property
    def nbytes(self) -> int:
        """Memory of everything that is kept."""
        return self._cells_bytes + sum(kept.nbytes for kept in (self.edges_kept, self.pairs_kept, self.sums))


def _ends(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(table["src"].astype(str), table["dst"].astype(str), strict=True))


def _nbytes(cells: Mapping[str, np.ndarray]) -> int:
    return sum(values.nbytes for values in cells.values())
