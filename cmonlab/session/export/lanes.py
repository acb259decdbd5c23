"""Slices side by side: those of a lane do not overlap."""

from __future__ import annotations

import heapq

import numpy as np


def lanes(start_ns: np.ndarray, end_ns: np.ndarray) -> np.ndarray:
    """Return a lane for each slice, so that no two of one lane overlap and there are as few lanes as can be.

    Parameters
    ----------
    start_ns, end_ns : numpy.ndarray of int64, shape (n,)

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        Numbered from 0.
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
