"""Segments and drops from aggregates: numbers that the kernel counted, without one record per packet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmonlab.points.records import SHAPE_IPV6
from cmonlab.schema import columns

from ..correlation.correlate import Stages
from .category import labelled, relabelled
from .histogram import quantiles
from .journeys import directions
from .kinds import Kinds
from .names import Names
from .times import QUANTILES

Cells = Mapping[str, np.ndarray]

#: ``CELL_…`` of ``bpf/records.h``: what a cell counts.
HOP, SEGMENT, TOTAL, DROP, RETRANSMIT, RTT = range(6)


@dataclass(frozen=True)
class Context:
    """Names and meanings of the numbers in a recording's cells.

    Attributes
    ----------
    names : Names
        Names of containers, interfaces and addresses.
    stages : Stages
        The stage of each point.
    kinds : Kinds
        What the time of a segment is spent on.
    points : mapping of str to int
        Name → id of the points that were traced, in the order of a packet's path.
    rules : mapping of int to str
        Slot → name of the rules.
    """

    names: Names
    stages: Stages
    kinds: Kinds
    points: Mapping[str, int]
    rules: Mapping[int, str]


def take(cells: Cells, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return some of the cells.

    Parameters
    ----------
    cells : mapping of str to numpy.ndarray
        Columns of `cmonlab.data.store.cells`, shape (cells,).
    rows : numpy.ndarray of bool, shape (cells,), or of int
        Mask or positions of the cells wanted.

    Returns
    -------
    dict of str to numpy.ndarray
        The same columns.
    """
    return {name: values[rows] for name, values in cells.items()}


def endpoints(cells: Cells, names: Names) -> tuple[pd.Categorical, pd.Categorical, pd.Categorical]:
    """Return source, destination and direction of each cell.

    Parameters
    ----------
    cells : mapping of str to numpy.ndarray
        Columns of `cmonlab.data.store.cells`, shape (cells,).
    names : Names
        Names of the recording.

    Returns
    -------
    src, dst, direction : pandas.Categorical, length cells
        Names of the namespaces that own the addresses. If the owner changed during a window, the last one counts.
    """
    ipv6, ts_ns = cells["shape"] & SHAPE_IPV6, cells["end_ns"]
    src, dst = (names.endpoints(cells[address], ipv6, ts_ns) for address in ("saddr", "daddr"))
    return src, dst, directions(src, dst)


