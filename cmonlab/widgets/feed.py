"""The feed of the live model: one thread receives the agent's windows, another one requests its status."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from cmonlab.errors import CmonlabError
from cmonlab.rules import Rule

from .model import Live

if TYPE_CHECKING:
    from cmonlab.live.agent.client import Client
    from cmonlab.live.agent.windows import Windows

_log = logging.getLogger(__name__)
_WINDOW_WAIT_S, _STATUS_S = 0.5, 1.0
_COST_EVERY = 5  # the cost is measured with every fifth status


class Feed:
    """Fills a model until it is closed, also when the agent goes away and comes back.

    Parameters
    ----------
    client : cmonlab.live.agent.client.Client
        The agent's client.
    model : Live
        The model to fill.
    every_s : float
        Length of window to request from the agent, s.

    Attributes
    ----------
    rules : list of Rule
        The agent's active rules, at most about a second old.
    missed : int
        Messages with windows that were dropped because they arrived faster than they were read.
    """

    def __init__(self, client: Client, model: Live, every_s: float):
        self._client, self._model, self._every_s = client, model, every_s
        self._closing, self._hurry = threading.Event(), threading.Event()
        self._windows: Windows | None = None
        self.rules: list[Rule] = []
        self.missed = 0
        self._threads = [
            threading.Thread(target=self._retried, args=(name, work), name=f"cmonlab-dashboard-{name}", daemon=True)
            for name, work in (("windows", self._receive_windows), ("status", self._request_status))
        ]
        for thread in self._threads:
            thread.start()

    def _retried(self, name: str, work: Callable[[], None]) -> None:
        """Run until closed; try again while the agent does not answer."""
        problems = self._model.agent_status.problems
        while not self._closing.is_set():
            try:
                work()
            except CmonlabError as error:
                problems[name] = str(error)
            except Exception as error:  # the user must see why the view does not change
                problems[name] = f"the agent's data cannot be shown: {error!r}"
                _log.exception("the dashboard's feed failed")
            self._closing.wait(_STATUS_S)

    def _receive_windows(self) -> None:
        problems = self._model.agent_status.problems
        with self._client.windows(self._every_s) as windows:
            self._windows = windows
            problems.pop("windows", None)
            while not self._closing.is_set() and "status" not in problems:
                window = windows.joined(self._every_s / 2, _WINDOW_WAIT_S)
                self.missed = windows.missed
                if window is not None:
                    self._model.take(window)

    def _request_status(self) -> None:
        agent, number = self._model.agent_status, 0
        while not self._closing.is_set():
            self.rules = self._client.written_rules()
            agent.update(self._client.status())
            if number % _COST_EVERY == 0:
                agent.cost = self._client.cost()
            number += 1
            self._hurry.wait(_STATUS_S)
            self._hurry.clear()

    def refresh(self) -> None:
        """Request rules and status now, because the rules have changed."""
        self._hurry.set()

    def close(self) -> None:
        """Stop both threads; idempotent."""
        self._closing.set()
        self._hurry.set()
        if self._windows is not None:
            self._windows.close()
        for thread in self._threads:
            thread.join()
