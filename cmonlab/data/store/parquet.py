"""Columns as one Parquet file: what sessions keep beside their events."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def save(path: Path, columns: Mapping[str, np.ndarray], dtypes: Mapping[str, Any], plain: Collection[str] = ()) -> None:
    """Write columns (zstd, checksums).

    Parameters
    ----------
    path : Path
    columns : mapping of str to numpy.ndarray
    dtypes : mapping of str to dtype
        Which columns; the order is kept.
    plain : collection of str
        Those whose values hardly come again, so that a dictionary is of no use.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({name: columns[name] for name in dtypes}),
        path,
        compression="zstd",
        compression_level=1,
        write_statistics=False,
        write_page_checksum=True,
        use_dictionary=[name for name in dtypes if name not in plain],
    )


def load(path: Path, dtypes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Read what `save` wrote.

    Raises
    ------
    OSError, ValueError, pyarrow.ArrowException
        The file is missing or damaged.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(path, memory_map=False, page_checksum_verification=True)
    missing = [name for name in dtypes if name not in table.column_names]
    if missing:
        raise ValueError(f"{path.name} lacks the columns {', '.join(missing)}")
    return {name: table[name].to_numpy().astype(dtype, copy=False) for name, dtype in dtypes.items()}
