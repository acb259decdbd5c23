"""Compare the delays of single packets in a session with reference values."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cmonlab.session.session import Session

from ..testbed.traffic import hash_of
from .check import Check

#: Tolerance of a delay: the larger of the two.
LEAST_NS, SHARE = 2_000.0, 0.05
GROUP = "delay"
_QUANTILES = {"p50": 0.5, "p99": 0.99}


def tolerance_ns(truth_ns: float | pd.Series) -> float | pd.Series:
    """Return the tolerance (ns) of a delay, or of each delay of a Series."""
    return np.maximum(LEAST_NS, SHARE * np.abs(truth_ns))


def hops_of(session: Session, port: int, size: int, count: int) -> pd.DataFrame:
    """Return the hops of the numbered datagrams to a port.

    Parameters
    ----------
    session : Session
        The recording.
    port : int
        Destination port.
    size : int
        Payload of each datagram in bytes.
    count : int
        How many were sent by `traffic.send_udp`.

    Returns
    -------
    pandas.DataFrame
        Columns of ``schema.describe("hops")``, and ``number`` (int64).
    """
    journeys = session.journeys()
    journeys = journeys[(journeys["dport"] == port) & (journeys["proto"] == "udp") & (journeys["payload_bytes"] > 0)]
    numbers = {hash_of(number, size): number for number in range(count)}
    number = journeys["seq"].map(numbers)
    known = dict(zip(journeys["journey"][number.notna()], number.dropna().astype(int), strict=True))
    hops = session.hops(sorted(known))
    return hops.assign(
        number=hops["journey"].map(known),
        hop=hops["hop"].astype(str),
        segment=hops["segment"].astype(str),
        kind=hops["kind"].astype(str),
    )


def queueing(hops: pd.DataFrame, place: str) -> pd.Series:
    """Return the queueing time of each datagram at an interface: its segments of this kind that begin there.

    Parameters
    ----------
    hops : pandas.DataFrame
        From `hops_of`.
    place : str
        The interface, for instance ``"host:veth0"``.

    Returns
    -------
    pandas.Series
        Time in ns, by number.
    """
    rows = hops[hops["segment"].str.startswith(f"{place} ") & (hops["kind"] == "queueing")]
    return rows.groupby("number")["segment_ns"].sum()


def between(hops: pd.DataFrame, first: str, last: str) -> pd.Series:
    """Return the time of each datagram from one hop to another.

    Parameters
    ----------
    hops : pandas.DataFrame
        From `hops_of`.
    first, last : str
        Names of the hops, for instance ``"host:veth1 rx"``.

    Returns
    -------
    pandas.Series
        Time in ns, by number.
    """
    times = [hops[hops["hop"] == name].set_index("number")["ts_ns"] for name in (first, last)]
    return (times[1] - times[0]).dropna()


def others(hops: pd.DataFrame, right: pd.Series, last: str) -> pd.Series:
    """Return the time that each datagram spent in all other segments up to a hop.

    Parameters
    ----------
    hops : pandas.DataFrame
        From `hops_of`.
    right : pandas.Series
        Time (ns) in the segment with the known delay, by number.
    last : str
        Name of the hop.

    Returns
    -------
    pandas.Series
        Time in ns, by number.
    """
    begin = hops.groupby("number")["ts_ns"].min()
    end = hops[hops["hop"] == last].set_index("number")["ts_ns"]
    return (end - begin - right.reindex(end.index).fillna(0)).dropna()


def known(low: pd.Series, high: pd.Series | None = None) -> pd.DataFrame:
    """Return the reference delay of each packet as an interval.

    Parameters
    ----------
    low : pandas.Series
        Lower bound of the delay in ns, by number.
    high : pandas.Series, optional
        Upper bound; by default the delay is known exactly.

    Returns
    -------
    pandas.DataFrame
        ``low`` and ``high``, by number.
    """
    return pd.DataFrame({"low": low, "high": low if high is None else high}).dropna()


def unseen(session: Session, hops: pd.DataFrame, truth: pd.DataFrame) -> pd.Index:
    """Return the numbers of the packets that were in flight during a trace gap.

    A session does not report everything of these: the read of a packet is unknown if another read may have passed
    unseen.

    Parameters
    ----------
    session : Session
        The recording.
    hops : pandas.DataFrame
        From `hops_of`.
    truth : pandas.DataFrame
        From `known`.
    """
    begin = hops.groupby("number")["ts_ns"].min()
    end = hops.groupby("number")["ts_ns"].max().combine(begin + truth["high"].reindex(begin.index).fillna(0), max)
    gaps = session.trace_gaps()
    over = [((begin <= row.end_ns) & (end >= row.start_ns)) for row in gaps.itertuples()]
    return begin.index[np.any(over, axis=0)] if over else begin.index[:0]


def compared(
    name: str, truth: pd.DataFrame, measured: pd.Series, session: Session, hops: pd.DataFrame, *, note: str
) -> list[Check]:
    """Compare delays packet by packet.

    Parameters
    ----------
    name : str
        The scenario.
    truth : DataFrame
        From `known`, by number. The middle of each interval is the reference value. Packets whose interval is wider
        than their tolerance, and `unseen` packets, are left out; the note says how many.
    measured : Series
        Delay (ns) in the session, by number.
    session : Session
        The recording.
    hops : DataFrame
        From `hops_of`.
    note : str
        Where the reference values come from.

    Returns
    -------
    list of Check
        The number of compared packets, which must be all that are left in; the median and the 99th percentile of the
        delays; and the errors of single packets at those quantiles, in units of each packet's tolerance.
    """
    middle, half = (truth["low"] + truth["high"]) / 2, (truth["high"] - truth["low"]) / 2
    sure, trace_gap_ns = half <= tolerance_ns(middle) / 2, session.trace_gap_ns
    seen = ~middle.index.isin(unseen(session, hops, truth))
    kept = middle[sure & seen]
    pairs = pd.DataFrame({"truth": kept, "measured": measured.reindex(kept.index).astype(float)})
    note += _left_out(half, sure, len(kept))
    checks = [
        Check(
            GROUP, f"delay: {name}, packets compared", len(pairs), len(pairs.dropna()), "packets", 0, note, trace_gap_ns
        )
    ]
    pairs = pairs.dropna()
    for word, share in _QUANTILES.items():
        right, found = (float(pairs[column].quantile(share)) for column in ("truth", "measured"))
        limit = float(tolerance_ns(right))
        checks.append(Check(GROUP, f"delay: {name}, {word}", right, found, "ns", limit, note, trace_gap_ns))
    error = (pairs["measured"] - pairs["truth"]).abs() / tolerance_ns(pairs["truth"])
    note += " Per packet: |error| / its own tolerance."
    for word, share in _QUANTILES.items():
        found = float(error.quantile(share))
        quantity = f"delay: {name}, {word} of a packet's error"
        checks.append(Check(GROUP, quantity, 0.0, found, "tolerances", 1.0, note, trace_gap_ns))
    return checks


def _left_out(half: pd.Series, sure: pd.Series, kept: int) -> str:
    """Return sentences on the precision of the reference values (±`half`), and on packets that are left out."""
    text = ""
    if half.max() > 0:
        text += (
            f" Known to ±{half[sure].median():,.0f} ns (median); {int((~sure).sum())} of {len(sure)} packets are left "
            "out, whose reference value is less precise than half the tolerance."
        )
    if kept < sure.sum():
        text += f" {int(sure.sum()) - kept} packets are left out that were in flight during trace gaps."
    return text


def leaked(
    name: str, without: pd.Series, with_it: pd.Series, delay_ns: float, *, note: str = "", trace_gap_ns: int
) -> Check:
    """Check that a delay does not appear in other segments.

    Parameters
    ----------
    name : str
        The scenario.
    without, with_it : Series
        Time (ns) in all other segments together, by number, of the same traffic without and with the delay.
    delay_ns : float
        The median delay, which determines the tolerance.
    note : str
        More remarks.
    trace_gap_ns : int
        Sum of the trace gaps of both recordings.
    """
    change = float(with_it.median() - without.median())
    remark = f"Median sum of the other segments: {without.median():,.0f} ns without the delay. {note}".strip()
    limit = float(tolerance_ns(delay_ns))
    return Check(GROUP, f"delay: {name}, leaked into other segments", 0.0, change, "ns", limit, remark, trace_gap_ns)
