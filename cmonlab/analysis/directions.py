"""What recorded events tell of each pair, in the columns of what aggregates count."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..schema import TABLES, columns

_ARROW = " → "


def pairs_of_events(
    loss: pd.DataFrame, delays: pd.DataFrame, throughput: pd.DataFrame, start_ns: int, end_ns: int
) -> pd.DataFrame:
    """Return one row a direction over the whole recording; columns of ``schema.TABLES["pairs"]``.

    Parameters
    ----------
    loss, delays, throughput : pandas.DataFrame
        Columns of ``schema.TABLES["loss"]``, ``["one_way_delay"]`` and ``["throughput"]``, the last one of a single
        window.
    start_ns, end_ns : int
        Time of the first and of the last event.

    Notes
    -----
    A packet that was merged into another one, or split, counts in those. What is lost is what was dropped: the end of
    other packets was not seen. The rule has no name, as events may have been taken by several.
    """
    table = loss.astype({"direction": str}).set_index("direction")
    delay = delays.astype({"direction": str}).set_index("direction").reindex(table.index)
    carried = throughput.astype({"direction": str}).groupby("direction")["throughput_bps"].sum()
    rate = carried.reindex(table.index, fill_value=0.0)
    ends = table.index.str.partition(_ARROW).to_frame(index=False) if len(table) else pd.DataFrame({0: [], 2: []})
    found = pd.DataFrame({
        "start_ns": start_ns, "end_ns": end_ns, "rule": "", "direction": table.index,
        "src": ends[0].to_numpy(), "dst": ends[2].to_numpy(),
        "packets_sent": (table["packets"] - table["merged"] - table["split"]).to_numpy(),
        "packets_arrived": (table["delivered"] + table["arrived"]).to_numpy(),
        "bytes": np.rint(rate.to_numpy(float) * (end_ns - start_ns) / 8e9),
        "throughput_bps": rate.to_numpy(float),
        "dropped": table["dropped"].to_numpy(), "lost": table["dropped"].to_numpy(),
        "lost_total": table["dropped"].to_numpy(), "retransmissions": table["retransmissions"].to_numpy(),
        "one_way_delay_p50_ns": delay["p50_ns"].to_numpy(), "one_way_delay_p99_ns": delay["p99_ns"].to_numpy(),
        "srtt_p50_ns": np.nan,
    })  # fmt: skip
    return found[columns("pairs")].astype({column.name: column.dtype for column in TABLES["pairs"]})
