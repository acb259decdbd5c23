"""Finds the namespaces of containers that are being started, before their programs run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from ..docker.containers import Container
from ..netns import GONE, open_namespace, search
from .roster import Roster
from .watch import Watch

# An engine that has not told of its container by then will not: it is another's.
_UNCLAIMED_NS = 60 * 10**9


class Found(NamedTuple):
    """A namespace that was found, the pid it was found by, and when."""

    netns: int
    pid: int
    at_ns: int


class Finder:
    """Namespaces that were found before the engine said that their container has started.

    Parameters
    ----------
    roster : Roster
    watch : Watch
    claimed : callable
        Called with the id of a container whose namespace is known and followed now.

    Attributes
    ----------
    error : str
        Why a namespace that was found is not followed, empty while all are.
    """

    def __init__(self, roster: Roster, watch: Watch, claimed: Callable[[str], None]):
        self.error = ""
        self._roster, self._watch, self._claimed = roster, watch, claimed
        self._found: dict[str, Found] = {}
        # To hold a namespace takes no time, but the kernel may make us wait for what is in it.
        self._follower = ThreadPoolExecutor(1, "cmonlab-follow")

    def __contains__(self, container: str) -> bool:
        return container in self._found

    def search(self) -> None:
        """Look for new namespaces of containers, hold them, and have them followed."""
        for container, pid in search(set(self._watch.followed)).items():
            known = self._roster.get(container)
            if container in self._found or (known is not None and known.running and known.netns):
                continue  # found before, or a namespace that the container made itself
            with suppress(*GONE):
                handle = open_namespace(pid)
                self._found[container] = Found(os.fstat(handle).st_ino, pid, time.monotonic_ns())
                self._follower.submit(self._follow, container, handle)

    def _follow(self, container: str, handle: int) -> None:
        try:
            netns = self._watch.follow(handle, self._roster.began_ns(container))
            self.claim(container)
            if container not in self._found:  # it has started by now
                self._watch.settle(netns)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
        finally:
            os.close(handle)

    def claim(self, container: str) -> None:
        """Give a container that is being started its namespace, as soon as both are known."""
        found = self._found.get(container)

        def become(known: Container | None) -> Container | None:
            return replace(known, netns=found.netns) if found and known and known.running and not known.netns else None

        self._roster.update(container, become)
        self._claimed(container)

    def take(self, container: str) -> Found | None:
        """Return and forget what was found of a container that has started, or could not."""
        return self._found.pop(container, None)

    def name(self, netns: int) -> str:
        """Return the beginning of the id of the container whose namespace it is, "" when it is not known."""
        return next((container[:12] for container, found in list(self._found.items()) if found.netns == netns), "")

    def forget(self, before_ns: int) -> set[int]:
        """Forget what nobody claimed for long before a time; return the namespaces that are left."""
        for container, found in list(self._found.items()):
            if found.at_ns < before_ns - _UNCLAIMED_NS:
                self.take(container)
        return {found.netns for found in list(self._found.values())}

    def wait(self) -> None:
        """Return when everything found until now is followed."""
        self._follower.submit(int).result()

    def close(self) -> None:
        """Wait and search no more. May be called twice."""
        self._follower.shutdown()
