"""Session directories: ``events.parquet``, ``manifest.json`` and more, written atomically.

Other modules import this one as ``from cmonlab.data.store import directory`` and call ``directory.save(…)``.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cmonlab.errors import SessionError
from cmonlab.system import tempdirs
from cmonlab.system.files import atomic_directory

from .cells import CELLS, load_cells, save_cells
from .probe_values import PROBE_VALUES, load_probe_values, save_probe_values

Columns = dict[str, np.ndarray]

#: Format of the directories that `save` writes; `load` also reads older ones.
FORMAT = 2
EVENTS, MANIFEST = "events.parquet", "manifest.json"

#: The stored columns; see `schema.describe("events")` for their meanings.
DTYPES = {
    "ts_ns": np.int64,
    "cpu": np.uint16,
    "point": np.uint8,
    "netns": np.uint32,
    "ifindex": np.uint32,
    "skb": np.uint32,
    "saddr": np.uint32,
    "daddr": np.uint32,
    "sport": np.uint16,
    "dport": np.uint16,
    "proto": np.uint8,
    "tcp_flags": np.uint8,
    "seq": np.uint32,
    "ident": np.uint16,
    "len_bytes": np.uint32,
    "detail": np.uint16,
    "aux": np.uint32,
    "shape": np.uint8,
    "epoch": np.uint16,
    "rules": np.uint16,
}
#: Entries of the manifest that the tables need.
_ENTRIES = {
    "points": list,
    "links": list,
    "ledger": list,
    "blind": list,
    "rules": list,
    "missing": list,
    "recording": dict,
    "host": dict,
    "addresses6": dict,
    "symbols": dict,
    "drop_reasons": dict,
}
#: Columns whose neighbouring values are close, and columns whose values rarely repeat; all others use dictionaries.
_DELTA = ("ts_ns",)
_PLAIN = ("seq",)


def empty_columns() -> dict[str, np.ndarray]:
    """Return the stored columns, without rows."""
    return {name: np.empty(0, dtype) for name, dtype in DTYPES.items()}


def columns_of(chunks: list[tuple[int, np.ndarray]]) -> dict[str, np.ndarray]:
    """Turn a tracer's chunks into columns in order of time.

    Parameters
    ----------
    chunks : list of (int, numpy.ndarray)
        CPU, and records with the fields of ``struct hop``. The list is emptied, so that no record is in memory twice.

    Returns
    -------
    dict of str to numpy.ndarray
        The stored columns, shape (events,).
    """
    total = sum(len(records) for _, records in chunks)
    columns = {name: np.empty(total, dtype) for name, dtype in DTYPES.items()}
    end = total
    while chunks:
        cpu, records = chunks.pop()
        part = slice(end - len(records), end)
        for name, values in columns.items():
            values[part] = cpu if name == "cpu" else records[name]
        end = part.start
    order = np.argsort(columns["ts_ns"], kind="stable")  # sorted runs, so this is a merge
    for name in columns:
        columns[name] = columns[name][order]
    return columns


def check_target(path: Path) -> None:
    """Check that a session can be written to `path`.

    Raises
    ------
    SessionError
        Something is there already, or its parent cannot be written.
    """
    fix = "choose another directory"
    try:
        target = path.resolve()
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            what = "already holds a session" if (target / MANIFEST).exists() else "exists and is not an empty directory"
            raise SessionError(f"{path} {what}", fix=f"{fix}, or remove it first")
        if target == Path.cwd() or target.is_mount():
            why = "it is the working directory or a mount point, which cannot be replaced"
            raise SessionError(
                f"{path} cannot be replaced", why=why, fix=f"choose a directory in it, say {target / 'first'}"
            )
        # Only an attempt shows what permissions, mounts and special file systems allow.
        Path(tempfile.mkdtemp(prefix=f".{tempdirs.prefix()}", dir=_first_that_exists(target.parent))).rmdir()
    except (OSError, RuntimeError) as error:
        raise SessionError(
            f"{path} cannot be written", why=getattr(error, "strerror", None) or str(error), fix=fix
        ) from error


def _first_that_exists(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def save(
    path: Path,
    columns: Mapping[str, np.ndarray],
    manifest: Mapping,
    aggregates: Mapping[str, np.ndarray] | None = None,
    probe_values: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write a session directory atomically: to a temporary directory next to it, which is then renamed.

    Parameters
    ----------
    path : Path
        The directory; it must not exist yet, or be empty.
    columns : mapping of str to numpy.ndarray
        The stored columns of the events.
    manifest : mapping
        Content of ``manifest.json``, without the format.
    aggregates : mapping of str to numpy.ndarray, optional
        Columns of `cmonlab.data.store.cells`.
    probe_values : mapping of str to numpy.ndarray, optional
        Columns of `cmonlab.data.store.probe_values`.

    Raises
    ------
    SessionError
        The directory exists, or the disk is full or not writable; nothing is left behind.
    """
    check_target(path)
    try:
        with atomic_directory(path) as folder:
            write_events(folder / EVENTS, columns)
            if aggregates is not None:
                save_cells(folder / CELLS, aggregates)
            if probe_values is not None:
                save_probe_values(folder / PROBE_VALUES, probe_values)
            text = json.dumps({"format": FORMAT, **manifest}, indent=1, ensure_ascii=False)
            (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise SessionError(
            f"the session cannot be written to {path}",
            why=os.strerror(error.errno) if error.errno else str(error),
            fix="free space there, or choose another directory; the recording itself is still in memory",
        ) from error


def write_events(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write events to one Parquet file (zstd, with checksums).

    Parameters
    ----------
    path : Path
        The file.
    columns : mapping of str to numpy.ndarray
        The stored columns, shape (events,).

    Raises
    ------
    OSError
        The file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: columns[name] for name in DTYPES})
    dictionary = [name for name in DTYPES if name not in (*_DELTA, *_PLAIN)]
    encoding = dict.fromkeys(_DELTA, "DELTA_BINARY_PACKED") | dict.fromkeys(_PLAIN, "PLAIN")
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=1,
        use_dictionary=dictionary,
        column_encoding=encoding,
        row_group_size=1 << 20,
        write_statistics=False,
        dictionary_pagesize_limit=1 << 22,
        write_page_checksum=True,
    )


