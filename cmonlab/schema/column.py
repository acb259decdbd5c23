"""Documentation of one column of a table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes
    ----------
    name : str
        Name with its unit, for instance ``one_way_delay_ns``.
    dtype : str
        Dtype of numpy or pandas.
    unit : str
        ``"ns"``, ``"bytes"``, … or ``""``.
    meaning : str
        One sentence.
    """

    name: str
    dtype: str
    unit: str
    meaning: str


def read(text: str) -> tuple[Column, ...]:
    """Read columns from lines of ``name | dtype | unit | meaning``."""
    rows = (line.split("|", 3) for line in text.strip().splitlines())
    return tuple(Column(*(cell.strip() for cell in row)) for row in rows)


def unit_of(name: str) -> str:
    """Return the unit in a column's name, ``"ns"`` for ``one_way_delay_ns``; empty if it has none."""
    units = {"_ns": "ns", "_bps": "bit/s", "_bytes": "bytes", "_s": "s"}
    return next((unit for end, unit in units.items() if name.endswith(end)), "")
