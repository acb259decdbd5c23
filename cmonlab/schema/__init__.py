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

__all__ = ["ROWS", "TABLES", "Column", "columns", "describe"]

_MODULES = (events, comparison, aggregates, delays, graph, metadata)
#: Columns of each table.
TABLES: dict[str, tuple[Column, ...]] = {name: table for module in _MODULES for name, table in module.TABLES.items()}
#: What one row of each table is, as a sentence.
ROWS: dict[str, str] = {name: text for module in _MODULES for name, text in module.ROWS.items()}


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
