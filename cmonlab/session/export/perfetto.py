"""Journeys as a Perfetto trace, which ui.perfetto.dev opens.

A journey is a slice on the track of its direction. Each of its segments is a slice on the track of the interface where
the segment begins. Flows (arrows) join the slices of one journey.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cmonlab.data.tables.tables import Tables
from cmonlab.system.files import export_file

from .choice import choose, describe
from .lanes import lanes
from .trace import Trace

JOURNEYS = 2000


def perfetto(session: Tables, path: str | Path, *, journeys: int | Sequence[int] | None = JOURNEYS) -> Path:
    """Write journeys to a Perfetto trace (protobuf).

    Parameters
    ----------
    session : Tables
        For instance a `Session`.
    path : str or Path
        A new file.
    journeys : int or sequence of int, optional
        The journeys to write: see `choose`; None for all. By default the 1,000 slowest and 1,000 others.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ExportError
        The session has no journey, the file exists or cannot be written.
    UnknownName
        There is no such journey.

    Notes
    -----
    Times are CLOCK_MONOTONIC. A clock snapshot relates them to the wall clock if the manifest has the offset.
    Throughput counts all journeys, not only those written. The slice ``recording`` has the number of lost events; the
    times at which they were lost are not known.
    """
    table = session.journeys()
    chosen = choose(table, journeys)
    trace = Trace(int(session.columns["ts_ns"][0]), session.manifest.get("clock", {}).get("realtime_offset_ns"))
    _recording(trace, session, describe(table, chosen))
    _counters(trace, session)
    _directions(trace, table.iloc[chosen])
    _segments(trace, session.hops(chosen.tolist()))
    with export_file(Path(path)) as file:
        file.write(trace.serialized())
    return Path(path)


def _recording(trace: Trace, session: Tables, which: str) -> None:
    ts, ledger = session.columns["ts_ns"], session.ledger()
    host = session.manifest["host"]
    facts = {
        "shown": which,
        "rules": session.rules_summary,
        "lost_events": session.lost_events,
        "trace_gap_ns": session.trace_gap_ns,
        "events": len(session),
        "sampled_out": int(ledger["sampled_out"].sum()),
        "kernel": host.get("kernel") or "",
        "cmonlab": host.get("python_packages", {}).get("cmonlab") or "",
    }
    root = trace.track("recording")
    trace.slice(root, "recording", int(ts[0]), int(ts[-1]), facts)
    gaps = session.trace_gaps()
    for cpu, rows in gaps.groupby("cpu"):
        track = trace.track(f"CPU {cpu} trace gaps", root)
        for row in rows.sort_values("start_ns").itertuples():
            trace.slice(track, "packets pass unseen", row.start_ns, row.end_ns)


def _counters(trace: Trace, session: Tables) -> None:
    """Add a counter of throughput per direction; a window without packets is 0."""
    table, begin = session.throughput(), int(session.columns["ts_ns"][0])
    windows = np.sort(table["time_s"].unique())
    root = trace.track("throughput")
    for direction, rows in table.groupby("direction", observed=True):
        track = trace.counter(str(direction), "bit/s", root)
        rate = rows.set_index("time_s")["throughput_bps"].reindex(windows, fill_value=0.0)
        for time_s, bps in rate.items():
            trace.count(track, begin + round(time_s * 1e9), float(bps))


def _directions(trace: Trace, table: pd.DataFrame) -> None:
    """Add one slice per journey, on tracks of its direction: journeys that overlap are on different tracks."""
    root = trace.track("journeys")
    for direction, rows in table.groupby("direction", observed=True):
        start = rows["start_ns"].to_numpy()
        end = start + rows["one_way_delay_ns"].to_numpy()
        for here, track in _lanes(trace, str(direction), root, start, end):
            for row in rows.iloc[here].itertuples():
                facts = {
                    "journey": row.journey,
                    "proto": str(row.proto),
                    "sport": row.sport,
                    "dport": row.dport,
                    "len_bytes": row.len_bytes,
                    "outcome": str(row.outcome),
                    "drop_reason": str(row.drop_reason),
                    "complete": bool(row.complete),
                    "path": str(row.path),
                }
                end_ns = row.start_ns + row.one_way_delay_ns
                trace.slice(track, f"journey {row.journey}", row.start_ns, end_ns, facts, flow=row.journey + 1)


def _segments(trace: Trace, hops: pd.DataFrame) -> None:
    """Add one slice per segment, on the track of the interface where it begins."""
    before = hops["hop"].astype(object).shift(fill_value="")
    inner = hops["segment"].astype(object) != ""
    rows, places = hops[inner], before[inner].str.rpartition(" ")[0].to_numpy()
    end = rows["ts_ns"].to_numpy()
    start, roots = end - rows["segment_ns"].to_numpy(), {}
    for place in sorted(set(places)):
        namespace, _, interface = place.partition(":")
        if namespace not in roots:
            roots[namespace] = trace.track(namespace)
        mine = np.flatnonzero(places == place)
        for here, track in _lanes(trace, interface or "sockets", roots[namespace], start[mine], end[mine]):
            for row, begin in zip(rows.iloc[mine[here]].itertuples(), start[mine[here]].tolist(), strict=True):
                facts = {"journey": row.journey, "kind": str(row.kind), "segment_ns": row.segment_ns}
                trace.slice(track, str(row.segment), begin, row.ts_ns, facts, flow=row.journey + 1)


def _lanes(
    trace: Trace, name: str, parent: int, start: np.ndarray, end: np.ndarray
) -> Iterator[tuple[np.ndarray, int]]:
    """Yield (positions of slices that do not overlap, in order of time; a new track for them)."""
    lane, order = lanes(start, end), np.lexsort((end, start))
    for number in range(int(lane.max(initial=-1)) + 1):
        track = trace.track(name if not number else f"{name} ({number + 1})", parent, order=number)
        yield order[lane[order] == number], track
