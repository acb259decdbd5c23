"""A workload that runs in the background until it is told to end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Self

from cmonlab.errors import CmonlabError
from cmonlab.lab.workload import Workload

_ROUND_S = 60.0  # sockperf keeps every message in memory until it ends
_STOP_S = 30.0


class _Ended(Exception):
    """Breaks a run off."""


class Traffic:
    """Runs workloads side by side, again and again; a context manager.

    Parameters
    ----------
    lab : Lab
    workloads : list of Workload
    failed : callable
        Is told of the error when one of them ends by itself.

    Raises
    ------
    WorkloadError
        A server does not come up.
    """

    def __init__(self, lab: Any, workloads: list[Workload], failed: Callable[[CmonlabError], None]):
        self._lab, self._failed, self._ended = lab, failed, threading.Event()
        for workload in workloads:
            workload.prepare(lab)
        self._threads = [
            threading.Thread(target=self._run, args=(workload,), name=f"cmonlab {workload.name}", daemon=True)
            for workload in workloads
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, workload: Workload) -> None:
        try:
            while True:
                workload.run(self._lab, _ROUND_S, self._go_on)
        except _Ended:
            pass
        except CmonlabError as error:
            if not self._ended.is_set():
                self._failed(error)

    def _go_on(self, _seconds: float) -> None:
        if self._ended.is_set():
            raise _Ended

    def close(self) -> None:
        """Stop the clients; may be called twice."""
        self._ended.set()
        for thread in self._threads:
            thread.join(_STOP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
