"""What the programs count (``struct counters``): by CPU, the last bit of the epoch, and point."""

from __future__ import annotations

import numpy as np

from .kernel import loader, programs

_RULES = "rules"
_SILENT = ("zero", "unused")
_LOOKS = 100


class Counters:
    """The counters, as the programs have them.

    Parameters
    ----------
    module : Module
        The compiled ``points.c``.
    """

    def __init__(self, module: loader.Module):
        self._rows = module.maps["counters"].memory().reshape(-1, 2, programs.POINTS)

    def fates(self, epoch: int, point: int) -> dict[str, int]:
        """Return what became of the packets at a point, by the programs of an epoch or the next but one."""
        row: dict[str, int] = {}
        # A program that runs right now has counted a packet as seen and not yet told its fate: look again, between two
        # packets. What does not balance then never will, and is told as it is.
        for _ in range(_LOOKS):
            cpus = self._rows[:, epoch & 1, point].copy()
            row = {name: int(cpus[name].sum()) for name in cpus.dtype.names if name != _RULES}
            if row["seen"] == sum(row.values()) - row["seen"]:
                break
        return row

    def tally(self, slot: int, point: int) -> dict[str, int]:
        """Return what the rule that holds a slot has made of the packets at a point."""
        rows = self._rows[_RULES][:, :, point, slot]
        return {name: int(rows[name].sum()) for name in rows.dtype.names if name not in _SILENT}

    def passed(self, epoch: int, points: list[int]) -> np.ndarray:
        """Return the counters of an epoch at some points as they are now, shape (CPUs, points)."""
        return self._rows[:, epoch & 1, points]

    def clear_epoch(self, epoch: int) -> None:
        """Begin to count for an epoch; what rules have made of packets stays."""
        for name in self._rows.dtype.names:
            if name != _RULES:
                self._rows[name][:, epoch & 1] = 0

    def clear_rule(self, slot: int) -> None:
        """Forget what a rule left that had this slot."""
        self._rows[_RULES][..., slot] = 0

    def close(self) -> None:
        """Let go of the kernel's memory, and keep what was counted; may be called twice."""
        self._rows = self._rows.copy()
