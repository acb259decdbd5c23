"""The addresses of the containers that rules select, as containers start and stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from cmonlab.rules import ContainerFacts, Rule, selects

from .kernel.addresses import address_key


class Container(Protocol):
    """What is used of a container of the inventory.

    Attributes
    ----------
    name, image : str
        As the engine shows them.
    labels : mapping of str to str
        Labels.
    networks : tuple of str
        Names of its networks.
    addresses : sequence of str
        IPv4 and IPv6 addresses, without prefix length.
    running : bool
        Whether it runs.
    """

    @property
    def name(self) -> str: ...
    @property
    def image(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def networks(self) -> tuple[str, ...]: ...
    @property
    def addresses(self) -> Sequence[str]: ...
    @property
    def running(self) -> bool: ...


class Members:
    """The addresses for rules with container selectors.

    Parameters
    ----------
    containers : callable
        Returns the containers that are known now (`cmonlab.lab.inventory.inventory.Inventory.containers`).
    """

    def __init__(self, containers: Callable[[], Sequence[Container]]):
        self._containers = containers
        self._lock = threading.Lock()
        self._rules: tuple[Rule, ...] = ()
        self._written: dict[str, frozenset[int]] = {}

    def of(self, rules: Sequence[Rule]) -> dict[str, frozenset[int]]:
        """Return the address keys of the selected containers as they are now, by the rule's name.

        Rules without a selector are left out.
        """
        found: dict[str, frozenset[int]] = {}
        for rule in rules:
            if rule.match.containers is None:
                continue
            # Without stopped ones: their addresses may belong to another container already.
            chosen = [c for c in self._containers() if c.running and selects(rule, facts(c))]
            found[rule.name] = frozenset(address_key(address) for c in chosen for address in c.addresses)
        return found

    def begin(self, rules: Sequence[Rule]) -> Mapping[str, frozenset[int]]:
        """Set the rules that `follow` updates, and return their addresses; see `of`."""
        with self._lock:
            self._rules = tuple(rules)
            self._written = self.of(rules)
            return self._written

    def follow(self, set_members: Callable[[str, frozenset[int]], None]) -> None:
        """Update the rules whose addresses have changed; to be called when containers have changed.

        Parameters
        ----------
        set_members : callable
            Called with a rule's name and its addresses (`cmonlab.tracing.active_rules.ActiveRules.set_members`).
        """
        with self._lock:
            now = self.of(self._rules)
            for name, addresses in now.items():
                if addresses != self._written.get(name):
                    set_members(name, addresses)
            self._written = now


def facts(container: Container) -> ContainerFacts:
    """Return the properties of a container that selectors use."""
    return ContainerFacts(
        name=container.name, image=container.image, labels=container.labels, networks=container.networks
    )
