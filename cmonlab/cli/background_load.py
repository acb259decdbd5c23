"""Workloads that run in the background until they are stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from cmonlab.errors import CmonlabError
from cmonlab.lab.workload import Workload

if TYPE_CHECKING:
    from cmonlab.lab.topology.deploy import Lab

_ROUND_S = 60.0  # sockperf keeps every message in memory until it ends
_STOP_S = 30.0


class _Ended(Exception):
    """Ends a run early."""


class Traffic:
    """Runs workloads at the same time, again and again, until it is closed; a context manager.

    Parameters
    ----------
    lab : Lab
        Where they run.
    workloads : list of Workload
        What runs.
    failed : callable
        Called with the error when a workload fails.

    Raises
    ------
    WorkloadError
        A server does not start.
    """

    def __init__(self, lab: Lab, workloads: list[Workload], failed: Callable[[CmonlabError], None]):
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
        """Stop the clients; idempotent."""
        self._ended.set()
        for thread in self._threads:
            thread.join(_STOP_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
