"""Whom a dashboard looks at: a lab, for which it runs an agent, or an agent that is there."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from cmonlab.errors import CmonlabError
from cmonlab.recording.record import rules_of
from cmonlab.rules import Rule

RULE = Rule(name="dashboard", match="", mode="aggregate")


class Target:
    """An agent's client, and what the dashboard itself did to the agent; `close` undoes that.

    Parameters
    ----------
    looked_at : Lab or cmonlab.live.agent.client.Client
    rule : str, Path, Rule, sequence of Rule, optional
        Made active as long as the dashboard is there. A text is a pcap expression, which is aggregated.

    Attributes
    ----------
    client : cmonlab.live.agent.client.Client
    here : bool
        Whether the agent is the dashboard's own, in this process.
    own : set of str
        Names of the rules that are the dashboard's.
    """

    def __init__(self, looked_at: Any, rule: str | Path | Rule | Sequence[Rule] | None):
        self._stack = ExitStack()
        self.here = _is_lab(looked_at)
        if not self.here and not hasattr(looked_at, "windows"):
            raise CmonlabError(
                f"there is no dashboard of a {type(looked_at).__name__}",
                fix="give a lab (`topology.deploy()`) or an agent's client (`cm.agent.connect()`)",
            )
        rules = _aggregating(rule) if rule is not None else [RULE] if self.here else []
        self.own: set[str] = set()
        try:
            if self.here:
                from cmonlab.live import agent

                self.client = self._stack.enter_context(agent.start(looked_at))
            else:
                self.client = looked_at
                self._stack.callback(self._withdraw)
            if rules:
                self.apply(rules)
        except BaseException:
            self._stack.close()
            raise

    def apply(self, rules: Sequence[Rule]) -> None:
        """Make rules active; those of names that were not are the dashboard's own.

        Raises
        ------
        RuleError, NotTraceable, TransportError
            They cannot be active; those before stay as they were.
        """
        before = {rule.name for rule in self.client.written_rules()}
        self.client.apply(rules)
        self.own |= {rule.name for rule in rules} - before

    def _withdraw(self) -> None:
        """End the rules that are the dashboard's own."""
        for name in sorted(self.own):
            with suppress(CmonlabError):  # it may have ended, and so may the agent
                self.client.remove(name)

    def close(self) -> None:
        """Leave the agent as it was; may be called twice."""
        self._stack.close()


def _is_lab(looked_at: Any) -> bool:
    return hasattr(looked_at, "containers") and hasattr(looked_at, "topology")


def containers_of(looked_at: Any) -> Collection[str] | None:
    """Return the containers that a lab has, of an agent None: all."""
    return list(looked_at.containers) if _is_lab(looked_at) else None


def key_of(looked_at: Any) -> Hashable:
    """Return what is the same for two dashboards of one target."""
    if hasattr(looked_at, "run_id"):
        return "lab", looked_at.run_id
    transport = getattr(looked_at, "_transport", None)
    return "agent", getattr(looked_at, "host", ""), getattr(transport, "url", id(transport))


def _aggregating(rule: str | Path | Rule | Sequence[Rule]) -> list[Rule]:
    if isinstance(rule, str):
        return [Rule(name=RULE.name, match=rule, mode="aggregate")]
    return rules_of(rule)