def number(*keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the distinct combinations of keys, in order of first appearance.

    Parameters
    ----------
    *keys : numpy.ndarray of integers, shape (n,)
        The keys, at least one.

    Returns
    -------
    code : numpy.ndarray of int64, shape (n,)
        Number of each item's combination, from 0.
    first : numpy.ndarray of int64, shape (combinations,)
        Position at which each combination appears first.
    """
    code = np.zeros(len(keys[0]), np.int64)
    for key in keys:
        one, distinct = pd.factorize(key)
        code = pd.factorize(code * max(len(distinct), 1) + one)[0].astype(np.int64)
    first = np.flatnonzero(~pd.Series(code).duplicated().to_numpy())
    return code, first


def total(code: np.ndarray, values: np.ndarray, groups: int) -> np.ndarray:
    """Return the sum of each group.

    Parameters
    ----------
    code : numpy.ndarray of int64, shape (n,)
        Group of each value, from 0.
    values : numpy.ndarray, shape (n,)
        What to add up.
    groups : int
        Number of groups.

    Returns
    -------
    numpy.ndarray of int64, shape (groups,)
        Exact below 2**53.
    """
    return np.bincount(code, values, groups).astype(np.int64)


def device(cells: Cells) -> np.ndarray:
    """Return ``netns << 32 | ifindex`` of each cell, uint64."""
    return cells["netns"].astype(np.uint64) << np.uint64(32) | cells["ifindex"]


def segments(cells: Cells, context: Context, windows: bool = False) -> pd.DataFrame:
    """Return the time that packets took for each segment.

    Parameters
    ----------
    cells : mapping of str to numpy.ndarray
        Columns of `cmonlab.data.store.cells`.
    context : Context
        Names and meanings of the numbers.
    windows : bool
        One row per segment, direction and window; otherwise one per segment and direction.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("segments")``; times in ns.

    Notes
    -----
    Means are exact; quantiles are off by less than 1/64 (see `histogram`). Of the hop before, the kernel keeps the
    point only, not the interface.
    """
    if not windows and len(cells["start_ns"]):
        cells = {
            **cells,
            "start_ns": np.full_like(cells["start_ns"], cells["start_ns"].min()),
            "end_ns": np.full_like(cells["end_ns"], cells["end_ns"].max()),
        }
    cells = take(cells, cells["kind"] == SEGMENT)
    direction, hop = endpoints(cells, context.names)[2], device(cells)
    code, first = number(cells["start_ns"], cells["rule"], direction.codes, cells["from"], hop, cells["point"])
    one = take(cells, first)
    n = total(code, cells["packets"], len(first))
    found = quantiles(code, cells["bucket"], cells["packets"], len(first), list(QUANTILES.values()))
    segment, kind = _labels(one, context)
    rows = pd.DataFrame(
        {
            **{name: one[name] for name in ("start_ns", "end_ns")},
            "rule": rule_names(one["rule"], context.rules),
            "direction": direction[first],
            "segment": segment,
            "kind": kind,
            "n": n,
            **dict(zip(QUANTILES, found, strict=True)),
            "mean_ns": total(code, cells["sum_ns"], len(first)) / np.maximum(n, 1),
            "_at": _along_the_path(one, context),
        }
    )
    rows = rows.sort_values(["start_ns", "rule", "direction", "_at"], kind="stable", ignore_index=True)
    return rows[columns("segments")]


def _labels(cells: Cells, context: Context) -> tuple[pd.Categorical, pd.Categorical]:
    """Return name and kind of each segment."""
    points, kinds = context.names.points, context.kinds
    code, first = number(cells["from"], device(cells), cells["point"])
    ends = list(zip(*(cells[name][first].tolist() for name in ("from", "netns", "ifindex", "point")), strict=True))
    names = [f"{points.get(before, before)} → {context.names.hop(*hop)}" for before, *hop in ends]
    # Two points that can be on one device are taken to be on one: the kernel does not keep the interface.
    whys = [kinds.of(kinds.word(before), kinds.word(after), True) for before, *_, after in ends]
    return relabelled(code, names), relabelled(code, whys)


def _along_the_path(cells: Cells, context: Context) -> np.ndarray:
    """Return numbers that sort segments in the order in which packets usually pass them.

    That is from the source's namespace through others to the destination's, and within each from receiving to
    transmitting. The kernel does not keep the path itself.
    """
    netns = cells["netns"].astype(np.uint64) << np.uint64(32)
    here, there = (np.isin(netns | cells[address], context.names.local) for address in ("saddr", "daddr"))
    side = np.where(there, 2, np.where(here, 0, 1))
    step = np.select([context.stages.of(stage, cells["point"]) for stage in ("receive", "function")], [0, 1], 2)
    order = np.zeros(256, np.int64)
    order[list(context.points.values())] = np.arange(len(context.points))
    return (side * 3 + step) * 256 + order[cells["point"]]


def drops(cells: Cells, context: Context, reasons: Mapping[int, str]) -> pd.DataFrame:
    """Return the number of dropped packets per window, direction, place and reason.

    Parameters
    ----------
    cells : mapping of str to numpy.ndarray
        Columns of `cmonlab.data.store.cells`.
    context : Context
        Names and meanings of the numbers.
    reasons : mapping of int to str
        Number in the records → drop reason.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("drop_counts")``.
    """
    cells = take(cells, cells["kind"] == DROP)
    direction = endpoints(cells, context.names)[2]
    code, first = number(cells["start_ns"], cells["rule"], direction.codes, device(cells), cells["bucket"])
    one = take(cells, first)
    return pd.DataFrame(
        {
            **{name: one[name] for name in ("start_ns", "end_ns")},
            "rule": rule_names(one["rule"], context.rules),
            "direction": direction[first],
            "place": labelled(device(one), lambda word: context.names.place(word >> 32, word & 0xFFFFFFFF)),
            "reason": labelled(one["bucket"], lambda number: reasons.get(number, f"reason {number}")),
            **{name: total(code, cells[name], len(first)) for name in ("packets", "bytes")},
        }
    )


def rule_names(slot: np.ndarray, rules: Mapping[int, str]) -> pd.Categorical:
    """Return the names of rules.

    Parameters
    ----------
    slot : numpy.ndarray of integers, shape (n,)
        Slots of rules.
    rules : mapping of int to str
        Slot → name.

    Returns
    -------
    pandas.Categorical, length n
        ``rule N`` for slots without a name.
    """
    return labelled(slot, lambda slot: rules.get(slot, f"rule {slot}"))
