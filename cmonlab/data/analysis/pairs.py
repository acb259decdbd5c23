"""Traffic, loss and delay per direction, or per flow, from aggregates."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cmonlab.schema import columns

from .aggregate import (
    DROP,
    HOP,
    RETRANSMIT,
    RTT,
    SEGMENT,
    TOTAL,
    Cells,
    Context,
    device,
    endpoints,
    number,
    rule_names,
    take,
    total,
)
from .category import labelled
from .histogram import quantiles
from .names import protocol

#: Packets sent are counted at the first of these points that was traced.
_SENDING = ("net_dev_queue", "net_dev_start_xmit")
_ARRIVING, _GRO = "netif_receive_skb", "napi_gro_receive_entry"
_PORTS = ("proto", "sport", "dport")
_NOWHERE = -1


def pairs(cells: Cells, context: Context, flows: bool = False) -> pd.DataFrame:
    """Return traffic, loss and delay per window and direction.

    Parameters
    ----------
    cells : mapping of str to numpy.ndarray
        Columns of `cmonlab.data.store.cells`.
    context : Context
        Names and meanings of the numbers.
    flows : bool
        One row per window and flow; otherwise one per window and direction. Ports are 0 if the rule aggregates by pairs
        of addresses.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("pairs")``, or of ``schema.describe("flows")``.

    Notes
    -----
    A packet counts as sent at the first transmit point of the namespace that owns its source address. It counts as
    arrived where the namespace that owns its destination first receives it: at the hand-over to GRO if the driver uses
    GRO, so before packets are merged. Tables of single windows can be concatenated and passed to `balance` again.
    """
    src, dst, direction = endpoints(cells, context.names)
    apart = [cells[name] for name in _PORTS] if flows else []
    code, first = number(cells["start_ns"], cells["rule"], direction.codes, *apart)
    one, groups = take(cells, first), len(first)
    sent, arrived = _sent(cells, context), _arrived(cells, context)
    known = context.names.local & np.uint64(0xFFFFFFFF)
    seen = np.isin(one["saddr"], known), np.isin(one["daddr"], known)
    carried = [total(code[rows], cells["bytes"][rows], groups) for rows in (sent, arrived)]
    width_s = np.maximum(one["end_ns"] - one["start_ns"], 1) / 1e9

    def count(rows: np.ndarray) -> np.ndarray:
        return total(code[rows], cells["packets"][rows], groups)

    def spread(rows: np.ndarray, *wanted: float) -> np.ndarray:
        return quantiles(code[rows], cells["bucket"][rows], cells["packets"][rows], groups, wanted)

    at_home = _owns(cells, context, "daddr") & (cells["point"] == context.points.get(_ARRIVING, _NOWHERE))
    delay = spread((cells["kind"] == TOTAL) & at_home, 0.5, 0.99)
    bytes_ = np.where(seen[1], carried[1], carried[0])
    table = pd.DataFrame(
        {
            **{name: one[name] for name in ("start_ns", "end_ns")},
            "rule": rule_names(one["rule"], context.rules),
            "direction": direction[first],
            "src": src[first],
            "dst": dst[first],
            **(_ports(one) if flows else {}),
            "packets_sent": count(sent),
            "packets_arrived": count(arrived),
            "bytes": bytes_,
            "throughput_bps": bytes_ * 8 / width_s,
            "dropped": count(cells["kind"] == DROP),
            "retransmissions": count(cells["kind"] == RETRANSMIT),
            "one_way_delay_p50_ns": delay[0],
            "one_way_delay_p99_ns": delay[1],
            "srtt_p50_ns": spread(cells["kind"] == RTT, 0.5)[0],
            # NaN if one of the ends was not seen: then loss is not known.
            "lost": np.where(seen[0] & seen[1] & _both_ends(cells, one["rule"], sent, context), 0.0, np.nan),
        },
        copy=False,
    )
    return balance(table)[columns("flows" if flows else "pairs")]


def balance(table: pd.DataFrame) -> pd.DataFrame:
    """Compute ``lost`` and ``lost_total`` of a table of one or several windows.

    Parameters
    ----------
    table : pandas.DataFrame
        Rows of `pairs`: consecutive windows of one recording.

    Returns
    -------
    pandas.DataFrame
        A copy in order of time. A packet is lost if it is missing (sent, not arrived) at the end of its window and of
        every later one. Packets that are missing only for a while were in flight. So the number of the last window may
        still decrease.
    """
    keys = [name for name in ("rule", "direction", *_PORTS) if name in table.columns]
    table = table.sort_values("start_ns", kind="stable", ignore_index=True)
    code = table.groupby(keys, observed=True, sort=False).ngroup()
    missing = (table["packets_sent"] - table["packets_arrived"]).groupby(code).cumsum()
    lost = (
        missing[::-1].groupby(code[::-1]).cummin()[::-1].clip(lower=0)
    )  # the minimum of all later windows, so it never falls
    unknown = table["lost"].isna()
    table["lost_total"] = lost.astype(float).mask(unknown)
    table["lost"] = lost.groupby(code).diff().fillna(lost).astype(float).mask(unknown)
    return table


def _ports(one: Cells) -> dict[str, object]:
    return {"proto": labelled(one["proto"], protocol), "sport": one["sport"], "dport": one["dport"]}


def _owns(cells: Cells, context: Context, address: str) -> np.ndarray:
    """Return whether the namespace of each cell owns the address of column `address`, bool."""
    return np.isin(cells["netns"].astype(np.uint64) << np.uint64(32) | cells[address], context.names.local)


def _sent(cells: Cells, context: Context) -> np.ndarray:
    """Mark the cells that count packets where they are first sent.

    A packet that a namespace sends through several devices (a bridge and its port) passes the point at each of them. At
    all but the first device, the hop before is another transmit point.
    """
    point = next((context.points[name] for name in _SENDING if name in context.points), _NOWHERE)
    sent_before = context.stages.of("transmit", cells["from"])
    first = (cells["kind"] == HOP) | ((cells["kind"] == SEGMENT) & ~sent_before)
    return first & (cells["point"] == point) & _owns(cells, context, "saddr")


def _arrived(cells: Cells, context: Context) -> np.ndarray:
    """Mark the cells that count packets where they first arrive.

    If the driver of a device passes packets to GRO, they are counted there, and behind it only packets that did not
    come from GRO. Cells without a known hop before are then left out, as this cannot be known of them.
    """
    at, gro = (context.points.get(name, _NOWHERE) for name in (_ARRIVING, _GRO))
    known, before = cells["kind"] == SEGMENT, cells["from"]
    here = ((cells["kind"] == HOP) | known) & _owns(cells, context, "daddr")
    merging = np.isin(device(cells), np.unique(device(cells)[here & (cells["point"] == gro)]))
    direct = ~merging | (known & (before != gro))
    direct &= (cells["point"] == at) & ~(known & (before == at))
    return here & (direct | (cells["point"] == gro))


def _both_ends(cells: Cells, rule: np.ndarray, sent: np.ndarray, context: Context) -> np.ndarray:
    """Return whether each row's rule counts both where packets are sent and where they are received, bool."""
    received = cells["rule"][cells["point"] == context.points.get(_ARRIVING, _NOWHERE)]
    return np.isin(rule, np.unique(received)) & np.isin(rule, np.unique(cells["rule"][sent]))
