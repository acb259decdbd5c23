"""Every table that cmonlab returns: columns with dtype, unit and meaning.

This is the one place that documents columns; `describe` returns it as a DataFrame. Points in time (``ts_ns``,
``start_ns``, ``end_ns``) are integer nanoseconds of CLOCK_MONOTONIC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmonlab.errors import UnknownName

from . import aggregates, comparison, delays, events, graph, metadata
from .column import Column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ROWS", "SESSION_TABLES", "TABLES", "Column", "columns", "describe"]

_MODULES = (events, comparison, aggregates, delays, graph, metadata)
#: Columns of each table.
TABLES: dict[str, tuple[Column, ...]] = {name: table for module in _MODULES for name, table in module.TABLES.items()}
#: What one row of each table is, as a sentence.
ROWS: dict[str, str] = {name: text for module in _MODULES for name, text in module.ROWS.items()}

#: The tables of a session by name; each is a method of `Session`.
SESSION_TABLES = (
    "breakdown",
    "journeys",
    "hops",
    "throughput",
    "loss",
    "drops",
    "retransmissions",
    "rtt",
    "pairs",
    "flows",
    "segments",
    "drop_counts",
    "rules",
    "budget",
    "ledger",
    "trace_gaps",
    "links",
    "overhead",
    "program_times",
    "one_way_delay",
    "delay_variation",
    "timeline",
    "slowest",
    "where_is_the_tail",
    "topology",
    "edges",
)


def columns(table: str) -> list[str]:
    """Return the names of a table's columns, in order.

    Raises
    ------
    UnknownName
        There is no such table.
    """
    if table not in TABLES:
        raise UnknownName("table", table, TABLES)
    return [column.name for column in TABLES[table]]


def describe(table: str) -> pd.DataFrame:
    """Return the documentation of a table.

    Returns
    -------
    DataFrame
        Columns ``column``, ``dtype``, ``unit``, ``meaning``; one row per column of the table.
        ``attrs["rows"]`` says what one row of the table is.

    Raises
    ------
    UnknownName
        There is no such table.
    """
    import pandas as pd

    columns(table)
    frame = pd.DataFrame([vars(column) for column in TABLES[table]]).rename(columns={"name": "column"})
    frame.attrs["rows"] = ROWS[table]
    return frame
