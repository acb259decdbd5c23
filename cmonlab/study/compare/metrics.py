"""Read one metric of a session as plain arrays, for comparisons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cmonlab.data.analysis.kinds import KINDS
from cmonlab.data.correlation.order import PART
from cmonlab.errors import SessionError, UnknownName

if TYPE_CHECKING:
    from cmonlab.session.session import Session

_WINDOW_S = 0.1
_EDGE = 0.005
_UNITS = {"_ns": "ns", "_bps": "bit/s", "_per_s": "1/s", "_bytes": "bytes", "_s": "s"}


@dataclass(frozen=True)
class Values:
    """The values of a metric of one session.

    Attributes
    ----------
    unit : str
        Unit of the values, empty for shares and counts.
    by_direction : dict of str to numpy.ndarray, shape (values,)
        Direction → values in order of time, as float64 or int64. Metrics without directions have the key ``""``.
    """

    unit: str
    by_direction: dict[str, np.ndarray]


def read(session: Session, metric: str, segment: str | None = None) -> Values:
    """Return a metric's values.

    Parameters
    ----------
    session : Session
        The session to read.
    metric : str
        A key of `METRICS`, or a result of the session's workload.
    segment : str, optional
        For the metric ``"segment"``: a segment's name, a shell pattern for names, or a kind.

    Returns
    -------
    Values

    Raises
    ------
    UnknownName
        There is no such metric, or no such segment.
    SessionError
        The session has no value of it.
    """
    results = (session.manifest.get("workload") or {}).get("metrics", {})
    if metric not in METRICS and metric in results:
        unit = next((unit for end, unit in _UNITS.items() if metric.endswith(end)), "")
        return Values(unit, {"": np.array([float(results[metric])])})
    if metric not in METRICS:
        raise UnknownName("metric", metric, [*METRICS, *results])
    unit, take, fix = METRICS[metric]
    found = take(session, segment or "")
    if not found:
        raise SessionError(f"a session has no {metric} to compare: {session.rules_summary}", fix=fix)
    return Values(unit, found)


def _by_direction(direction: pd.Series, values: np.ndarray) -> dict[str, np.ndarray]:
    """Group values by direction and keep their order."""
    codes, names = pd.factorize(direction)
    return {str(name): values[codes == code] for code, name in enumerate(names)}


def _one_way_delay(session: Session, _: str) -> dict[str, np.ndarray]:
    table = session.journeys()
    table = table[table["complete"]]
    return _by_direction(table["direction"], table["one_way_delay_ns"].to_numpy())


def _srtt(session: Session, _: str) -> dict[str, np.ndarray]:
    table = session.rtt()
    return _by_direction(table["direction"], table["srtt_ns"].to_numpy())


def _throughput(session: Session, _: str) -> dict[str, np.ndarray]:
    """Return the throughput of each window of 0.1 s, scaled up to all packets if the session is a sample.

    The windows that hold the first and the last 0.5% of a direction's bytes are left out: the workload may have been
    starting or ending in them.
    """
    share = session.facts.share(session.ends.rules)
    if not share > 0:
        raise SessionError(
            "throughput cannot be compared",
            why="the sampled share of the packets varied, or is not known",
            fix="record with a fixed sample, without limit and budget",
        )
    table = session.throughput(_WINDOW_S)
    found = _by_direction(table["direction"], table["throughput_bps"].to_numpy(float) / share)
    at_work = {direction: _at_work(values) for direction, values in found.items()}
    return {direction: values for direction, values in at_work.items() if len(values)}


def _at_work(values: np.ndarray) -> np.ndarray:
    reached = np.cumsum(values) / max(values.sum(), 1)
    first, last = np.searchsorted(reached, [_EDGE, 1 - _EDGE])
    return values[first + 1 : last]


def _loss(session: Session, _: str) -> dict[str, np.ndarray]:
    """Return 1 for each dropped packet and 0 for each other one; merged and split packets are left out.

    The mean of the values is the loss.
    """
    table = session._fates()
    table = table[~table["outcome"].isin(["merged", "split"])].sort_values("start_ns", kind="stable")
    return _by_direction(table["direction"], (table["outcome"] == "dropped").to_numpy(np.int64))


def _segment(session: Session, pattern: str) -> dict[str, np.ndarray]:
    """Return the time (ns) that each complete journey spent in the matching segments.

    The times of all matching segments are added up. A pattern is a segment's name, a shell pattern for names (as
    ``"c1:eth0 xmit → host:veth* rx"``: the host's ends of veths have new names in each lab), or a kind
    (``"queueing"``). Journeys without a matching segment have no value.
    """
    walk, complete = session.walk, np.flatnonzero(session.ends.complete)
    direction = session.ends.direction
    took, there = np.zeros(len(complete)), np.zeros(len(complete), bool)
    meant: dict[int, bool] = {}
    names: dict[int, str] = {}
    for at in range(0, len(complete), PART // 8):
        part = complete[at : at + PART // 8]
        for some in walk.segments(part):
            local, pairs = pd.factorize(some.pair)
            for pair in set(pairs.tolist()) - meant.keys():
                names[pair] = walk.segment(pair)
                known = walk.kind(pair) if pattern in KINDS else names[pair]
                meant[pair] = known == pattern or fnmatchcase(known, pattern)
            mine = np.array([meant[pair] for pair in pairs.tolist()], bool).take(local)
            journey = at + some.journey[mine]
            took[at : at + len(part)] += np.bincount(some.journey[mine], some.took_ns[mine], len(part))
            there[journey] = True
    if len(complete) and not there.any():
        raise UnknownName("segment", pattern, [*set(names.values()), *KINDS])
    return _by_direction(pd.Series(direction[complete[there]]), took[there].astype(np.int64))


#: Metric → unit, function that reads it, and a fix for sessions without it.
METRICS: dict[str, tuple[str, Callable[[Session, str], dict[str, np.ndarray]], str]] = {
    "one_way_delay": ("ns", _one_way_delay, "record in mode capture, at the points of the group path"),
    "segment": ("ns", _segment, "record in mode capture, at the points of the group path"),
    "srtt": ("ns", _srtt, "trace TCP, with the point tcp_probe"),
    "rtt": ("ns", _srtt, "trace TCP, with the point tcp_probe"),
    "throughput": ("bit/s", _throughput, "record in mode capture, for several tenths of a second"),
    "loss": ("", _loss, "record in mode capture, with the point kfree_skb"),
}
