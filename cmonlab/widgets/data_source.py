"""The data source of a dashboard: a lab, for which it runs an agent, or an agent that runs already."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from cmonlab.errors import CmonlabError
from cmonlab.recording.record import rules_of
from cmonlab.rules import Rule

if TYPE_CHECKING:
    from cmonlab.lab.topology.deploy import Lab
    from cmonlab.live.agent.client import Client

#: The rule of a lab's dashboard, unless another one is given.
RULE = Rule(name="dashboard", match="", mode="aggregate")
Source: TypeAlias = "Lab | Client"
Rules: TypeAlias = str | Path | Rule | Sequence[Rule]


class DataSource:
    """An agent's client, and what the dashboard changed at the agent; `close` undoes these changes.

    Parameters
    ----------
    source : Lab or cmonlab.live.agent.client.Client
        A lab gets an agent in this process.
    rules : str, Path, Rule or sequence of Rule, optional
        Made active until `close`. A str is a pcap expression, which is aggregated; by default a lab gets `RULE`.

    Attributes
    ----------
    client : cmonlab.live.agent.client.Client
        The agent's client.
    in_process : bool
        Whether the agent belongs to the dashboard and runs in this process.
    own : set of str
        Names of the rules that the dashboard added.

    Raises
    ------
    CmonlabError
        `source` is something else.
    RuleError, NotTraceable, TransportError
        The rules cannot be active, or the agent cannot be started or reached.
    """

    def __init__(self, source: Source, rules: Rules | None):
        self._stack = ExitStack()
        self.in_process = _is_lab(source)
        if not self.in_process and not hasattr(source, "windows"):
            raise CmonlabError(
                f"there is no dashboard of a {type(source).__name__}",
                fix="give a lab (`topology.deploy()`) or an agent's client (`cm.agent.connect()`)",
            )
        first = _aggregating(rules) if rules is not None else [RULE] if self.in_process else []
        self.own: set[str] = set()
        try:
            self.client: Client = self._start(source)
            if first:
                self.apply(first)
        except BaseException:
            self._stack.close()
            raise

    def _start(self, source: Any) -> Client:
        if self.in_process:
            from cmonlab.live import agent

            return self._stack.enter_context(agent.start(source))
        self._stack.callback(self._remove_own_rules)
        return source

    def apply(self, rules: Sequence[Rule]) -> None:
        """Make rules active; those whose names were not active yet belong to the dashboard.

        Raises
        ------
        RuleError, NotTraceable, TransportError
            They cannot be active; the active rules stay as they are.
        """
        before = {rule.name for rule in self.client.written_rules()}
        self.client.apply(rules)
        self.own |= {rule.name for rule in rules} - before

    def _remove_own_rules(self) -> None:
        for name in sorted(self.own):
            with suppress(CmonlabError):  # the rule may have ended, or the agent
                self.client.remove(name)

    def close(self) -> None:
        """Leave the agent as it was; idempotent."""
        self._stack.close()


def _is_lab(source: Any) -> TypeGuard[Lab]:
    return hasattr(source, "containers") and hasattr(source, "topology")


def containers_of(source: Source) -> Collection[str] | None:
    """Return the names of a lab's containers; None, which means all, for an agent."""
    return list(source.containers) if _is_lab(source) else None


def key_of(source: Any) -> Hashable:
    """Return a key that is equal for two dashboards of the same source."""
    if hasattr(source, "run_id"):
        return "lab", source.run_id
    transport = getattr(source, "_transport", None)
    return "agent", getattr(source, "host", ""), getattr(transport, "url", id(transport))


def _aggregating(rules: Rules) -> list[Rule]:
    if isinstance(rules, str):
        return [Rule(name=RULE.name, match=rules, mode="aggregate")]
    return rules_of(rules)
