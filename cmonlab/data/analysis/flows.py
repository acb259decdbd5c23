"""Pairs and flows from recorded events, in the same columns as those from aggregates."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cmonlab.schema import TABLES

from ..correlation.correlate import Journeys
from .journeys import OUTCOMES
from .traffic import reached

_ENDS = ["direction"]
_FLOW = ["direction", "proto", "sport", "dport"]


def of_events(
    found: Journeys,
    journeys: pd.DataFrame,
    fates: pd.DataFrame,
    repeated: pd.DataFrame,
    rtt: pd.DataFrame,
    start_ns: int,
    end_ns: int,
    flows: bool = False,
) -> pd.DataFrame:
    """Return traffic, loss and delay of each direction, or flow, over the whole recording.

    Parameters
    ----------
    found : Journeys
        From `correlate.correlate`.
    journeys, repeated, rtt : pandas.DataFrame
        The tables ``journeys``, ``retransmissions`` and ``rtt`` of the session.
    fates : pandas.DataFrame
        From `loss.fates`.
    start_ns, end_ns : int
        Time (ns) of the first and of the last event.
    flows : bool
        One row per flow; otherwise one per direction.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("pairs")``, or of ``schema.describe("flows")``.

    Notes
    -----
    Packets that were merged or split count in the packets that they became. ``lost`` counts dropped packets only,
    because the end of other packets was not seen. ``rule`` is empty, because several rules may have recorded an event.
    """
    keys = _FLOW if flows else _ENDS
    dtypes = {column.name: column.dtype for column in TABLES["flows" if flows else "pairs"]}
    if not len(fates):
        return pd.DataFrame({column: np.empty(0) for column in dtypes}).astype(dtypes)
    count = fates.groupby(keys)["outcome"].value_counts().unstack(fill_value=0).reindex(columns=OUTCOMES, fill_value=0)
    every = count.index

    def grouped(table: pd.DataFrame) -> pd.core.groupby.DataFrameGroupBy:
        return table.astype({"direction": str, **({"proto": str} if flows else {})}).groupby(keys)

    rows, _ = reached(found, journeys)
    bytes_ = grouped(journeys.loc[rows, [*keys, "len_bytes"]])["len_bytes"].sum().reindex(every, fill_value=0)
    delay = grouped(journeys.loc[journeys["complete"], [*keys, "one_way_delay_ns"]])["one_way_delay_ns"]
    ends = every.get_level_values("direction").str.partition(" → ")
    lost = count["dropped"].to_numpy()
    table = count.index.to_frame(index=False).assign(
        start_ns=start_ns,
        end_ns=end_ns,
        rule="",
        src=ends.get_level_values(0),
        dst=ends.get_level_values(2),
        packets_sent=count.sum(axis=1).to_numpy() - count["merged"].to_numpy() - count["split"].to_numpy(),
        packets_arrived=(count["delivered"] + count["arrived"]).to_numpy(),
        bytes=bytes_.to_numpy(),
        throughput_bps=bytes_.to_numpy() * 8e9 / max(end_ns - start_ns, 1),
        dropped=lost,
        lost=lost,
        lost_total=lost,
        retransmissions=grouped(repeated.assign(proto="tcp")).size().reindex(every, fill_value=0).to_numpy(),
        one_way_delay_p50_ns=delay.quantile(0.5).reindex(every).to_numpy(),
        one_way_delay_p99_ns=delay.quantile(0.99).reindex(every).to_numpy(),
        srtt_p50_ns=grouped(rtt.assign(proto="tcp"))["srtt_ns"].median().reindex(every).to_numpy(),
    )
    return table[list(dtypes)].astype(dtypes)
