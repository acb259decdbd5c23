"""The containers, namespaces and interfaces of this host, as they appear, disappear and are renamed."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..docker.containers import Container
from ..netns import namespace
from .from_docker import DockerFollower
from .nsid import resolve_peer_namespaces
from .roster import Changed, Roster
from .snapshot import links
from .watch import Watch

if TYPE_CHECKING:
    from ..docker.client import DockerClient

__all__ = ["Container", "Inventory", "links"]

_MOST_MISSED = 1000


class Named(Protocol):
    """Something with a Docker client and short names of containers; `cmonlab.lab.topology.deploy.Lab` is one."""

    @property
    def client(self) -> DockerClient:
        """The client of the Docker engine."""

    @property
    def names(self) -> Mapping[str, str]:
        """Container id → short name."""


class Inventory:
    """Names of containers, namespaces and interfaces, from `__enter__` to `close`.

    A context manager. Docker's events say which container is starting. When an interface is then moved to another
    namespace, the container's namespace is looked for among the host's processes. So it is held open before the
    container's program runs, even if the program ends at once. Netlink reports every interface and address in the
    host's and in each container's namespace. Nothing is polled; a container costs one file descriptor.

    Namespaces are held open until `close` or `release_gone`, so that an inode number never means two of them.
    Everything ends with the process.

    Parameters
    ----------
    client : docker.DockerClient, optional
        Client of the engine to follow; without one, only the host's interfaces are followed.
    names : mapping of str to str, optional
        Container id → short name; other containers have Docker's name. The namespace of this process is called
        ``host``. A namespace that several containers share has the name of the first one.

    Attributes
    ----------
    missed : collections.deque of str
        The last 1,000 containers that ended before their namespace could be held open.

    Examples
    --------
    >>> with Inventory.of(lab) as inventory:
    ...     names = [container.name for container in inventory.containers()]
    """

    def __init__(self, client: DockerClient | None = None, names: Mapping[str, str] | None = None):
        self._lock = threading.RLock()
        self._roster = Roster(self._lock)
        self._host = os.stat("/proc/self/ns/net").st_ino
        self._watch = Watch(self._lock, self._on_netlink_event)
        self.missed: deque[str] = deque(maxlen=_MOST_MISSED)
        self._docker = None
        if client is not None:
            self._docker = DockerFollower(client, names or {}, self._host, self._roster, self._watch, self.missed)
        self._closed = False

    @classmethod
    def of(cls, lab: Named) -> Inventory:
        """Return the inventory of a lab's engine, with the lab's short names."""
        return cls(lab.client, lab.names)

    def __enter__(self) -> Inventory:
        try:
            with namespace(os.getpid()) as handle:
                self._watch.mark_started(self._watch.follow(handle, since_ns=0))
            self._watch.start()
            if self._docker is not None:
                self._docker.start()
        except BaseException:
            self.close()
            raise
        return self

    def _on_netlink_event(self, changed: set[int], left: set[int]) -> None:
        if self._docker is not None:
            self._docker.on_netlink_event(changed, left)

    # ---- what is known -----------------------------------------------------

    @property
    def error(self) -> str:
        """Why something is not followed or not reported, empty while there is no error."""
        errors = [*(self._docker.errors() if self._docker else ()), self._watch.error, self._roster.error]
        return "; ".join(filter(None, errors))

    def containers(self) -> list[Container]:
        """Return the known containers; those that have ended stay until `release_gone`."""
        return list(self._roster)

    def on_change(self, callback: Changed) -> None:
        """Call a function with the list of containers that changed, as they are then.

        It gets the addresses of a container before the container's program runs. It is called on the inventory's
        threads, one call at a time, and should return soon.
        """
        self._roster.on_change(callback)

    def links(self) -> list[dict[str, Any]]:
        """Return the interfaces seen so far.

        Returns
        -------
        list of dict
            Rows of the table ``links`` by namespace, ifindex and time; columns of ``schema.describe("links")``.
            Interfaces that are gone are there as they were, unless they were never up. The last rows are for
            containers in the host's namespace that have a loopback address of their own: the loopback interface
            again, with the names and addresses of these containers.
        """
        if not self._closed:
            if self._docker is not None:
                self._docker.finder.wait()
            self._watch.sync()
        with self._lock:
            resolve_peer_namespaces(self._watch.followed.values())
            rows = [
                row
                for netns, followed in self._watch.followed.items()
                for row in followed.interfaces.rows(self._name(netns))
            ]
        return rows + self._loopback_rows(rows)

    def _loopback_rows(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return rows of the host's loopback interface for containers that a lab gave loopback addresses."""
        loopback = [row for row in rows if row["netns"] == self._host and "127.0.0.1" in row["addresses"]][-1:]
        own = {
            one.name: [address for address in one.addresses if address.startswith("127.")]
            for one in self._roster
            if one.netns == self._host
        }
        return [
            row | {"namespace": name, "addresses": given} for name, given in own.items() if given for row in loopback
        ]

    def _name(self, netns: int) -> str:
        if netns == self._host:
            return "host"
        starting = self._docker.finder.name(netns) if self._docker else ""
        return self._roster.name(netns) or starting or f"ns-{netns}"

    # ---- the end -----------------------------------------------------------

    def release_gone(self, before_ns: int | None = None) -> None:
        """Forget what has ended, and release its namespaces.

        Parameters
        ----------
        before_ns : int, optional
            Only what ended before this time (CLOCK_MONOTONIC, in ns); by default, before now.
        """
        before_ns = time.monotonic_ns() if before_ns is None else before_ns
        with self._lock:
            used = self._roster.forget(before_ns) | {self._host}
            if self._docker is not None:
                used |= self._docker.finder.forget(before_ns)
            for netns in self._watch.followed.keys() - used:
                self._watch.release(netns)
            for followed in self._watch.followed.values():
                followed.interfaces.forget(before_ns)

    def close(self) -> None:
        """Stop following and release the namespaces; containers and interfaces stay readable. Idempotent."""
        self._closed = True
        if self._docker is not None:
            self._docker.events.close()
        self._watch.stop()
        if self._docker is not None:
            self._docker.finder.close()
        with self._lock:
            resolve_peer_namespaces(self._watch.followed.values())
        self._watch.close()

    def __exit__(self, *exception: object) -> None:
        self.close()
