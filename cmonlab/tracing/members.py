"""Which containers' addresses belong to which rules, as containers come and go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cmonlab.rules import ContainerFacts, Rule, selects

from .kernel.addresses import address_key


class Members:
    """The addresses that rules with container selectors are about.

    Parameters
    ----------
    containers : callable
        Returns the containers known now (`cmonlab.lab.inventory.inventory.Inventory.containers`).
    """

    def __init__(self, containers: Callable[[], Sequence[Any]]):
        self._containers = containers
        self._lock = threading.Lock()
        self._rules: tuple[Rule, ...] = ()
        self._told: dict[str, frozenset[int]] = {}

    def of(self, rules: Sequence[Rule]) -> dict[str, frozenset[int]]:
        """Return the address keys by rule, of the containers as they are now."""
        found: dict[str, frozenset[int]] = {}
        for rule in rules:
            if rule.match.containers is None:
                continue
            # An address is given to another container as soon as it is free.
            chosen = [c for c in self._containers() if c.running and selects(rule, facts(c))]
            found[rule.name] = frozenset(address_key(address) for c in chosen for address in c.addresses)
        return found

    def begin(self, rules: Sequence[Rule]) -> Mapping[str, frozenset[int]]:
        """Make these the rules to follow, and return their addresses."""
        with self._lock:
            self._rules = tuple(rules)
            self._told = self.of(rules)
            return self._told

    def follow(self, tell: Callable[[str, frozenset[int]], None]) -> None:
        """Tell the rules whose addresses have changed; to be called when containers have."""
        with self._lock:
            now = self.of(self._rules)
            for name, addresses in now.items():
                if addresses != self._told.get(name):
                    tell(name, addresses)
            self._told = now


def facts(container: Any) -> ContainerFacts:
    """Return what selectors look at, of the inventory's container."""
    return ContainerFacts(
        name=container.name, image=container.image, labels=container.labels, networks=container.networks
    )
