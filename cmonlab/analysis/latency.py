"""Where the time went: segments of journeys, and their breakdown."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..engine.correlate import Journeys
from ..engine.order import Columns
from .category import relabelled
from .names import Names

QUANTILES = {"p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "p999_ns": 0.999}


def hops(events: Columns, found: Journeys, names: Names, journeys: np.ndarray) -> pd.DataFrame:
    """Return one row a hop of the given journeys; columns of ``schema.TABLES["hops"]``.

    Parameters
    ----------
    journeys : numpy.ndarray of int
        Numbers of the journeys wanted, ascending.
    """
    at, length = _positions(found, journeys)
    event, opens = found.event[at], _opens(length)
    ts = events["ts_ns"][event]
    code = found.hops.code[event]
    labels = _hop_labels(found, names)
    took = np.diff(ts, prepend=ts[:1])
    took[opens] = 0
    segment = _segment_codes(code, len(labels))
    segment[opens] = -1
    known, names_of = pd.factorize(segment, use_na_sentinel=False)
    return pd.DataFrame({
        "journey": np.repeat(journeys, length),
        "ts_ns": ts,
        "offset_ns": ts - np.repeat(ts[opens], length),
        "hop": relabelled(code, labels),
        "segment": relabelled(known, [_segment_label(pair, labels) for pair in names_of]),
        "segment_ns": took,
    }, copy=False)  # fmt: skip


def breakdown(events: Columns, found: Journeys, names: Names, journeys: np.ndarray, direction: pd.Categorical) -> pd.DataFrame:
    """Return quantiles and share of each segment; columns of ``schema.TABLES["breakdown"]``.

    Parameters
    ----------
    journeys : numpy.ndarray of int
        Numbers of the (complete) journeys to account for, ascending.
    direction : pandas.Categorical
        Direction of each of them.

    Notes
    -----
    The mean of a segment times its n, summed over a direction, is the sum of the
    one-way delays of that direction, so shares add up to one.
    """
    at, length = _positions(found, journeys)
    inner = np.ones(len(at), bool)
    inner[_opens(length)] = False
    inner = np.flatnonzero(inner)
    event = found.event[at]
    ts = events["ts_ns"][event]
    took = ts[inner] - ts[inner - 1]
    labels = _hop_labels(found, names)
    pair = _segment_codes(found.hops.code[event], len(labels))[inner]
    pair += np.repeat(direction.codes.astype(np.int64), np.maximum(length - 1, 0)) * len(labels) ** 2
    group, keys = pd.factorize(pair)
    opened = np.repeat(ts[_opens(length)], np.maximum(length - 1, 0))
    rows = _quantiles(group, took, len(keys))
    rows["_at"] = _mean(group, ts[inner] - opened, len(keys))
    rows["_direction"] = keys // len(labels) ** 2
    rows["direction"] = relabelled(rows["_direction"].to_numpy(), list(direction.categories))
    rows["segment"] = relabelled(np.arange(len(keys)), [_segment_label(key % len(labels) ** 2, labels) for key in keys])
    total = rows["mean_ns"] * rows["n"]
    rows["share"] = total / total.groupby(rows["_direction"]).transform("sum")
    rows = rows.sort_values(["_direction", "_at"], ignore_index=True)
    return rows[["direction", "segment", "n", *QUANTILES, "mean_ns", "share"]]


def _positions(found: Journeys, journeys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return positions in ``found.event`` of these journeys' hops, and their lengths."""
    length = found.length[journeys]
    if len(journeys) == len(found):
        return np.arange(len(found.event)), length
    ends = np.cumsum(length)
    return np.repeat(found.start[journeys] - (ends - length), length) + np.arange(length.sum()), length


def _opens(length: np.ndarray) -> np.ndarray:
    """Return where each journey's first hop stands."""
    return np.cumsum(length) - length


def _hop_labels(found: Journeys, names: Names) -> list[str]:
    codes = found.hops
    return [names.hop(*map(int, hop)) for hop in zip(codes.netns, codes.ifindex, codes.point, strict=True)]


def _segment_codes(code: np.ndarray, hops_known: int) -> np.ndarray:
    """Number the pair of each hop and the one before it (meaningless at a first hop)."""
    pair = code.astype(np.int64)
    pair[1:] += pair[:-1].copy() * hops_known
    return pair


def _segment_label(pair: int, labels: list[str]) -> str:
    if pair < 0:
        return ""
    return f"{labels[pair // len(labels)]} → {labels[pair % len(labels)]}"


def _mean(group: np.ndarray, values: np.ndarray, groups: int) -> np.ndarray:
    return np.bincount(group, values, groups) / np.maximum(np.bincount(group, minlength=groups), 1)


def _quantiles(group: np.ndarray, took: np.ndarray, groups: int) -> pd.DataFrame:
    """Return n, mean and quantiles (linear interpolation, as numpy's) per group."""
    n = np.bincount(group, minlength=groups)
    packed = group.astype(np.uint64) << np.uint64(40)
    packed |= np.minimum(took, (1 << 40) - 1).astype(np.uint64)
    packed.sort()
    packed &= np.uint64((1 << 40) - 1)
    begins = np.cumsum(n) - n
    columns = {"n": n, "mean_ns": _mean(group, took, groups)}
    for name, quantile in QUANTILES.items():
        place = (n - 1) * quantile
        low = np.floor(place).astype(np.int64)
        high = np.minimum(low + 1, n - 1)
        a, b = packed[begins + low].astype(float), packed[begins + high].astype(float)
        columns[name] = a + (b - a) * (place - low)
    return pd.DataFrame(columns)
