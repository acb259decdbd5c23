"""Tables as JSON without loss of numbers: for expected tables of artifacts and for declared results."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from cmonlab.errors import ArtifactError

LONGEST = 10_000  # rows; a result is a table to compare, not a recording
_EXACT = 1 << 53  # programs that read JSON numbers as doubles, as browsers do, keep integers up to this


def freeze(frame: pd.DataFrame) -> dict[str, Any]:
    """Return a table as JSON-compatible data.

    Parameters
    ----------
    frame : pandas.DataFrame
        The table. An index that has a name becomes columns.

    Returns
    -------
    dict
        ``columns``: a list of dicts with ``name``, ``kind`` (``"float"``, ``"int"``, ``"bool"`` or ``"text"``) and
        ``values``. Numbers that JSON cannot hold (NaN, infinity, large integers) are texts.

    Raises
    ------
    ArtifactError
        The table has more than 10,000 rows, or two columns with the same name.
    """
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    if len(frame) > LONGEST:
        fix = "summarise it first: quantiles, counts, one row per segment"
        raise ArtifactError(f"a result of {len(frame):,} rows is too long", why=f"at most {LONGEST:,}", fix=fix)
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise ArtifactError("a result has two columns of one name", fix="rename one: columns are compared by name")
    return {"columns": [_column(name, frame.iloc[:, at]) for at, name in enumerate(names)]}


def _column(name: str, values: pd.Series) -> dict[str, Any]:
    dtype = values.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return {"name": name, "kind": "bool", "values": [bool(value) for value in values]}
    if pd.api.types.is_integer_dtype(dtype):
        numbers = [int(value) for value in values]
        return {"name": name, "kind": "int", "values": [n if abs(n) <= _EXACT else str(n) for n in numbers]}
    if pd.api.types.is_float_dtype(dtype):
        return {"name": name, "kind": "float", "values": [_number(float(value)) for value in values]}
    return {"name": name, "kind": "text", "values": [_text(value) for value in values]}


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _text(value: object) -> str:
    """Return a value as text that depends on the value only."""
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return "" if value is None or value is pd.NaT or value is pd.NA else str(value)


def thaw(content: dict[str, Any]) -> pd.DataFrame:
    """Return the table that was given to `freeze`.

    Raises
    ------
    ArtifactError
        The content is not a stored table.
    """
    read = {"float": float, "int": int, "bool": bool, "text": str}
    try:
        columns = {
            str(column["name"]): pd.Series(
                [read[column["kind"]](value) for value in column["values"]],
                dtype={"float": "float64", "int": None, "bool": "bool", "text": "str"}[column["kind"]],
            )
            for column in content["columns"]
        }
        if len({len(values) for values in columns.values()}) > 1:
            raise ValueError("its columns differ in length")
        return pd.DataFrame(columns)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError("a stored table is damaged", why=str(error), fix="pack the artifact again") from error
