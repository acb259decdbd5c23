"""What an agent says of itself: the monitor's own losses and cost, never the network's."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import pandas as pd

_STEPS = 5  # readings of the status that a rate is taken over


class Told:
    """The agent's latest word on itself, and rates from the ones before.

    Attributes
    ----------
    status : mapping
        As `cmonlab.live.agent.client.Client.status` returns it; empty before the first.
    cost : mapping or None
        As `cmonlab.live.agent.client.Client.cost` returns it.
    overflowed : int
        Packets left out of aggregates for want of room.
    troubles : dict of str to str
        ``"status"`` → why the agent does not answer; ``"windows"`` → why none of those come.
    """

    def __init__(self) -> None:
        self.status: Mapping[str, Any] = {}
        self.cost: Mapping[str, float] | None = None
        self.overflowed = 0
        self.troubles: dict[str, str] = {}
        self._steps: deque[Mapping[str, Any]] = deque(maxlen=_STEPS)

    def hear(self, status: Mapping[str, Any]) -> None:
        """Take a status."""
        if self._steps and status["seconds"] < self._steps[-1]["seconds"]:  # another agent
            self._steps.clear()
        self._steps.append(status)
        self.status = status
        self.troubles.pop("status", None)

    def account(self, ledger: pd.DataFrame) -> None:
        """Take a ledger."""
        self.overflowed = int(ledger["overflowed"].sum()) if "overflowed" in ledger else 0

    def _rate(self, name: str) -> float:
        if len(self._steps) < 2:
            return 0.0
        first, last = self._steps[0], self._steps[-1]
        return max(0.0, (last[name] - first[name]) / max(1e-9, last["seconds"] - first["seconds"]))

    @property
    def events_per_s(self) -> float:
        """Events read a second."""
        return self._rate("events")

    @property
    def cpu_share(self) -> float:
        """Share of one processor that the agent's process takes; of an agent in this process, with all else in it."""
        return self._rate("cpu_s")

    @property
    def lost_events(self) -> int:
        """Lost events since the agent began."""
        return int(self.status.get("lost_events", 0))
