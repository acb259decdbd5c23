"""What a custom point took down, with the journeys of its packets."""

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


def table(events: Columns, found: Journeys, names: Names, extras: Columns, probe: Mapping) -> pd.DataFrame:
    """Return one row a hop of a custom point.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table, in order of time.
    found : Journeys
        Of these events.
    names : Names
    extras : mapping of str to numpy.ndarray
        The columns of `cmonlab.data.store.probe_values`.
    probe : mapping
        The point as the manifest tells it: its ``id``, and its ``fields`` (name → type).

    Returns
    -------
    pandas.DataFrame
        In order of time: ts_ns (int64, ns), cpu, journey (int64, -1 where the hop is in
        none), direction (category), sport, dport, and the fields, in their types.
    """
    mine = np.flatnonzero(extras["point"] == probe["id"])
    notes = _numbered(extras, mine)
    hops = _numbered(events, np.flatnonzero(events["point"] == probe["id"]))
    # A hop and its fields were one record, so each row finds its own; none finds another's.
    joined = notes.merge(hops, on=[*_KEY, "again"], suffixes=("", "_event"))
    at, rows = joined["row_event"].to_numpy(np.int64), joined["row"].to_numpy(np.int64)
    journey = np.full(len(events["ts_ns"]), -1, np.int64)
    journey[found.event] = np.repeat(np.arange(len(found)), found.length)
    values = {
        name: _typed(extras[f"value{number}"][rows], kind)
        for number, (name, kind) in enumerate(probe["fields"].items())
    }
    told = {
        "ts_ns": events["ts_ns"][at],
        "cpu": events["cpu"][at],
        "journey": journey[at],
        "direction": endpoints(events, at, at, names)[2],
        "sport": events["sport"][at],
        "dport": events["dport"][at],
    }
    return pd.DataFrame({**{name: told[name] for name in COLUMNS}, **values}, copy=False)


def _numbered(columns: Columns, rows: np.ndarray) -> pd.DataFrame:
    """Return the keys of rows, and a number where one comes again."""
    frame = pd.DataFrame({name: columns[name][rows] for name in _KEY} | {"row": rows})
    return frame.assign(again=frame.groupby(_KEY).cumcount())


def _typed(words: np.ndarray, kind: str) -> np.ndarray:
    """Return what stands in the first bytes of 8-byte words, as a number of a field's type."""
    dtype = np.dtype(TYPES[kind])
    return np.ascontiguousarray(words).view(dtype)[:: 8 // dtype.itemsize].copy()
