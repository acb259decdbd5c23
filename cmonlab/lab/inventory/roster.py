"""The containers that are known, and who is told when one changes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..docker.containers import Container

Changed = Callable[[list[Container]], None]


class Roster:
    """Containers by id, and which of them a namespace is named after.

    Parameters
    ----------
    lock : threading.RLock
        Held for a moment by every method, but not while a callback runs.

    Attributes
    ----------
    error : str
        The last failure of a callback, empty when there was none.
    """

    def __init__(self, lock: threading.RLock):
        self.error = ""
        self._lock, self._telling = lock, threading.RLock()
        self._containers: dict[str, Container] = {}
        self._began_ns: dict[str, int] = {}
        self._ended_ns: dict[str, int] = {}
        self._owners: dict[int, str] = {}
        self._callbacks: list[Changed] = []

    def __iter__(self):
        with self._lock:
            return iter(list(self._containers.values()))

    def get(self, container: str) -> Container | None:
        """Return a container, None when it is not known."""
        with self._lock:
            return self._containers.get(container)

    def began_ns(self, container: str) -> int:
        """Return when a container began to be started, now when it is not known."""
        with self._lock:
            return self._began_ns.get(container) or time.monotonic_ns()

    def update(self, container: str, become: Callable[[Container | None], Container | None]) -> None:
        """Change a container in one step, and tell of it. Must not be called with the lock held.

        Parameters
        ----------
        container : str
            Its id.
        become : callable
            Takes the container as it is, None when it is not known, and returns what it
            becomes, None to leave it so.
        """
        with self._lock:
            before = self._containers.get(container)
            after = become(before)
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
                # Of containers that share a namespace, the first names it.
                self._owners.setdefault(after.netns, container)
        self._tell(container)

    def change(self, container: str, **changes: Any) -> None:
        """Change fields of a container, if it is known."""
        self.update(container, lambda before: before and replace(before, **changes))

    def name(self, netns: int) -> str:
        """Return the name of the container that a namespace is named after, "" when there is none."""
        with self._lock:
            owner = self._containers.get(self._owners.get(netns, ""))
            return owner.name if owner else ""

    def forget(self, before_ns: int) -> set[int]:
        """Forget the containers that ended before a time; return the namespaces of those left."""
        with self._lock:
            for container in [one for one, ended_ns in self._ended_ns.items() if ended_ns < before_ns]:
                del self._began_ns[container], self._ended_ns[container], self._containers[container]
            left = {container.netns: container.id for container in reversed(self._containers.values())}
            # The name of a shared namespace outlives the container that gave it, by another's.
            self._owners = {
                netns: self._owners[netns] if self._owners.get(netns) in self._containers else one
                for netns, one in left.items()
                if netns
            }
            return set(self._owners)

    def on_change(self, callback: Changed) -> None:
        """See `Inventory.on_change`."""
        with self._telling:
            self._callbacks.append(callback)

    def _tell(self, container: str) -> None:
        # One at a time, and each reads anew: whoever is told last is told the newest.
        with self._telling:
            now = self.get(container)
            for callback in self._callbacks if now else ():
                try:
                    callback([now])
                except Exception as error:
                    self.error = f"a callback failed: {type(error).__name__}: {error}"
