"""The result of correlation: journeys, and the relations between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .order import HopCodes


@dataclass(frozen=True)
class Journeys:
    """Journeys as ranges of one array of event positions, in order of their packets' first hops.

    Attributes
    ----------
    event : numpy.ndarray of uint32, shape (hops,)
        Position in the events of each hop, journey after journey, in order of time: the send call, the packet's own
        hops, the wake-up and run of the reading task, the read or copy. The packet's own hops belong to one journey
        only; the other events may belong to several.
    start : numpy.ndarray of int64, shape (journeys + 1,)
        Journey ``j`` is ``event[start[j]:start[j + 1]]``.
    hops : HopCodes
        The distinct hops by their codes.
    orphans : int
        Groups of events without a path: frees and deliveries of packets whose path was not seen, and clones that a
        capture tool made.
    first_tx, arrival : numpy.ndarray of int64, shape (journeys,)
        Events of the packet's first hop that is not a function, and of its own last hop.
    sent, received : numpy.ndarray of bool, shape (journeys,)
        Whether ``first_tx`` is a transmit hop, and whether the last hop that is not a function is a receive hop or
        the copy of a datagram.
    repeats : numpy.ndarray of int64, shape (journeys,)
        The earlier journey that first carried this segment's first byte, -1 if none; see module `repeats`. Also -1
        for segments that GSO cut from a larger one: the larger one is the repetition.
    segmented_from : numpy.ndarray of int64, shape (journeys,)
        The journey of the larger packet that GSO segmentation cut this one from, -1 if none.
    merged_into : numpy.ndarray of int64, shape (journeys,)
        The journey of the segment that GRO merged this one into, -1 if none.
    """

    event: np.ndarray
    start: np.ndarray
    hops: HopCodes
    orphans: int
    first_tx: np.ndarray
    arrival: np.ndarray
    sent: np.ndarray
    received: np.ndarray
    repeats: np.ndarray
    segmented_from: np.ndarray
    merged_into: np.ndarray

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def first(self) -> np.ndarray:
        """Event of each journey's first hop."""
        return self.event[self.start[:-1]]

    @property
    def last(self) -> np.ndarray:
        """Event of each journey's last hop."""
        return self.event[self.start[1:] - 1]

    @property
    def length(self) -> np.ndarray:
        """Number of hops of each journey, int64."""
        return np.diff(self.start)

    @property
    def parent(self) -> np.ndarray:
        """The larger segment that each journey was cut from, or else merged into, int64; -1 if none."""
        return np.where(self.segmented_from >= 0, self.segmented_from, self.merged_into)

    @property
    def merged(self) -> np.ndarray:
        """Whether GRO merged each journey into another one, bool."""
        return self.merged_into >= 0

    @property
    def split(self) -> np.ndarray:
        """Whether GSO segmentation cut other journeys from each one, bool."""
        split = np.zeros(len(self), bool)
        split[self.segmented_from[self.segmented_from >= 0]] = True
        return split
