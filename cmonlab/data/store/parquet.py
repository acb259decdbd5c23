"""Columns as one Parquet file: the files of a session other than its events."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt


def save(
    path: Path, columns: Mapping[str, np.ndarray], dtypes: Mapping[str, npt.DTypeLike], plain: Collection[str] = ()
) -> None:
    """Write columns to a Parquet file (zstd, with checksums).

    Parameters
    ----------
    path : Path
        The file.
    columns : mapping of str to numpy.ndarray
        Arrays of one length.
    dtypes : mapping of str to dtype
        The columns to write, in this order.
    plain : collection of str
        Columns whose values rarely repeat, so that a dictionary would not save space.

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


def load(path: Path, dtypes: Mapping[str, npt.DTypeLike]) -> dict[str, np.ndarray]:
    """Read columns that `save` wrote.

    Parameters
    ----------
    path : Path
        The file.
    dtypes : mapping of str to dtype
        The columns to read, and the type that each is converted to.

    Returns
    -------
    dict of str to numpy.ndarray
        Arrays of one length.

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
