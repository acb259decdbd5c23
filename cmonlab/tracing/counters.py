"""What the programs count (``struct counters``): by CPU, the last bit of the epoch, and point."""

from __future__ import annotations

import numpy as np

from .kernel import loader, programs
from .kernel.maps import names_of

_RULES = "rules"
_NOT_COUNTS = ("zero", "unused")
_ATTEMPTS = 100


class Counters:
    """The counters, in the memory that the programs write to.

    Parameters
    ----------
    module : Module
        The compiled ``points.c``.
    """

    def __init__(self, module: loader.Module):
        self._rows = module.maps["counters"].memory().reshape(-1, 2, programs.POINTS)

    def fates(self, epoch: int, point: int) -> dict[str, int]:
        """Return what became of the packets at a point in an epoch, summed over CPUs.

        Parameters
        ----------
        epoch : int
            The current epoch or the one before; their counters alternate.
        point : int
            Id of the point.

        Returns
        -------
        dict of str to int
            seen, unmatched, sampled_out, counted, aggregated, overflowed, recorded, lost.
        """
        row: dict[str, int] = {}
        # A running program may have counted a packet as seen but not its fate yet: then read again. Counts that never
        # balance are returned as they are.
        for _ in range(_ATTEMPTS):
            cpus = self._rows[:, epoch & 1, point].copy()
            row = {name: int(cpus[name].sum()) for name in names_of(cpus) if name != _RULES}
            if row["seen"] == sum(row.values()) - row["seen"]:
                break
        return row

    def tally(self, slot: int, point: int) -> dict[str, int]:
        """Return what a rule did with the packets at a point, summed over CPUs and epochs.

        Parameters
        ----------
        slot : int
            The rule's slot.
        point : int
            Id of the point.

        Returns
        -------
        dict of str to int
            packets, bytes, sampled_out, limited, overflowed.
        """
        rows = self._rows[_RULES][:, :, point, slot]
        return {name: int(rows[name].sum()) for name in names_of(rows) if name not in _NOT_COUNTS}

    def passed(self, epoch: int, points: list[int]) -> np.ndarray:
        """Return the counters of an epoch at some points as they are now.

        Parameters
        ----------
        epoch : int
            The current epoch or the one before.
        points : list of int
            Ids of the points.

        Returns
        -------
        numpy.ndarray, shape (cpus, points), dtype of ``struct counters``
            A copy.
        """
        return self._rows[:, epoch & 1, points]

    def clear_epoch(self, epoch: int) -> None:
        """Set the counts of an epoch to 0; those of single rules stay."""
        for name in names_of(self._rows):
            if name != _RULES:
                self._rows[name][:, epoch & 1] = 0

    def clear_rule(self, slot: int) -> None:
        """Set the counts of the rule in a slot to 0."""
        self._rows[_RULES][..., slot] = 0

    def close(self) -> None:
        """Unmap the counters and keep their values; idempotent."""
        self._rows = self._rows.copy()
