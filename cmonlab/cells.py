"""What aggregate rules counted, as columns and as a file of the session's directory.

A cell is one bucket of a histogram, or one sum, in one window of time; ``struct cell_key``
and ``struct cell`` of ``bpf/records.h`` say what its fields mean.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

CELLS = "cells.parquet"

DTYPES = {
    "start_ns": np.int64, "end_ns": np.int64, "rule": np.uint8, "kind": np.uint8, "saddr": np.uint32,
    "daddr": np.uint32, "sport": np.uint16, "dport": np.uint16, "proto": np.uint8, "shape": np.uint8,
    "netns": np.uint32, "ifindex": np.uint32, "from": np.uint8, "point": np.uint8, "bucket": np.uint16,
    "packets": np.int64, "bytes": np.int64, "sum_ns": np.int64,
}  # fmt: skip


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
    """Write the columns as one Parquet file (zstd).

    Raises
    ------
    OSError
        The file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: columns[name] for name in DTYPES})
    plain = ("packets", "bytes", "sum_ns")
    pq.write_table(
        table, path, compression="zstd", compression_level=1, write_statistics=False, write_page_checksum=True,
        use_dictionary=[name for name in DTYPES if name not in plain],
    )  # fmt: skip


def load_cells(path: Path) -> dict[str, np.ndarray]:
    """Read what `save_cells` wrote.

    Raises
    ------
    OSError, ValueError, pyarrow.ArrowException
        The file is missing or damaged.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path, memory_map=False, page_checksum_verification=True)
    missing = [name for name in DTYPES if name not in table.column_names]
    if missing:
        raise ValueError(f"{path.name} lacks the columns {', '.join(missing)}")
    return {name: table[name].to_numpy().astype(dtype, copy=False) for name, dtype in DTYPES.items()}
