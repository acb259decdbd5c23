"""Stages: what a point means for a packet or a socket."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class Stages:
    """The point ids of each stage.

    Attributes
    ----------
    transmit, receive, function : frozenset of int
        The path of a packet buffer: handed to a device, received from one, and kernel functions in between.
        Functions do not decide where a journey begins or ends.
    deliver, consume, drop : frozenset of int
        The end of a packet: copied to the application, freed after use, dropped.
    read, send, retransmit, rtt, wake, run : frozenset of int
        Events of sockets, and of the tasks that read them.
    """

    transmit: frozenset[int] = frozenset()
    receive: frozenset[int] = frozenset()
    function: frozenset[int] = frozenset()
    deliver: frozenset[int] = frozenset()
    consume: frozenset[int] = frozenset()
    drop: frozenset[int] = frozenset()
    read: frozenset[int] = frozenset()
    send: frozenset[int] = frozenset()
    retransmit: frozenset[int] = frozenset()
    rtt: frozenset[int] = frozenset()
    wake: frozenset[int] = frozenset()
    run: frozenset[int] = frozenset()

    @classmethod
    def of_points(cls, points: Iterable[Mapping]) -> Stages:
        """Return the stages of points that have ``id`` and ``stage``; points of other stages are left out."""
        points = list(points)
        return cls(
            **{
                field.name: frozenset(point["id"] for point in points if point["stage"] == field.name)
                for field in fields(cls)
            }
        )

    @property
    def buffers(self) -> frozenset[int]:
        """Points that packet buffers pass."""
        return self.transmit | self.receive | self.function | self.deliver | self.consume | self.drop

    def of(self, stage: str, points: np.ndarray) -> np.ndarray:
        """Return whether each point belongs to a stage.

        Parameters
        ----------
        stage : str
            Name of a stage, or ``buffers``.
        points : numpy.ndarray of uint8, shape (n,)
            Ids of points.

        Returns
        -------
        numpy.ndarray of bool, shape (n,)
        """
        table = np.zeros(256, bool)
        table[list(getattr(self, stage))] = True
        return table[points]
