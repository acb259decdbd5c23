"""Tables of custom probes: the values that they read, with the journeys of the packets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cmonlab.points.probe import COLUMNS, TYPES

from ..correlation.journey import Journeys
from ..correlation.order import Columns
from .journeys import endpoints
from .names import Names

_KEY = ["ts_ns", "cpu", "skb"]


def table(events: Columns, found: Journeys, names: Names, values: Columns, probe: Mapping) -> pd.DataFrame:
    """Return one row per hop at a custom probe.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    found : Journeys
        Journeys of these events.
    names : Names
        Names of the recording.
    values : mapping of str to numpy.ndarray
        Columns of `cmonlab.data.store.probe_values`.
    probe : mapping
        The probe's entry in the manifest: its ``id``, and its ``fields`` (name → type).

    Returns
    -------
    pandas.DataFrame
        In order of time: ts_ns (int64, ns), cpu, journey (int64, -1 if the hop is in none), direction (category),
        sport, dport, and the probe's fields in their types.
    """
    mine = np.flatnonzero(values["point"] == probe["id"])
    read = _numbered(values, mine)
    hops = _numbered(events, np.flatnonzero(events["point"] == probe["id"]))
    # A hop and its values were one record, so each row finds exactly its own.
    joined = read.merge(hops, on=[*_KEY, "repeat"], suffixes=("", "_event"))
    at, rows = joined["row_event"].to_numpy(np.int64), joined["row"].to_numpy(np.int64)
    journey = np.full(len(events["ts_ns"]), -1, np.int64)
    journey[found.event] = np.repeat(np.arange(len(found)), found.length)
    fields = {
        name: _typed(values[f"value{number}"][rows], kind)
        for number, (name, kind) in enumerate(probe["fields"].items())
    }
    columns = {
        "ts_ns": events["ts_ns"][at],
        "cpu": events["cpu"][at],
        "journey": journey[at],
        "direction": endpoints(events, at, at, names)[2],
        "sport": events["sport"][at],
        "dport": events["dport"][at],
    }
    return pd.DataFrame({**{name: columns[name] for name in COLUMNS}, **fields}, copy=False)


def _numbered(columns: Columns, rows: np.ndarray) -> pd.DataFrame:
    """Return the keys of rows, with a number that distinguishes rows of the same key."""
    frame = pd.DataFrame({name: columns[name][rows] for name in _KEY} | {"row": rows})
    return frame.assign(repeat=frame.groupby(_KEY).cumcount())


def _typed(words: np.ndarray, kind: str) -> np.ndarray:
    """Return the first bytes of 8-byte words as numbers of a field's type."""
    dtype = np.dtype(TYPES[kind])
    return np.ascontiguousarray(words).view(dtype)[:: 8 // dtype.itemsize].copy()
