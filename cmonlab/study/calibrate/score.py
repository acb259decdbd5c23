"""Delays that are known, packet by packet, beside what a session says of them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cmonlab.session.session import Session

from ..testbed.traffic import hash_of
from .check import Check

#: A delay may be off by so much, whichever is greater.
LEAST_NS, SHARE = 2_000.0, 0.05
GROUP = "delay"
_QUANTILES = {"p50": 0.5, "p99": 0.99}


def tolerance_ns(truth_ns):
    """Return by how much a delay may be off."""
    return np.maximum(LEAST_NS, SHARE * np.abs(truth_ns))


def hops_of(session: Session, port: int, size: int, count: int) -> pd.DataFrame:
    """Return the hops of the numbered datagrams to a port, with the column ``number``.

    Parameters
    ----------
    session : Session
    port, size, count : int
        As `traffic.send_udp` sent them.
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
    """Return how long each datagram queued at an interface: the segments of that kind that begin there, in ns."""
    rows = hops[hops["segment"].str.startswith(f"{place} ") & (hops["kind"] == "queueing")]
    return rows.groupby("number")["segment_ns"].sum()


def between(hops: pd.DataFrame, first: str, last: str) -> pd.Series:
    """Return the time of each datagram from one hop to another, in ns."""
    times = [hops[hops["hop"] == name].set_index("number")["ts_ns"] for name in (first, last)]
    return (times[1] - times[0]).dropna()


def others(hops: pd.DataFrame, right: pd.Series, last: str) -> pd.Series:
    """Return what all other segments up to a hop took, in ns."""
    begin = hops.groupby("number")["ts_ns"].min()
    end = hops[hops["hop"] == last].set_index("number")["ts_ns"]
    return (end - begin - right.reindex(end.index).fillna(0)).dropna()


def known(low: pd.Series, high: pd.Series | None = None) -> pd.DataFrame:
    """Return what is known of the delay of each packet: that it lies between two times, in ns, or is the first."""
    return pd.DataFrame({"low": low, "high": low if high is None else high}).dropna()


def unseen(session: Session, hops: pd.DataFrame, truth: pd.DataFrame) -> pd.Index:
    """Return the numbers of packets that were under way while tracepoints were silent.

    Of these the session does not claim to know everything: what was read is not told where another read may have
    passed unseen.
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
        From `known`, by the packets' numbers. The middle counts; packets whose delay is not known to half its
        tolerance, and `unseen` ones, are left out, and the note says how many.
    measured : Series
        What the session says, by the same numbers.
    session : Session
    hops : DataFrame
        From `hops_of`.
    note : str
        How the truth is known.

    Returns
    -------
    list of Check
        How many packets were compared, which must be all that are known; the median and the 99th percentile of the
        delays; and the errors of single packets at those quantiles, in tolerances of each.
    """
    middle, half = (truth["low"] + truth["high"]) / 2, (truth["high"] - truth["low"]) / 2
    sure, trace_gap_ns = half <= tolerance_ns(middle) / 2, session.trace_gap_ns
    seen = ~middle.index.isin(unseen(session, hops, truth))
    kept = middle[sure & seen]
    pairs = pd.DataFrame({"truth": kept, "measured": measured.reindex(kept.index).astype(float)})
    if half.max() > 0:
        note += f" Known to ±{half[sure].median():,.0f} ns (median)"
        note += f"; {int((~sure).sum())} of {len(truth)} packets are left out, known less well than half the tolerance."
    if len(kept) < sure.sum():
        note += f" {int(sure.sum()) - len(kept)} are left out that were under way while tracepoints were silent."
    checks = [
        Check(
            GROUP, f"delay: {name}, packets compared", len(pairs), len(pairs.dropna()), "packets", 0, note, trace_gap_ns
        )
    ]
    pairs = pairs.dropna()
    for word, share in _QUANTILES.items():
        right, told = (float(pairs[column].quantile(share)) for column in ("truth", "measured"))
        limit = float(tolerance_ns(right))
        checks.append(Check(GROUP, f"delay: {name}, {word}", right, told, "ns", limit, note, trace_gap_ns))
    error = (pairs["measured"] - pairs["truth"]).abs() / tolerance_ns(pairs["truth"])
    note += " Each packet by itself: |error| / its own tolerance."
    for word, share in _QUANTILES.items():
        told = float(error.quantile(share))
        quantity = f"delay: {name}, {word} of a packet's error"
        checks.append(Check(GROUP, quantity, 0.0, told, "tolerances", 1.0, note, trace_gap_ns))
    return checks


def leaked(
    name: str, without: pd.Series, with_it: pd.Series, delay_ns: float, *, note: str = "", trace_gap_ns: int
) -> Check:
    """Check that a delay is not found in other segments.

    Parameters
    ----------
    name : str
        The scenario.
    without, with_it : Series
        What all other segments together took, of the same traffic without and with the delay, in ns.
    delay_ns : float
        The median delay; the tolerance follows from it.
    note : str
        What else there is to know.
    trace_gap_ns : int
        Of both recordings.
    """
    change = float(with_it.median() - without.median())
    told = f"Median sum of the other segments: {without.median():,.0f} ns without the delay. {note}".strip()
    limit = float(tolerance_ns(delay_ns))
    return Check(GROUP, f"delay: {name}, leaked into other segments", 0.0, change, "ns", limit, told, trace_gap_ns)
