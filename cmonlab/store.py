"""Session directories: ``events.parquet`` and ``manifest.json``, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .errors import SessionError

FORMAT = 1
EVENTS, MANIFEST = "events.parquet", "manifest.json"

#: Columns as they are stored; deltas where neighbours are close, dictionaries where values repeat.
_DTYPES = {
    "ts_ns": np.int64, "cpu": np.uint16, "point": np.uint8, "netns": np.uint32, "ifindex": np.uint32, "skb": np.uint64,
    "saddr": np.uint32, "daddr": np.uint32, "sport": np.uint16, "dport": np.uint16, "proto": np.uint8,
    "tcp_flags": np.uint8, "seq": np.uint32, "ident": np.uint16, "len_bytes": np.uint32, "detail": np.uint16,
    "aux": np.uint32, "shape": np.uint8,
}  # fmt: skip
_DELTA = ("ts_ns",)
_PLAIN = ("seq",)


def empty_columns() -> dict[str, np.ndarray]:
    """Return the stored columns without rows."""
    return {name: np.empty(0, dtype) for name, dtype in _DTYPES.items()}


def columns_of(chunks: list[tuple[int, np.ndarray]]) -> dict[str, np.ndarray]:
    """Turn a tracer's chunks into columns in order of time.

    Parameters
    ----------
    chunks : list of (int, numpy.ndarray)
        CPU and records with the fields of ``struct hop``.

    Returns
    -------
    dict of str to numpy.ndarray
        The stored columns.
    """
    if not chunks:
        return empty_columns()
    cpu = np.repeat(np.array([cpu for cpu, _ in chunks], np.uint16), [len(records) for _, records in chunks])
    records = np.concatenate([records for _, records in chunks])
    order = np.argsort(records["ts_ns"], kind="stable")  # nearly sorted runs: this is a merge
    return {name: (cpu if name == "cpu" else records[name])[order].astype(dtype, copy=False) for name, dtype in _DTYPES.items()}


def check_target(path: Path) -> None:
    """Check that a session can be written to `path`.

    Raises
    ------
    SessionError
        Something is there already, or its parent cannot be written.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        what = "already holds a session" if (path / MANIFEST).exists() else "exists and is not an empty directory"
        raise SessionError(f"{path} {what}", fix="choose another --out, or remove it first")
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    if not os.access(parent, os.W_OK | os.X_OK):
        raise SessionError(f"{path} cannot be written", why=f"no permission in {parent}", fix="choose another --out")


def save(path: Path, columns: Mapping[str, np.ndarray], manifest: Mapping) -> None:
    """Write a session directory atomically: a sibling first, then one rename.

    Raises
    ------
    SessionError
        The target is taken, or the disk is full or not writable; nothing is left behind.
    """
    check_target(path)
    scratch = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.cmonlab-", dir=path.parent))
        scratch.chmod(0o755)
        write_events(scratch / EVENTS, columns)
        text = json.dumps({"format": FORMAT, **manifest}, indent=1, ensure_ascii=False)
        (scratch / MANIFEST).write_text(text + "\n", encoding="utf-8")
        if path.exists():
            path.rmdir()
        scratch.rename(path)
    except OSError as error:
        raise SessionError(
            f"the session cannot be written to {path}",
            why=error.strerror or str(error),
            fix="free space there, or choose another directory; the recording itself is still in memory",
        ) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def write_events(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write the stored columns as one Parquet file (zstd)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: columns[name] for name in _DTYPES})
    dictionary = [name for name in _DTYPES if name not in (*_DELTA, *_PLAIN)]
    encoding = {name: "DELTA_BINARY_PACKED" for name in _DELTA} | {name: "PLAIN" for name in _PLAIN}
    pq.write_table(
        table, path, compression="zstd", compression_level=1, use_dictionary=dictionary, column_encoding=encoding,
        row_group_size=1 << 20, write_statistics=False, dictionary_pagesize_limit=1 << 22,
    )  # fmt: skip


def load(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Read a session directory.

    Returns
    -------
    columns : dict of str to numpy.ndarray
    manifest : dict

    Raises
    ------
    SessionError
        The directory holds no session, a damaged one, or one of a newer format.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not (path / MANIFEST).is_file():
        raise SessionError(f"{path} holds no session", why=f"there is no {MANIFEST}", fix="name a directory that `cmonlab record --out` wrote")
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] > FORMAT:
            raise SessionError(
                f"{path} was written by a newer cmonlab", why=f"format {manifest['format']}, this one reads {FORMAT}", fix="upgrade cmonlab"
            )
        table = pq.read_table(path / EVENTS, columns=list(_DTYPES), memory_map=False)
        columns = {name: table[name].to_numpy().astype(dtype, copy=False) for name, dtype in _DTYPES.items()}
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise SessionError(f"the session in {path} is damaged", why=str(error), fix="record it again, or restore it from a copy") from error
    return columns, manifest
