"""One-way delays of complete journeys, and their variation between packets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cmonlab.schema import columns

from .category import relabelled
from .times import Times

_VARIATION = {"p1_ns": 0.01, "p50_ns": 0.5, "p90_ns": 0.9, "p99_ns": 0.99, "p999_ns": 0.999}
MEASURES = ("IPDV", "PDV")


def one_way_delay(took_ns: np.ndarray, direction: pd.Categorical, share: float, clock_error_ns: int) -> pd.DataFrame:
    """Return quantiles of the one-way delay per direction.

    Parameters
    ----------
    took_ns : numpy.ndarray of int64, shape (journeys,)
        One-way delays of complete journeys, ns.
    direction : pandas.Categorical, length journeys
        Direction of each journey.
    share : float
        Share of the packets that were sampled, above 0 and up to 1; NaN if it is not a single number.
    clock_error_ns : int
        Largest possible difference between the clocks of source and destination, ns.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("one_way_delay")``; times in ns.

    Notes
    -----
    RFC 7679 (A One-Way Delay Metric for IPPM); the time at the first hop is taken for that of the first bit. Packets
    that never arrived have no delay here, they are in the table ``loss``.
    """
    times = Times(1)
    times.add(direction.codes.astype(np.int64), took_ns)
    which = times.keys
    rows = times.table(which, direction, share)
    spread = pd.Series(took_ns).groupby(direction.codes).agg(["min", "max", "std"]).loc[which].astype(float)
    rows = rows.assign(
        min_ns=spread["min"].to_numpy(),
        max_ns=spread["max"].to_numpy(),
        std_ns=spread["std"].to_numpy(),
        clock_error_ns=np.full(len(rows), clock_error_ns, np.int64),
    )
    return rows.iloc[np.argsort(which)][columns("one_way_delay")].reset_index(drop=True)


def variation(
    took_ns: np.ndarray, arrived: np.ndarray, flow: np.ndarray, stream: np.ndarray, names: Mapping[str, pd.Series]
) -> pd.DataFrame:
    """Return both kinds of delay variation of each stream: IPDV and PDV.

    Parameters
    ----------
    took_ns : numpy.ndarray of int64, shape (packets,)
        One-way delays (ns) of packets in the order in which they were sent; any value for packets that did not arrive.
    arrived : numpy.ndarray of bool, shape (packets,)
        Which packets arrived.
    flow : numpy.ndarray of int, shape (packets,)
        Number of each packet's flow.
    stream : numpy.ndarray of int, shape (packets,)
        Number of the stream that a packet belongs to, from 0: its flow, or its direction with several flows.
    names : mapping of str to pandas.Series
        Columns that identify a stream, with one row per stream.

    Returns
    -------
    pandas.DataFrame
        One row per stream and measure: the columns of `names`, then those of
        ``schema.describe("delay_variation_by_flow")`` from ``measure`` on; times in ns.

    Notes
    -----
    IPDV is defined by RFC 3393. The selection function takes consecutive packets of a flow in the order in which they
    were sent; pairs with a packet that did not arrive are left out. PDV is defined by RFC 5481: the delay less the
    minimum of the stream.
    """
    order = np.flatnonzero(arrived)
    least = pd.Series(took_ns[order]).groupby(stream[order]).transform("min").to_numpy()
    beyond = took_ns[order] - least, stream[order]
    by_flow = np.argsort(flow, kind="stable")
    before, after = by_flow[:-1], by_flow[1:]
    pair = (flow[before] == flow[after]) & arrived[before] & arrived[after]
    change = took_ns[after[pair]] - took_ns[before[pair]], stream[after[pair]]
    tables = [
        _summary(values, which, measure) for measure, (values, which) in zip(MEASURES, (change, beyond), strict=True)
    ]
    rows = pd.concat(tables).sort_values(["stream", "measure"], kind="stable")
    at = rows.pop("stream").to_numpy(np.int64)
    rows["measure"] = relabelled(rows["measure"].map(MEASURES.index).to_numpy(np.int64), list(MEASURES))
    known = {name: column.iloc[at].array for name, column in names.items()}
    return pd.DataFrame(known | {name: column.array for name, column in rows.items()})


def _summary(values: np.ndarray, stream: np.ndarray, measure: str) -> pd.DataFrame:
    """Return one row per stream: its number, n, and statistics of the values."""
    each = pd.Series(values.astype(float)).groupby(stream)
    rows = each.agg(["size", "min", "mean", "std", "max"])
    rows = rows.rename(columns={"size": "n", **{name: f"{name}_ns" for name in ("min", "mean", "std", "max")}})
    rows["mean_abs_ns"] = pd.Series(np.abs(values).astype(float)).groupby(stream).mean()
    for name, quantile in _VARIATION.items():
        rows[name] = each.quantile(quantile)
    rows = rows.rename_axis("stream").reset_index().assign(measure=measure)
    return rows[["stream", *(name for name in columns("delay_variation") if name != "direction")]]
