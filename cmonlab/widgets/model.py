"""The live model: the last minutes of an agent's windows, and the tables that a view draws.

It knows nothing of widgets and may be asked from another thread than the one that feeds it.
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
from cmonlab.data.store import directory as store
from cmonlab.session.session import Session

from . import recent
from .agent_status import Told
from .history import History
from .scope import around, within
from .selection import Selection

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
_STALE_S = 2.0


class Live:
    """What an agent measured in the last minutes.

    Parameters
    ----------
    keep_s : float
        For how long series go back.
    recent_s : float
        For how long segments and drops go back: they are made from cells, which need more room.
    containers : collection of str, optional
        Those that it is about, with what connects them; by default all.

    Attributes
    ----------
    told : Told
        What the agent says of itself: the monitor's own losses and cost.
    rule : str
        Name of the aggregate rule that is shown, empty: the first.
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
        self._came_s = 0.0
        self._marks: deque[tuple[int, str]] = deque(maxlen=_MARKS_KEPT)
        self._ahead_ns: int | None = None
        self.told = Told()
        self.rule = ""
        self.windows = 0

    # ---- what comes in -----------------------------------------------------------

    def take(self, window: Session) -> None:
        """Take a window of aggregates."""
        cells = window.cells
        if not len(cells["start_ns"]):
            return
        start_ns, end_ns = int(cells["start_ns"].min()), int(cells["end_ns"].max())
        shown = self._of_rule(window, cells)
        edges, pairs = shown.edges(), shown.pairs()
        with self._lock:
            self._follow(window, end_ns)
            if self._containers is not None:
                edges = within(edges, ("src", "dst"), {*self._topology["a"], *self._topology["b"]})
                pairs = pairs[pairs["src"].isin(self._containers) | pairs["dst"].isin(self._containers)]
            cells = shown.cells
            self._fill_gap(start_ns)
            way = zip(edges["src"].astype(str), edges["dst"].astype(str), strict=True)
            self.edges_kept.add(start_ns, end_ns, list(way), edges)
            ends = zip(pairs["src"].astype(str), pairs["dst"].astype(str), strict=True)
            self.pairs_kept.add(start_ns, end_ns, list(ends), pairs)
            # Of traffic from or to elsewhere only one end is in sight.
            packets = np.maximum(pairs["packets_sent"], pairs["packets_arrived"]).sum()
            hops = cells["packets"][np.isin(cells["kind"], (HOP, SEGMENT))].sum()
            sums = {"packets": packets, "hops": hops, "bytes": pairs["bytes"].sum(), "dropped": pairs["dropped"].sum()}
            self.sums.add(start_ns, end_ns, [()], {name: np.array([value]) for name, value in sums.items()})
            self._keep_cells(start_ns, end_ns, cells)
            self.windows += 1

    def _of_rule(self, window: Session, cells: Mapping[str, np.ndarray]) -> Session:
        """Return the window with the cells of one rule: a packet that several rules take is one packet."""
        rules = {entry["slot"]: entry["name"] for entry in window.manifest["rules"]}
        slots = [slot for slot, name in rules.items() if name == self.rule] or np.unique(cells["rule"])[:1]
        rows = np.isin(cells["rule"], slots)
        if rows.all():
            return window
        return Session(store.empty_columns(), window.manifest, {name: values[rows] for name, values in cells.items()})

    def _follow(self, window: Session, end_ns: int) -> None:
        """Take over names and clock of a window."""
        if window.manifest["links"] is not self._links:
            self._links, self._topology = window.manifest["links"], self._about(window.topology())
        self._last = window
        self.told.account(window.ledger())
        ahead_ns = time.time_ns() - end_ns  # the least of them: a window takes a while to come
        self._ahead_ns = ahead_ns if self._ahead_ns is None else min(self._ahead_ns, ahead_ns)
        self._came_s = time.monotonic()

    def _about(self, topology: pd.DataFrame) -> pd.DataFrame:
        """Return the part of a topology that the model is about."""
        if self._containers is None:
            return topology
        return within(topology, ("a", "b"), around(topology, self._containers)).reset_index(drop=True)

    def _fill_gap(self, start_ns: int) -> None:
        """Windows without a packet are not handed out: say that there was none."""
        windows = self.sums.windows()
        if len(windows) and start_ns - windows[-1, 1] > 1e6:
            for kept in (self.edges_kept, self.pairs_kept):
                kept.add(int(windows[-1, 1]), start_ns, [], dict.fromkeys(kept.dtype.names, ()))
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
        """Show another rule from now on, unless one of these is shown; what was kept of the one before is forgotten."""
        with self._lock:
            if rule == self.rule or self.rule in unless:
                return
            self.rule = rule
            for kept in (self.edges_kept, self.pairs_kept, self.sums):
                kept.clear()
            self._cells.clear()
            self._cells_bytes = 0

    # ---- what it answers ---------------------------------------------------------

    @property
    def idle_s(self) -> float:
        """Seconds since a packet was seen, infinite before the first."""
        return time.monotonic() - self._came_s if self._last is not None else float("inf")

    def topology(self) -> pd.DataFrame:
        """Return the edges of the graph, columns of `cmonlab.Session.topology`; of nothing before the first window."""
        with self._lock:
            return recent.no_topology() if self._topology is None else self._topology

    def edges(self, over_s: float = 2.0) -> pd.DataFrame:
        """Return what crossed each edge in the last seconds, columns of `cmonlab.Session.edges`.

        Rates are those of the whole time, delays those of the last window with a packet.
        """
        with self._lock:
            return recent.edges(self.edges_kept, over_s)

    def pairs(self, over_s: float = 5.0) -> pd.DataFrame:
        """Return who talked to whom in the last seconds: one row a direction, with the columns of `recent.PAIRS`."""
        with self._lock:
            return recent.pairs(self.pairs_kept, over_s)

    @property
    def pairs_seen(self) -> int:
        """How many pairs have been seen so far: as long as it is the same, no new one has come."""
        return self.pairs_kept.seen

    def series(self, selection: Selection) -> pd.DataFrame:
        """Return what became of a selection, window by window; columns of `recent.SERIES`.

        One line a direction; of a node with many edges, those with most packets.
        """
        with self._lock:
            lines = recent.lines(selection, self.edges_kept, self.pairs_kept)
            kept = self.pairs_kept if selection.kind == "pair" else self.edges_kept
            return recent.series(kept, lines)

    def _session(self, selection: Selection) -> Session | None:
        """Return the last seconds of what a selection is about as one window."""
        with self._lock:
            last, windows, topology = self._last, list(self._cells), self.topology()
        if last is None or not windows:
            return None
        chosen = selection.chooser(last.facts.names, topology)
        parts = [(cells, chosen(cells)) for *_, cells in windows]
        joined = {name: np.concatenate([cells[name][rows] for cells, rows in parts]) for name in parts[0][0]}
        joined["start_ns"] = np.full(len(joined["start_ns"]), windows[0][0])
        joined["end_ns"] = np.full(len(joined["end_ns"]), windows[-1][1])
        return Session(store.empty_columns(), last.manifest, joined)

    def recent(self, selection: Selection) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return where the time went in the last seconds, and what the network dropped.

        Columns of ``schema.describe("segments")`` and ``schema.describe("drop_counts")``.
        """
        session = self._session(selection)
        if session is None:
            return recent.no_segments(), recent.no_drops()
        return session.segments(), session.drop_counts()

    def rates(self, over_s: float = 1.0) -> dict[str, float]:
        """Return packets, hops, bytes and dropped packets a second, of the last second; zero when nothing comes."""
        with self._lock:
            start_ns, end_ns, rows, _ = self.sums.recent(over_s)
            width_s = (end_ns - start_ns) / 1e9
            stale = self.idle_s > _STALE_S or not width_s
            return {name: 0.0 if stale else float(rows[name].sum() / width_s) for name in SUMS}

    # ---- time and marks ----------------------------------------------------------

    def now_ns(self) -> int:
        """Return the agent's CLOCK_MONOTONIC, as far as windows tell it."""
        return time.time_ns() - self._ahead_ns if self._ahead_ns is not None else time.monotonic_ns()

    def wall(self, ts_ns: Any) -> pd.DatetimeIndex:
        """Return local times of day for times of the agent's CLOCK_MONOTONIC, for axes: good to some milliseconds."""
        ahead_ns = self._ahead_ns if self._ahead_ns is not None else time.time_ns() - time.monotonic_ns()
        east_ns = time.localtime().tm_gmtoff * 10**9
        return pd.DatetimeIndex(pd.to_datetime(np.asarray(ts_ns, np.int64) + ahead_ns + east_ns))

    def mark(self, note: str = "") -> None:
        """Mark this moment."""
        with self._lock:
            self._marks.append((self.now_ns(), note))

    @property
    def marks(self) -> pd.DataFrame:
        """Moments that were marked: ``ts_ns`` (the agent's CLOCK_MONOTONIC), ``time`` (local), ``note``."""
        with self._lock:
            rows = list(self._marks)
        table = pd.DataFrame(rows, columns=["ts_ns", "note"]).astype({"ts_ns": np.int64})
        table.insert(1, "time", self.wall(table["ts_ns"]))
        return table[MARKS]

    @property
    def nbytes(self) -> int:
        """Memory of what is kept."""
        return self._cells_bytes + sum(kept.nbytes for kept in (self.edges_kept, self.pairs_kept, self.sums))


def _nbytes(cells: Mapping[str, np.ndarray]) -> int:
    return sum(values.nbytes for values in cells.values())
