"""Cells that aggregate rules counted, as columns and as a file of the session's directory.

A cell is one bucket of a histogram, or one sum, in one window of time. Its fields are those of ``struct cell_key`` and
``struct cell`` in ``bpf/records.h``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from . import parquet

CELLS = "cells.parquet"

DTYPES = {
    "start_ns": np.int64,
    "end_ns": np.int64,
    "rule": np.uint8,
    "kind": np.uint8,
    "saddr": np.uint32,
    "daddr": np.uint32,
    "sport": np.uint16,
    "dport": np.uint16,
    "proto": np.uint8,
    "shape": np.uint8,
    "netns": np.uint32,
    "ifindex": np.uint32,
    "from": np.uint8,
    "point": np.uint8,
    "bucket": np.uint16,
    "packets": np.int64,
    "bytes": np.int64,
    "sum_ns": np.int64,
}


def columns_of(windows: Iterable[tuple[int, int, np.ndarray]]) -> dict[str, np.ndarray]:
    """Turn a tracer's windows into columns.

    Parameters
    ----------
    windows : iterable of (int, int, numpy.ndarray)
        Begin and end of each window (ns), and its cells: a structured array with the fields of ``struct cell_key`` and
        ``struct cell``.

    Returns
    -------
    dict of str to numpy.ndarray
        The columns of `DTYPES`, one row per cell and window, in order of time.
    """
    windows = sorted(windows, key=lambda window: window[0])
    sizes = [len(cells) for _, _, cells in windows]
    columns = {
        name: np.repeat(np.array([window[at] for window in windows], np.int64), sizes)
        for at, name in enumerate(("start_ns", "end_ns"))
    }
    for name in list(DTYPES)[2:]:
        parts = [cells[name].astype(DTYPES[name], copy=False) for _, _, cells in windows]
        columns[name] = np.concatenate([*parts, np.empty(0, DTYPES[name])])
    return columns


def save_cells(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write cells to a file.

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
    parquet.save(path, columns, DTYPES, ("packets", "bytes", "sum_ns"))


def load_cells(path: Path) -> dict[str, np.ndarray]:
    """Read a file that `save_cells` wrote; raises as `parquet.load` does."""
    return parquet.load(path, DTYPES)
