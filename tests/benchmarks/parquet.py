"""Size of an event on disk."""

from __future__ import annotations

from pathlib import Path

from cmonlab.data.store.directory import EVENTS, load, write_events

from .outcome import Outcome

PARTS = 10


def run(recordings: dict[str, Path], scratch: Path) -> Outcome:
    """Write each recording, and each tenth of it for the spread.

    Parameters
    ----------
    recordings : dict of str to Path
        Session directories by workload.
    scratch : Path
        Where to write.
    """
    outcome = Outcome()
    for workload, directory in recordings.items():
        columns, _, *_ = load(directory)
        events = len(columns["ts_ns"])
        whole = (directory / EVENTS).stat().st_size / events
        parts = []
        for part in range(PARTS):
            cut = slice(events * part // PARTS, events * (part + 1) // PARTS)
            piece = {name: values[cut] for name, values in columns.items()}
            write_events(scratch / "part.parquet", piece)
            parts.append((scratch / "part.parquet").stat().st_size / len(piece["ts_ns"]))
        outcome.add("events", "size of an event in Parquet", workload, "bytes", parts)
        outcome.judge("bytes", parts, workload)
        outcome.notes.append(f"parquet: {workload}, {events:,} events in one file take {whole:.2f} bytes an event")
    return outcome
