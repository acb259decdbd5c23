"""Join what the kernel says about retransmissions to the journeys."""

from __future__ import annotations

import numpy as np

from .journey import Journeys
from .order import Columns
from .packets import Stages
from .stream import flow_numbers


def retransmissions(events: Columns, found: Journeys, stages: Stages) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Join the kernel's retransmit events to the journeys that then went out.

    Parameters
    ----------
    events : mapping of str to numpy.ndarray
        Columns of the events table.
    found : Journeys
        From `correlate`.
    stages : Stages
        What each point means.

    Returns
    -------
    event, journey, original : numpy.ndarray of int64
        Each event at which TCP sent a segment once more; of the journeys that repeat
        this very byte the nearest in time (the event may be before or after its
        first_tx), -1 where none was seen; and the journey that this one repeats.
    """
    said = np.flatnonzero(stages.of("retransmit", events["point"]))
    journey, original = (np.full(len(said), -1, np.int64) for _ in range(2))
    again = np.flatnonzero(found.repeats >= 0)
    if len(said) == 0 or len(again) == 0:
        return said, journey, original
    nearest, away_ns = _nearest(events, said, found.first_tx[again])
    order = np.lexsort((away_ns, nearest))
    order = order[nearest[order] >= 0]
    taken, best = np.unique(nearest[order], return_index=True)  # a journey goes out once
    journey[order[best]] = again[taken]
    known = journey >= 0
    original[known] = found.repeats[journey[known]]
    return said, journey, original


def _nearest(events: Columns, said: np.ndarray, first_tx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each event which first_tx of the same first byte is nearest, -1 none, and how far it is (ns)."""
    ts, width = events["ts_ns"], len(events["ts_ns"])
    at = np.concatenate([first_tx, said])
    byte = flow_numbers(events, at, events["netns"][at], events["seq"][at])
    out = byte[: len(first_tx)] * width + first_tx
    order = np.argsort(out)
    after = np.searchsorted(out[order], byte[len(first_tx) :] * width + said)
    nearest, away_ns = np.full(len(said), -1, np.int64), np.full(len(said), np.iinfo(np.int64).max)
    for neighbour in (after - 1, after):
        at = order[np.clip(neighbour, 0, len(order) - 1)]
        far_ns = np.abs(ts[first_tx[at]] - ts[said])
        nearer = (byte[at] == byte[len(first_tx) :]) & (far_ns < away_ns)
        nearest[nearer], away_ns[nearer] = at[nearer], far_ns[nearer]
    return nearest, away_ns
