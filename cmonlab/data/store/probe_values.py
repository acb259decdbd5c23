"""What custom points took down besides their hops, as columns and as a file of the session's directory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from . import parquet as columnar

EXTRAS = "probes.parquet"

#: ``value0`` and so on hold the fields of a point in their order, each in its first bytes.
DTYPES = {
    "ts_ns": np.int64,
    "cpu": np.uint16,
    "point": np.uint8,
    "skb": np.uint32,
    **{f"value{number}": np.uint64 for number in range(8)},
}


def columns_of(notes: Iterable[tuple[int, np.ndarray]]) -> dict[str, np.ndarray]:
    """Turn a tracer's notes into columns.

    Parameters
    ----------
    notes : iterable of (int, numpy.ndarray)
        CPU and records with the fields of ``struct note`` (``bpf/custom.h``).

    Returns
    -------
    dict of str to numpy.ndarray
        The columns of `DTYPES`, one row a hop of a custom point, in order of time.
    """
    notes = list(notes)
    cpu = np.repeat(np.array([cpu for cpu, _ in notes], np.uint16), [len(records) for _, records in notes])
    hops = {name: _joined([records["hop"][name] for _, records in notes]) for name in ("ts_ns", "point", "skb")}
    values = {f"value{n}": _joined([records["values"][:, n] for _, records in notes]) for n in range(8)}
    order = np.argsort(hops["ts_ns"], kind="stable")
    columns = {"cpu": cpu, **hops, **values}
    return {name: columns[name][order].astype(dtype, copy=False) for name, dtype in DTYPES.items()}


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([*parts, np.empty(0, parts[0].dtype if parts else np.int64)])


def save_extras(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write the columns; see `columnar.save`."""
    columnar.save(path, columns, DTYPES, [name for name in DTYPES if name.startswith("value")])


def load_extras(path: Path) -> dict[str, np.ndarray]:
    """Read what `save_extras` wrote; see `columnar.load`."""
    return columnar.load(path, DTYPES)
