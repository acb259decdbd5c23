"""A session's table as a file: CSV, Arrow, LaTeX."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from cmonlab import schema
from cmonlab.data.tables.tables import Tables
from cmonlab.system.files import export_file

from .latex import latex


def csv(session: Tables, path: str | Path, *, table: str = "breakdown") -> Path:
    """Write a table as CSV: UTF-8, a header with the columns' names, which carry their units.

    Raises
    ------
    UnknownName
        There is no such table.
    ExportError
        The file exists or cannot be written.
    """
    frame = session.table(table)
    with export_file(Path(path)) as file:
        frame.to_csv(file, index=False)
    return Path(path)


def arrow(session: Tables, path: str | Path, *, table: str = "breakdown") -> Path:
    """Write a table as an Arrow file (IPC, also known as Feather 2).

    Each field carries ``unit`` and ``meaning``; the table carries what it is and where it comes from, as JSON under
    ``cmonlab``.

    Raises
    ------
    UnknownName
        There is no such table.
    ExportError
        The file exists or cannot be written.
    """
    from pyarrow import feather

    content = with_meanings(session.table(table), table, _provenance(session, table))
    with export_file(Path(path)) as file:
        feather.write_feather(content, file)
    return Path(path)


def tex(session: Tables, path: str | Path, *, table: str = "breakdown") -> Path:
    """Write a table as LaTeX (booktabs), captioned with n, lost events and tracing overhead.

    Raises
    ------
    UnknownName
        There is no such table.
    ExportError
        The table is too long to print; the file exists or cannot be written.
    """
    text = latex(session.table(table), table, caption=f"{_title(table)}. {session.caption()}")
    with export_file(Path(path)) as file:
        file.write(text.encode())
    return Path(path)


def with_meanings(frame: pd.DataFrame, table: str, provenance: dict | None = None):
    """Return a DataFrame as a pyarrow Table whose fields carry unit and meaning.

    Parameters
    ----------
    frame : pandas.DataFrame
    table : str
        Its name in `cmonlab.schema`; columns that do not stand there have neither.
    provenance : dict, optional
        Stored as JSON under ``cmonlab``.
    """
    import pyarrow as pa

    known = {column.name: column for column in schema.TABLES.get(table, ())}
    content = pa.Table.from_pandas(frame, preserve_index=False)
    fields = [
        field.with_metadata({"unit": known[field.name].unit, "meaning": known[field.name].meaning})
        if field.name in known
        else field
        for field in content.schema
    ]
    told = {**content.schema.metadata, b"cmonlab": json.dumps(provenance or {"table": table}, ensure_ascii=False)}
    return content.cast(pa.schema(fields, metadata=told))


def _provenance(session: Tables, table: str) -> dict:
    host = session.manifest["host"]
    return {
        "table": table,
        "created": session.manifest.get("created"),
        "kernel": host.get("kernel"),
        "cmonlab": host.get("python_packages", {}).get("cmonlab"),
        "rules": session.rules_summary,
        "journeys": len(session.journeys()),
        "events": len(session),
        "lost_events": session.lost_events,
        "trace_gap_ns": session.trace_gap_ns,
    }


def _title(table: str) -> str:
    return table.replace("_", " ").capitalize()
