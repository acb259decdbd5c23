"""Take what the programs aggregate: all that has come since the last time, in one call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from . import bpf, loader
from .ruleset import ActiveRules

T = TypeVar("T")


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
        self._tables = [module.maps["cells_even"], module.maps["cells_odd"]]
        self._keys = np.zeros(self._tables[0].entries, self._tables[0].key)
        self._values = np.zeros(self._tables[0].entries, self._tables[0].value)
        self._active, self._wait = active, wait
        self.since_ns = time.monotonic_ns()
        self._lock = threading.Lock()
        self.layout = np.dtype(
            [(name, t[0]) for layout in (self._keys.dtype, self._values.dtype) for name, t in layout.fields.items()]
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

    def _hand_out(self, now_ns: int, hand_out: Callable[[int, int, np.ndarray], None]) -> None:
        n = bpf.take_all(self._tables[self._active.rests].fd, self._keys, self._values)
        since_ns, self.since_ns = self.since_ns, now_ns
        if n:
            cells = np.empty(n, self.layout)
            for part in (self._keys, self._values):
                for name in part.dtype.names:
                    cells[name] = part[name][:n]
            hand_out(since_ns, now_ns, cells)
