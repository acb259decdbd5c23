"""One-way delays of complete journeys, and how they vary from packet to packet."""

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
    """Return quantiles of the one-way delay per direction; columns of ``schema.TABLES["one_way_delay"]``.

    Parameters
    ----------
    took_ns : numpy.ndarray of int64, shape (journeys,)
        One-way delays of complete journeys.
    direction : pandas.Categorical
        Of each of them.
    share : float
        Of the packets that were in the sample; NaN where that is not one number.
    clock_error_ns : int
        By how much the clocks of source and destination may differ.

    Notes
    -----
    RFC 7679 (a one-way delay metric for IPPM), with the first bit's time at the first hop. Packets that
    never arrived have no delay here; `loss` tells of them.
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
    """Return both kinds of delay variation of each stream.

    Parameters
    ----------
    took_ns : numpy.ndarray of int64, shape (packets,)
        One-way delays of packets in order of their sending; of those that did not arrive, anything.
    arrived : numpy.ndarray of bool, shape (packets,)
    flow : numpy.ndarray of int, shape (packets,)
        Number of each packet's flow.
    stream : numpy.ndarray of int, shape (packets,)
        Number of the row that a packet counts in, from 0: a flow, or a direction of several.
    names : mapping of str to pandas.Series
        Columns by which a stream is known, one row a stream.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.TABLES["delay_variation_by_flow"]`` from ``measure`` on, behind those of `names`.

    Notes
    -----
    IPDV is RFC 3393's, its selection function: consecutive packets of a flow, in order of sending; a pair
    of which one did not arrive is left out. PDV is RFC 5481's: the delay less the least of the stream.
    """
    order = np.flatnonzero(arrived)
    least = pd.Series(took_ns[order]).groupby(stream[order]).transform("min").to_numpy()
    beyond = took_ns[order] - least, stream[order]
    by_flow = np.argsort(flow, kind="stable")
    before, after = by_flow[:-1], by_flow[1:]
    pair = (flow[before] == flow[after]) & arrived[before] & arrived[after]
    change = took_ns[after[pair]] - took_ns[before[pair]], stream[after[pair]]
    tables = [
        _told(values, which, measure) for measure, (values, which) in zip(MEASURES, (change, beyond), strict=True)
    ]
    rows = pd.concat(tables).sort_values(["stream", "measure"], kind="stable")
    at = rows.pop("stream").to_numpy(np.int64)
    rows["measure"] = relabelled(rows["measure"].map(MEASURES.index).to_numpy(np.int64), list(MEASURES))
    known = {name: column.iloc[at].array for name, column in names.items()}
    return pd.DataFrame(known | {name: column.array for name, column in rows.items()})


def _told(values: np.ndarray, stream: np.ndarray, measure: str) -> pd.DataFrame:
    """Return one row a stream: its number, n, and how the values lie."""
    each = pd.Series(values.astype(float)).groupby(stream)
    rows = each.agg(["size", "min", "mean", "std", "max"])
    rows = rows.rename(columns={"size": "n", **{name: f"{name}_ns" for name in ("min", "mean", "std", "max")}})
    rows["mean_abs_ns"] = pd.Series(np.abs(values).astype(float)).groupby(stream).mean()
    for name, quantile in _VARIATION.items():
        rows[name] = each.quantile(quantile)
    rows = rows.rename_axis("stream").reset_index().assign(measure=measure)
    return rows[["stream", *(name for name in columns("delay_variation") if name != "direction")]]
