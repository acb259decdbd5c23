"""Match the retransmissions that the kernel reports to journeys."""

from __future__ import annotations

import numpy as np

from .journey import Journeys
from .order import Columns
from .stages import Stages
from .stream import flow_numbers


def retransmissions(events: Columns, found: Journeys, stages: Stages) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match the kernel's retransmit events to the journeys of the segments that were sent.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table.
    found : Journeys
        From `correlate`.
    stages : Stages
        The stage of each point.

    Returns
    -------
    event : numpy.ndarray of int64, shape (retransmissions,)
        Each event that reports a retransmission.
    journey : numpy.ndarray of int64, shape (retransmissions,)
        Of the journeys that repeat this byte, the nearest in time, -1 if none was seen. The event may be before or
        after its ``first_tx``.
    original : numpy.ndarray of int64, shape (retransmissions,)
        The journey that it repeats, -1 if there is none.
    """
    reported = np.flatnonzero(stages.of("retransmit", events["point"]))
    journey, original = (np.full(len(reported), -1, np.int64) for _ in range(2))
    repeating = np.flatnonzero(found.repeats >= 0)
    if len(reported) == 0 or len(repeating) == 0:
        return reported, journey, original
    nearest, away_ns = _nearest(events, reported, found.first_tx[repeating])
    order = np.lexsort((away_ns, nearest))
    order = order[nearest[order] >= 0]
    taken, best = np.unique(nearest[order], return_index=True)  # a journey belongs to one event at most
    journey[order[best]] = repeating[taken]
    known = journey >= 0
    original[known] = found.repeats[journey[known]]
    return reported, journey, original


def _nearest(events: Columns, reported: np.ndarray, first_tx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each event the nearest ``first_tx`` with the same first byte, -1 if none, and how far it is (ns)."""
    ts, width = events["ts_ns"], len(events["ts_ns"])
    at = np.concatenate([first_tx, reported])
    byte = flow_numbers(events, at, events["netns"][at], events["seq"][at])
    out = byte[: len(first_tx)] * width + first_tx
    order = np.argsort(out)
    after = np.searchsorted(out[order], byte[len(first_tx) :] * width + reported)
    nearest, away_ns = np.full(len(reported), -1, np.int64), np.full(len(reported), np.iinfo(np.int64).max)
    for neighbour in (after - 1, after):
        at = order[np.clip(neighbour, 0, len(order) - 1)]
        far_ns = np.abs(ts[first_tx[at]] - ts[reported])
        nearer = (byte[at] == byte[len(first_tx) :]) & (far_ns < away_ns)
        nearest[nearer], away_ns[nearer] = at[nearer], far_ns[nearer]
    return nearest, away_ns
