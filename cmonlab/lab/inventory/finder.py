"""Finds the network namespaces of starting containers before their programs run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from ..docker.containers import Container
from ..netns import GONE, find_containers, open_namespace
from .roster import Roster
from .watch import Watch

# A container that our engine has not reported by then belongs to another engine.
_UNMATCHED_NS = 60 * 10**9


class Found(NamedTuple):
    """A namespace that was found: its inode number, the pid of the process in it, and when (CLOCK_MONOTONIC)."""

    netns: int
    pid: int
    at_ns: int


class Finder:
    """Namespaces that were found before the engine reported that their container has started.

    Parameters
    ----------
    roster : Roster
        The known containers.
    watch : Watch
        Follows the namespaces that are found.
    on_match : callable
        Called with the id of a container as soon as its namespace is known and followed.

    Attributes
    ----------
    error : str
        Why a namespace that was found is not followed, empty while all are.
    """

    def __init__(self, roster: Roster, watch: Watch, on_match: Callable[[str], None]):
        self.error = ""
        self._roster, self._watch, self._on_match = roster, watch, on_match
        self._found: dict[str, Found] = {}
        # Opening a namespace is quick, but listing its interfaces may wait for a lock of the kernel.
        self._follower = ThreadPoolExecutor(1, "cmonlab-follow")

    def __contains__(self, container: str) -> bool:
        return container in self._found

    def search(self) -> None:
        """Look for new namespaces of containers, hold them open, and follow them in another thread."""
        for container, pid in find_containers(set(self._watch.followed)).items():
            known = self._roster.get(container)
            if container in self._found or (known is not None and known.running and known.netns):
                continue  # found before, or a namespace that the container itself made
            with suppress(*GONE):
                handle = open_namespace(pid)
                self._found[container] = Found(os.fstat(handle).st_ino, pid, time.monotonic_ns())
                self._follower.submit(self._follow, container, handle)

    def _follow(self, container: str, handle: int) -> None:
        try:
            netns = self._watch.follow(handle, self._roster.began_ns(container))
            self.match(container)
            if container not in self._found:  # it has started by now
                self._watch.mark_started(netns)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"
        finally:
            os.close(handle)

    def match(self, container: str) -> None:
        """Give a starting container its namespace, as soon as both are known."""
        found = self._found.get(container)

        def with_namespace(known: Container | None) -> Container | None:
            return replace(known, netns=found.netns) if found and known and known.running and not known.netns else None

        self._roster.update(container, with_namespace)
        self._on_match(container)

    def take(self, container: str) -> Found | None:
        """Return and forget the namespace of a container that has started or failed to start; else None."""
        return self._found.pop(container, None)

    def name(self, netns: int) -> str:
        """Return the first 12 characters of the id of the container in a namespace, empty if it is not known."""
        return next((container[:12] for container, found in list(self._found.items()) if found.netns == netns), "")

    def forget(self, before_ns: int) -> set[int]:
        """Forget what was found more than 60 s before a time (CLOCK_MONOTONIC); return the namespaces that are left."""
        for container, found in list(self._found.items()):
            if found.at_ns < before_ns - _UNMATCHED_NS:
                self.take(container)
        return {found.netns for found in list(self._found.values())}

    def wait(self) -> None:
        """Wait until every namespace found so far is followed."""
        self._follower.submit(int).result()

    def close(self) -> None:
        """Wait until every namespace found so far is followed, and end the thread. Idempotent."""
        self._follower.shutdown()