def load(path: Path) -> tuple[Columns, dict, Columns | None, Columns | None]:
    """Read a session directory.

    Returns
    -------
    columns : dict of str to numpy.ndarray
        The stored columns of the events.
    manifest : dict
        Content of ``manifest.json``, in the form of the current format.
    aggregates : dict of str to numpy.ndarray or None
        Columns of `cmonlab.data.store.cells`; None if no rule aggregated.
    probe_values : dict of str to numpy.ndarray or None
        Columns of `cmonlab.data.store.probe_values`; None if there were no custom probes.

    Raises
    ------
    SessionError
        The directory holds no session, a damaged one, or one of a newer format.
    """
    import pyarrow as pa

    try:
        manifest = _read_manifest(path)
        stored = _read_events(path / EVENTS)
        if manifest["format"] == 1:
            stored, manifest = _from_format_1(stored, manifest)
        missing = [name for name in DTYPES if name not in stored]
        if missing:
            raise ValueError(f"{EVENTS} lacks the columns {', '.join(missing)}")
        broken = [name for name, kind in _ENTRIES.items() if not isinstance(manifest.get(name), kind)]
        if broken:
            raise ValueError(f"{MANIFEST} lacks {', '.join(broken)}")
        columns = {name: stored[name].astype(dtype, copy=False) for name, dtype in DTYPES.items()}
        aggregates = load_cells(path / CELLS) if (path / CELLS).exists() else None
        values = load_probe_values(path / PROBE_VALUES) if (path / PROBE_VALUES).exists() else None
    except PermissionError as error:
        raise SessionError(
            f"{path} cannot be read", why=str(error), fix="run as its owner, or change its permissions"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise SessionError(
            f"the session in {path} is damaged", why=str(error), fix="record it again, or restore it from a copy"
        ) from error
    return columns, manifest, aggregates, values


def _read_events(path: Path) -> Columns:
    """Read the stored columns, one row group after the other, so that no more than one group is in memory twice."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, memory_map=False, page_checksum_verification=True) as file:
        count = file.metadata.num_rows
        columns = {field.name: np.empty(count, field.type.to_pandas_dtype()) for field in file.schema_arrow}
        at = 0
        for number in range(file.num_row_groups):
            rows = file.read_row_group(number)
            for name, values in columns.items():
                values[at : at + len(rows)] = rows[name]
            at += len(rows)
    return columns


def _read_manifest(path: Path) -> dict:
    file = path / MANIFEST
    if not file.is_file():
        near = [str(found.parent) for found in sorted(path.glob(f"*/{MANIFEST}"))[:4]]
        fix = f"did you mean {' or '.join(near)}?" if near else "name a directory that `cmonlab record --out` wrote"
        raise SessionError(f"{path} holds no session", why=f"there is no {MANIFEST}", fix=fix)
    manifest = json.loads(file.read_text(encoding="utf-8"))
    if manifest["format"] > FORMAT:
        why = f"format {manifest['format']}, this one reads {FORMAT}"
        raise SessionError(f"{path} was written by a newer cmonlab", why=why, fix="upgrade cmonlab")
    return manifest


def _from_format_1(stored: Mapping[str, np.ndarray], manifest: Mapping) -> tuple[dict[str, np.ndarray], dict]:
    """Convert columns and manifest of format 1, which had one rule per session, to the current format.

    Format 1 stored the whole address of a buffer, and reads of UDP sockets only.
    """
    once = np.ones(len(stored["skb"]), np.uint16)
    columns = {**stored, "skb": (stored["skb"] >> np.uint64(6)).astype(np.uint32), "epoch": once, "rules": once}
    old = manifest["rule"]
    rule = {
        "name": "packets",
        "match": {"packets": old["expression"], "containers": None, "direction": "both"},
        "points": [point["name"] for point in manifest["points"]],
        "mode": "capture",
        "by": None,
        "sample": 1.0,
        "limit": None,
        "max_overhead": None,
        "duration": None,
    }
    since = dict.fromkeys(("counted", "aggregated", "overflowed"), 0)
    upgraded = {name: value for name, value in manifest.items() if name != "rule"} | {
        "format": FORMAT,
        "rules": [{"slot": 0, "name": rule["name"], "rule": rule, "epochs": [1, 1]}],
        "missing": old.get("missing", []),
        "ledger": [{**row, **since} for row in manifest["ledger"]],
    }
    return columns, upgraded
