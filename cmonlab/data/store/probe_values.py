"""Values that custom probes read at their hops, as columns and as a file of the session's directory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from cmonlab.points.probe import MAX_FIELDS

from . import parquet

PROBE_VALUES = "probes.parquet"

#: ``value0`` and so on are the fields of a probe in their order, each in the first bytes of the word.
DTYPES = {
    "ts_ns": np.int64,
    "cpu": np.uint16,
    "point": np.uint8,
    "skb": np.uint32,
    **{f"value{number}": np.uint64 for number in range(MAX_FIELDS)},
}


def columns_of(chunks: Iterable[tuple[int, np.ndarray]]) -> dict[str, np.ndarray]:
    """Turn a tracer's records of probe values into columns.

    Parameters
    ----------
    chunks : iterable of (int, numpy.ndarray)
        CPU, and records with a ``hop`` (the fields of ``struct hop``) and its ``values`` (8 words of 64 bits).

    Returns
    -------
    dict of str to numpy.ndarray
        The columns of `DTYPES`, one row per hop at a custom probe, in order of time.
    """
    chunks = list(chunks)
    cpu = np.repeat(np.array([cpu for cpu, _ in chunks], np.uint16), [len(records) for _, records in chunks])
    hops = {name: _joined([records["hop"][name] for _, records in chunks]) for name in ("ts_ns", "point", "skb")}
    values = {f"value{n}": _joined([records["values"][:, n] for _, records in chunks]) for n in range(MAX_FIELDS)}
    order = np.argsort(hops["ts_ns"], kind="stable")
    columns = {"cpu": cpu, **hops, **values}
    return {name: columns[name][order].astype(dtype, copy=False) for name, dtype in DTYPES.items()}


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([*parts, np.empty(0, parts[0].dtype if parts else np.int64)])


def save_probe_values(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write probe values to a file.

    Parameters
    ----------
    path : Path
        The file.
    columns : mapping of str to numpy.ndarray
        The columns of `DTYPES`.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    parquet.save(path, columns, DTYPES, [name for name in DTYPES if name.startswith("value")])


def load_probe_values(path: Path) -> dict[str, np.ndarray]:
    """Read a file that `save_probe_values` wrote; raises as `parquet.load` does."""
    return parquet.load(path, DTYPES)
