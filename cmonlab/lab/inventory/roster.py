"""The known containers, and the callbacks for their changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from ..docker.containers import Container

#: Called with the containers that changed, as they are now.
Changed = Callable[[list[Container]], None]


class Roster:
    """Containers by id, and the names that they give to namespaces.

    Parameters
    ----------
    lock : threading.RLock
        Every method holds it for a moment, but not while a callback runs.

    Attributes
    ----------
    error : str
        The last failure of a callback, empty if there was none.
    """

    def __init__(self, lock: threading.RLock):
        self.error = ""
        self._lock, self._notifying = lock, threading.RLock()
        self._containers: dict[str, Container] = {}
        self._began_ns: dict[str, int] = {}
        self._ended_ns: dict[str, int] = {}
        self._owners: dict[int, str] = {}
        self._callbacks: list[Changed] = []

    def __iter__(self) -> Iterator[Container]:
        with self._lock:
            return iter(list(self._containers.values()))

    def get(self, container: str) -> Container | None:
        """Return a container by id, None if it is not known."""
        with self._lock:
            return self._containers.get(container)

    def began_ns(self, container: str) -> int:
        """Return when the start of a container began, in ns of CLOCK_MONOTONIC; now if that is not known."""
        with self._lock:
            return self._began_ns.get(container) or time.monotonic_ns()

    def update(self, container: str, transform: Callable[[Container | None], Container | None]) -> None:
        """Change a container in one step, then call the callbacks. The caller must not hold the lock.

        Parameters
        ----------
        container : str
            Its id.
        transform : callable
            Takes the container as it is (None: it is not known) and returns the new one (None: no change).
        """
        with self._lock:
            before = self._containers.get(container)
            after = transform(before)
            if after is None or after == before:
                return
            self._containers[container] = after
            if after.running and not (before and before.running):
                self._began_ns[container] = time.monotonic_ns()
            if after.running:
                self._ended_ns.pop(container, None)
            else:
                self._ended_ns.setdefault(container, time.monotonic_ns())
            if after.netns:
                # A shared namespace has the name of its first container.
                self._owners.setdefault(after.netns, container)
        self._notify(container)

    def change(self, container: str, **changes: Any) -> None:
        """Change fields of a container, if it is known.

        Parameters
        ----------
        container : str
            Its id.
        **changes
            New values of attributes of `Container`.
        """
        self.update(container, lambda before: before and replace(before, **changes))

    def name(self, netns: int) -> str:
        """Return the name of the container that a namespace is named after, empty if there is none."""
        with self._lock:
            owner = self._containers.get(self._owners.get(netns, ""))
            return owner.name if owner else ""

    def forget(self, before_ns: int) -> set[int]:
        """Forget the containers that ended before a time (CLOCK_MONOTONIC); return the namespaces of the others."""
        with self._lock:
            for container in [one for one, ended_ns in self._ended_ns.items() if ended_ns < before_ns]:
                del self._began_ns[container], self._ended_ns[container], self._containers[container]
            left = {container.netns: container.id for container in reversed(self._containers.values())}
            # When the container that named a shared namespace is forgotten, another one in it names it.
            self._owners = {
                netns: self._owners[netns] if self._owners.get(netns) in self._containers else one
                for netns, one in left.items()
                if netns
            }
            return set(self._owners)

    def on_change(self, callback: Changed) -> None:
        """See `cmonlab.lab.inventory.inventory.Inventory.on_change`."""
        with self._notifying:
            self._callbacks.append(callback)

    def _notify(self, container: str) -> None:
        # One at a time, and each reads the container again, so that the last call has the newest state.
        with self._notifying:
            now = self.get(container)
            if now is None:
                return
            for callback in self._callbacks:
                try:
                    callback([now])
                except Exception as error:
                    self.error = f"a callback failed: {type(error).__name__}: {error}"
