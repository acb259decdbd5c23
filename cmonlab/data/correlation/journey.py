"""What correlation finds: journeys, and how they belong together."""

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
        Position in the events of each hop, journey after journey, in order of time:
        the send call, the packet's own hops, the reader's wake-up and run, the read or
        copy.  One event may belong to several journeys, but for the packet's own hops.
    start : numpy.ndarray of int64, shape (journeys + 1,)
        Journey ``j`` is ``event[start[j]:start[j + 1]]``.
    hops : HopCodes
        Numbered hops.
    orphans : int
        Groups of events that begin nowhere: frees and deliveries of packets whose
        way was not seen, and clones that a capture tool made.
    first_tx, arrival : numpy.ndarray of int64, shape (journeys,)
        Events of the packet's own first hop (that is no function) and of its own last.
    sent, received : numpy.ndarray of bool, shape (journeys,)
        The first_tx is a transmit hop; the last hop that is no function is a receive
        hop, or the copy of a datagram.
    repeats : numpy.ndarray of int64, shape (journeys,)
        The earlier journey that first carried this segment's first byte, -1 none; see
        `repeats`. -1 also for what was cut from a larger segment: that one repeats.
    segmented_from, merged_into : numpy.ndarray of int64, shape (journeys,)
        The journey of the larger segment that this one was cut from (GSO), and of the
        one it was merged into (GRO), -1 none.
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
        """Hops of each journey."""
        return np.diff(self.start)

    @property
    def parent(self) -> np.ndarray:
        """The larger segment that each journey was cut from, else merged into, int64; -1 none."""
        return np.where(self.segmented_from >= 0, self.segmented_from, self.merged_into)

    @property
    def merged(self) -> np.ndarray:
        """Tell of each journey whether it goes on in the one it was merged into."""
        return self.merged_into >= 0

    @property
    def split(self) -> np.ndarray:
        """Tell of each journey whether it goes on in others that were cut from it."""
        split = np.zeros(len(self), bool)
        split[self.segmented_from[self.segmented_from >= 0]] = True
        return split
