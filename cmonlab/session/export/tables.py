"""A session's table as a file: CSV, Arrow, LaTeX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from cmonlab import schema
from cmonlab.data.tables.tables import Tables
from cmonlab.system.files import export_file

from .latex import latex

if TYPE_CHECKING:
    import pyarrow as pa


def csv(session: Tables, path: str | Path, *, table: str = "breakdown") -> Path:
    """Write a table as CSV: UTF-8, with a header of column names, which have their units.

    Parameters
    ----------
    session : Tables
        For instance a `Session`.
    path : str or Path
        A new file.
    table : str
        Name of the table to write, which is a method of the session: ``"journeys"``, ``"loss"`` and so on.

    Returns
    -------
    Path
        The file.

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

    The metadata of each field has ``unit`` and ``meaning``. The metadata of the table has its name and provenance, as
    JSON under the key ``cmonlab``.

    Parameters
    ----------
    session : Tables
        For instance a `Session`.
    path : str or Path
        A new file.
    table : str
        Name of the table to write, which is a method of the session: ``"journeys"``, ``"loss"`` and so on.

    Returns
    -------
    Path
        The file.

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
    """Write a table as LaTeX (booktabs); its caption has the number of journeys, lost events and tracing overhead.

    Parameters
    ----------
    session : Tables
        For instance a `Session`.
    path : str or Path
        A new file.
    table : str
        Name of the table to write, which is a method of the session: ``"journeys"``, ``"loss"`` and so on.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UnknownName
        There is no such table.
    ExportError
        The table has more than 200 rows, or the file exists or cannot be written.
    """
    text = latex(session.table(table), table, caption=f"{_title(table)}. {session.caption()}")
    with export_file(Path(path)) as file:
        file.write(text.encode())
    return Path(path)


def with_meanings(frame: pd.DataFrame, table: str, provenance: dict[str, object] | None = None) -> pa.Table:
    """Return a DataFrame as a pyarrow Table whose fields have unit and meaning as metadata.

    Parameters
    ----------
    frame : pandas.DataFrame
    table : str
        Its name in `cmonlab.schema`; columns that the schema does not have get no metadata.
    provenance : dict, optional
        Stored as JSON under the key ``cmonlab``; by default the table's name.

    Returns
    -------
    pyarrow.Table
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
    metadata = {**content.schema.metadata, b"cmonlab": json.dumps(provenance or {"table": table}, ensure_ascii=False)}
    return content.cast(pa.schema(fields, metadata=metadata))


def _provenance(session: Tables, table: str) -> dict[str, object]:
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
