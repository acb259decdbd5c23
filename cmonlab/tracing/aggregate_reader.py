"""Read the cells that the programs aggregate into, window by window."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from .active_rules import ActiveRules
from .kernel import loader, programs
from .kernel.maps import names_of, possible_cpus

OnCells = Callable[[int, int, np.ndarray], None]
T = TypeVar("T")
_INNER = ("key", "hash", "unused")  # fields that are not passed on


class CellReader:
    """Reads the two tables of cells alternately: programs write to one while the other is read and cleared.

    Parameters
    ----------
    module : Module
        The compiled ``points.c``.
    active : ActiveRules
        The rules; they decide which table the programs write to.
    wait : callable
        Returns when all programs that were running have ended.

    Attributes
    ----------
    layout : numpy.dtype
        Of the cells that `take` passes on: the fields of ``struct cell_key`` and ``struct cell``.
    since_ns : int
        When the current window began, CLOCK_MONOTONIC.
    """

    def __init__(self, module: loader.Module, active: ActiveRules, wait: Callable[[], None]):
        # Shape (cpus, 2, cells of a CPU); the second axis is the side.
        self._cells = module.maps["cells"].memory().reshape(-1, 2, programs.cells_per_cpu(possible_cpus()))
        self._taken = module.maps["taken"].memory().reshape(self._cells.shape)
        self._counts = module.maps["taken_counts"].memory().reshape(self._cells.shape[:2])
        self._active, self._wait = active, wait
        self.since_ns = time.monotonic_ns()
        self._lock = threading.Lock()
        key = self._cells.dtype["key"]
        self.layout = np.dtype(
            [(name, part[name]) for part in (key, self._cells.dtype) for name in part.names or () if name not in _INNER]
        )

    def take(self, on_cells: OnCells, flip: Callable[[], T]) -> T:
        """End the window, and pass on the cells that were filled in it, if any.

        Parameters
        ----------
        on_cells : callable
            Called with start and end of the window (ns, CLOCK_MONOTONIC) and the cells, shape (n,), dtype `layout`.
        flip : callable
            Makes the programs write to the other table, for instance `ActiveRules.flip`.

        Returns
        -------
        object
            What `flip` returned.
        """
        with self._lock:
            result = flip()
            now_ns = time.monotonic_ns()
            self._wait()
            self._pass_on(now_ns, on_cells)
            return result

    def close(self) -> None:
        """Unmap the tables; idempotent."""
        self._cells, self._taken, self._counts = (
            np.empty((0, *part.shape[1:]), part.dtype) for part in (self._cells, self._taken, self._counts)
        )

    def _pass_on(self, now_ns: int, on_cells: OnCells) -> None:
        since_ns, self.since_ns = self.since_ns, now_ns
        parts = [self._take(cpu, self._active.idle_side) for cpu in range(len(self._cells))]
        cells = np.concatenate([*parts, np.empty(0, self.layout)])
        if len(cells):
            on_cells(since_ns, now_ns, cells)

    def _take(self, cpu: int, side: int) -> np.ndarray:
        """Return the cells of one CPU, and free them; cells of several CPUs with the same key are not added up."""
        taken = self._taken[cpu, side, : int(self._counts[cpu, side])]
        rows, found = self._cells[cpu, side][taken], np.empty(len(taken), self.layout)
        for name in names_of(found):
            found[name] = (rows["key"] if name in names_of(rows["key"]) else rows)[name]
        self._cells[cpu, side][taken] = 0
        self._counts[cpu, side] = 0
        return found
