"""What aggregate rules counted, as columns and as a file of the session's directory.

A cell is one bucket of a histogram, or one sum, in one window of time; ``struct cell_key``
and ``struct cell`` of ``bpf/records.h`` say what its fields mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from . import parquet as columnar

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
        Begin and end of each window (ns) and what was counted in it: a structured array with the
        fields of ``struct cell_key`` and ``struct cell``.

    Returns
    -------
    dict of str to numpy.ndarray
        The columns of `DTYPES`, one row a cell and window, in order of time.
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
    """Write the columns; see `columnar.save`."""
    columnar.save(path, columns, DTYPES, ("packets", "bytes", "sum_ns"))


def load_cells(path: Path) -> dict[str, np.ndarray]:
    """Read what `save_cells` wrote; see `columnar.load`."""
    return columnar.load(path, DTYPES)
