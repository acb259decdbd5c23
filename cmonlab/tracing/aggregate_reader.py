"""Take what the programs aggregate: all that has come since the last time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from .active_rules import ActiveRules
from .kernel import loader, programs
from .kernel.maps import possible_cpus

T = TypeVar("T")
_INNER = ("key", "hash", "unused")


class CellReader:
    """Reads the two tables of cells in turn: one rests while the other is written to.

    Parameters
    ----------
    module : Module
        The compiled ``points.c``.
    active : ActiveRules
        Says which table is written to.
    wait : callable
        Returns when no program runs any more that ran before.
    """

    def __init__(self, module: loader.Module, active: ActiveRules, wait: Callable[[], None]):
        # By CPU and side.
        self._cells = module.maps["cells"].memory().reshape(-1, 2, programs.cells_per_cpu(possible_cpus()))
        self._taken = module.maps["taken"].memory().reshape(self._cells.shape)
        self._counts = module.maps["taken_counts"].memory().reshape(self._cells.shape[:2])
        self._active, self._wait = active, wait
        self.since_ns = time.monotonic_ns()
        self._lock = threading.Lock()
        key = self._cells.dtype["key"]
        self.layout = np.dtype(
            [(name, part[name]) for part in (key, self._cells.dtype) for name in part.names if name not in _INNER]
        )

    def take(self, hand_out: Callable[[int, int, np.ndarray], None], flip: Callable[[], T] | None = None) -> T | None:
        """Hand out the cells that were filled since the last time, if any.

        Parameters
        ----------
        hand_out : callable
            Takes start and end of the window (ns) and the cells, a structured array with
            the fields of ``struct cell_key`` and ``struct cell``.
        flip : callable, optional
            Lets the tables change places, by default `ActiveRules.flip`.

        Returns
        -------
        object
            What `flip` returned.
        """
        with self._lock:
            result = (flip or self._active.flip)()
            now_ns = time.monotonic_ns()
            self._wait()
            self._hand_out(now_ns, hand_out)
            return result

    def close(self) -> None:
        """Let go of the kernel's memory; may be called twice."""
        self._cells, self._taken, self._counts = (
            np.empty((0, *part.shape[1:]), part.dtype) for part in (self._cells, self._taken, self._counts)
        )

    def _hand_out(self, now_ns: int, hand_out: Callable[[int, int, np.ndarray], None]) -> None:
        since_ns, self.since_ns = self.since_ns, now_ns
        parts = [self._take(*at, self._active.rests) for at in np.ndindex(len(self._cells))]
        cells = np.concatenate([*parts, np.empty(0, self.layout)])
        if len(cells):
            hand_out(since_ns, now_ns, cells)

    def _take(self, cpu: int, side: int) -> np.ndarray:
        """Return a CPU's cells, and free them; what two CPUs counted for one key stays two cells."""
        taken = self._taken[cpu, side, : int(self._counts[cpu, side])]
        rows, found = self._cells[cpu, side][taken], np.empty(len(taken), self.layout)
        for name in self.layout.names:
            found[name] = (rows["key"] if name in rows["key"].dtype.names else rows)[name]
        self._cells[cpu, side][taken] = 0
        self._counts[cpu, side] = 0
        return found
