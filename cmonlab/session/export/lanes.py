"""Distribute slices of time over lanes, so that slices of one lane do not overlap."""

from __future__ import annotations

import heapq

import numpy as np


def lanes(start_ns: np.ndarray, end_ns: np.ndarray) -> np.ndarray:
    """Return a lane for each slice, with as few lanes as possible.

    Parameters
    ----------
    start_ns, end_ns : numpy.ndarray of int64, shape (slices,)
        Start and end of each slice, in any order.

    Returns
    -------
    numpy.ndarray of int64, shape (slices,)
        Lanes, numbered from 0.
    """
    lane = np.zeros(len(start_ns), np.int64)
    busy: list[tuple[int, int]] = []  # (until when, lane)
    free: list[int] = []
    for at in np.lexsort((end_ns, start_ns)).tolist():
        while busy and busy[0][0] <= start_ns[at]:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane[at] = heapq.heappop(free) if free else len(busy)
        heapq.heappush(busy, (int(end_ns[at]), int(lane[at])))
    return lane
