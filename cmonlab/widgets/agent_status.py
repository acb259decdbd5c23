"""An agent's status: losses and cost of the tracing itself, never of the network."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import pandas as pd

_STEPS = 5  # statuses that a rate is computed over


class AgentStatus:
    """The agent's latest status, and rates from the statuses before it.

    Attributes
    ----------
    status : mapping
        As `cmonlab.live.agent.client.Client.status` returns it; empty before the first.
    cost : mapping or None
        As `cmonlab.live.agent.client.Client.cost` returns it.
    overflowed : int
        Packets that aggregates could not count because their table was full.
    problems : dict of str to str
        ``"status"`` → why the agent does not answer; ``"windows"`` → why it sends no windows.
    """

    def __init__(self) -> None:
        self.status: Mapping[str, Any] = {}
        self.cost: Mapping[str, float] | None = None
        self.overflowed = 0
        self.problems: dict[str, str] = {}
        self._steps: deque[Mapping[str, Any]] = deque(maxlen=_STEPS)

    def update(self, status: Mapping[str, Any]) -> None:
        """Take the latest status."""
        if self._steps and status["seconds"] < self._steps[-1]["seconds"]:  # the agent was started again
            self._steps.clear()
        self._steps.append(status)
        self.status = status
        self.problems.pop("status", None)

    def update_ledger(self, ledger: pd.DataFrame) -> None:
        """Take the latest ledger, columns of ``schema.describe("ledger")``."""
        self.overflowed = int(ledger["overflowed"].sum()) if "overflowed" in ledger else 0

    def _rate(self, name: str) -> float:
        if len(self._steps) < 2:
            return 0.0
        first, last = self._steps[0], self._steps[-1]
        return max(0.0, (last[name] - first[name]) / max(1e-9, last["seconds"] - first["seconds"]))

    @property
    def events_per_s(self) -> float:
        """Events read per second."""
        return self._rate("events")

    @property
    def cpu_share(self) -> float:
        """CPU time of the agent's process, as a share of one CPU; an agent in this process shares it with all else."""
        return self._rate("cpu_s")

    @property
    def lost_events(self) -> int:
        """Lost events since the agent was started."""
        return int(self.status.get("lost_events", 0))
