"""From an agent to the live model: two threads, one for windows, one for what the agent says of itself."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from cmonlab.errors import CmonlabError
from cmonlab.rules import Rule

from .model import Live

_log = logging.getLogger(__name__)
_LOOK_S, _STATUS_S, _COST_EVERY = 0.5, 1.0, 5


class Feed:
    """Fills a model until it is closed, through an agent's going away and coming back.

    Parameters
    ----------
    client : cmonlab.live.agent.client.Client
    model : Live
    every_s : float
        Length of window to ask the agent for.

    Attributes
    ----------
    rules : list of Rule
        The agent's active rules, as they were a second ago at most.
    missed : int
        Messages with windows that came faster than they were taken.
    """

    def __init__(self, client: Any, model: Live, every_s: float):
        self._client, self._model, self._every_s = client, model, every_s
        self._closing, self._wanted = threading.Event(), threading.Event()
        self._windows: Any = None
        self.rules: list[Rule] = []
        self.missed = 0
        self._threads = [
            threading.Thread(target=self._guarded, args=(name, work), name=f"cmonlab-dashboard-{name}", daemon=True)
            for name, work in (("windows", self._follow), ("status", self._ask))
        ]
        for thread in self._threads:
            thread.start()

    def _guarded(self, name: str, work: Callable[[], None]) -> None:
        """Run until closed; while the agent does not answer, try again."""
        troubles = self._model.told.troubles
        while not self._closing.is_set():
            try:
                work()
            except CmonlabError as error:
                troubles[name] = str(error)
            except Exception as error:  # a view that stands still would say nothing
                troubles[name] = f"what it sends cannot be shown: {error!r}"
                _log.exception("the dashboard's feed failed")
            self._closing.wait(_STATUS_S)

    def _follow(self) -> None:
        with self._client.windows(self._every_s) as windows:
            self._windows = windows
            self._model.told.troubles.pop("windows", None)
            while not self._closing.is_set() and "status" not in self._model.told.troubles:
                window = windows.joined(self._every_s / 2, _LOOK_S)
                self.missed = windows.missed
                if window is not None:
                    self._model.take(window)

    def _ask(self) -> None:
        turn = 0
        while not self._closing.is_set():
            self.rules = self._client.written_rules()
            self._model.told.hear(self._client.status())
            if turn % _COST_EVERY == 0:
                self._model.told.cost = self._client.cost()
            turn += 1
            self._wanted.wait(_STATUS_S)
            self._wanted.clear()

    def look(self) -> None:
        """Ask for the rules at once: they have changed."""
        self._wanted.set()

    def close(self) -> None:
        """Follow no more; may be called twice."""
        self._closing.set()
        self._wanted.set()
        if self._windows is not None:
            self._windows.close()
        for thread in self._threads:
            thread.join()
