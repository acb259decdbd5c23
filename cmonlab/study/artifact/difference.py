"""Differences between two tables: which columns differ, and by how much."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmonlab.schema.column import unit_of

#: Tolerances for the arithmetic of another machine: relative to the number, and to the largest one of its column.
RELATIVE, OF_GREATEST = 1e-9, 1e-12


@dataclass(frozen=True)
class Difference:
    """How a column differs.

    Attributes
    ----------
    column : str
        Its name; ``"rows"`` or ``"columns"`` if the tables do not have the same shape.
    rows : int
        Number of rows that differ.
    where : str
        The row that differs most, identified by its texts.
    expected, found : str
        The values in that row.
    relative : float
        (found - expected) / \\|expected\\| in that row, NaN if the values are not numbers.
    unit : str
        Unit of the values.
    """

    column: str
    rows: int
    where: str
    expected: str
    found: str
    relative: float = math.nan
    unit: str = ""

    def __str__(self) -> str:
        by = "" if math.isnan(self.relative) else f", {100 * self.relative:+.3g}%"
        unit = f" {self.unit}" if self.unit else ""
        many = f"{self.rows:,} rows differ, most" if self.rows > 1 else "1 row differs"
        where = f" at {self.where}" if self.where else ""
        return f"{self.column}: {many}{where}: {self.expected}{unit} → {self.found}{unit}{by}"


def differences(expected: pd.DataFrame, found: pd.DataFrame) -> list[Difference]:
    """Return how a table differs from the expected one, column by column.

    Parameters
    ----------
    expected, found : pandas.DataFrame
        The tables; rows are compared in their order.

    Returns
    -------
    list of Difference
        Empty if all differences are within the tolerance for floating-point arithmetic.
    """
    if list(expected.columns) != list(found.columns):
        then, now = (", ".join(map(str, table.columns)) for table in (expected, found))
        return [Difference("columns", 1, "", then, now)]
    if len(expected) != len(found):
        relative = (len(found) - len(expected)) / len(expected) if len(expected) else math.inf
        return [Difference("rows", 1, "", str(len(expected)), str(len(found)), relative)]
    columns = (_column(expected, found, name) for name in expected.columns)
    return [one for one in columns if one is not None]


def _column(expected: pd.DataFrame, found: pd.DataFrame, name: str) -> Difference | None:
    a, b = expected[name], found[name]
    if not (_is_number(a) and _is_number(b)):
        differ = (a.astype(str) != b.astype(str)).to_numpy()
        at = int(differ.argmax()) if differ.any() else 0
        relative = np.full(len(a), math.nan)
    elif pd.api.types.is_integer_dtype(a) and pd.api.types.is_integer_dtype(b):
        differ = a.to_numpy() != b.to_numpy()
        relative, at = _relative(a.to_numpy(float), b.to_numpy(float), differ)
    else:
        x, y = a.to_numpy(float), b.to_numpy(float)
        size = np.abs(x[np.isfinite(x)]).max(initial=0.0)
        differ = ~np.isclose(y, x, rtol=RELATIVE, atol=OF_GREATEST * size, equal_nan=True)
        relative, at = _relative(x, y, differ)
    if not differ.any():
        return None
    return Difference(
        str(name),
        int(differ.sum()),
        _words(expected, at),
        _shown(a.iloc[at]),
        _shown(b.iloc[at]),
        float(relative[at]),
        unit_of(str(name)),
    )


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _relative(expected: np.ndarray, found: np.ndarray, differ: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the relative difference of each row, shape (rows,), and the row where it is largest."""
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(differ, (found - expected) / np.abs(expected), 0.0)
    size = np.where(np.isnan(relative), math.inf, np.abs(relative))
    return relative, int(np.where(differ, size, -1).argmax()) if len(size) else 0


def _shown(value: object) -> str:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        return str(value)
    return f"{value:,.6g}" if isinstance(value, (float, np.floating)) else f"{value:,}"


def _words(table: pd.DataFrame, at: int) -> str:
    """Return what identifies a row: its texts, or its number if it has none."""
    texts = [str(table[name].iloc[at]) for name in table.columns if not pd.api.types.is_numeric_dtype(table[name])]
    return ", ".join(text for text in texts if text) or f"row {at}"
