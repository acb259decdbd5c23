"""Every table that cmonlab hands out: column, dtype, unit, meaning.

This is the one place that documents columns; `describe` turns it into a DataFrame.
Times are integer nanoseconds of CLOCK_MONOTONIC; sizes are bytes.
"""

from __future__ import annotations

from cmonlab.errors import UnknownName

from . import captured, compared, counted, delays, graph
from . import metadata as told
from .column import Column

__all__ = ["TABLES", "Column", "columns", "describe"]

TABLES: dict[str, tuple[Column, ...]] = (
    captured.TABLES | compared.TABLES | counted.TABLES | delays.TABLES | graph.TABLES | told.TABLES
)


def columns(table: str) -> list[str]:
    """Return a table's column names in order.

    Raises
    ------
    UnknownName
        There is no such table.
    """
    if table not in TABLES:
        raise UnknownName("table", table, TABLES)
    return [column.name for column in TABLES[table]]


def describe(table: str):
    """Return a DataFrame that documents a table: column, dtype, unit, meaning."""
    import pandas as pd

    columns(table)
    return pd.DataFrame([vars(column) for column in TABLES[table]]).rename(columns={"name": "column"})
