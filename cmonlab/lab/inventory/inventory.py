"""Who is who on this host: containers, namespaces and interfaces as they come, go and are renamed."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from cmonlab.errors import DockerError

from ..docker import containers as engine
from ..docker.client import docker_errors, unless_gone
from ..docker.containers import Container
from ..docker.events import Events
from ..netns import GONE, container_of, first_of, namespace
from .finder import Finder
from .nsid import introduce
from .roster import Changed, Roster
from .snapshot import links
from .watch import Watch

__all__ = ["Container", "Inventory", "links"]

_MOST_MISSED = 1000


class Named(Protocol):
    """Something with a Docker client and short names of containers; a `Lab` is."""

    @property
    def client(self) -> Any:
        """The Docker engine's client."""

    @property
    def names(self) -> Mapping[str, str]:
        """Container id → short name."""


class Inventory:
    """Names of containers, namespaces and interfaces, from `__enter__` to `close`.

    A context manager. Docker's events tell which container is being started. When an
    interface is then moved away, the container's namespace is looked for among the
    host's processes, so that it is held before the container's program runs, however
    short that lives. Netlink tells of every interface and address in the host's and in
    each container's namespace. Nothing is polled; a container costs one file descriptor.

    Namespaces are held until `close` or `release_gone`, so that meanwhile no inode
    number means two of them. Nothing is made that outlives the process.

    Parameters
    ----------
    client : docker.DockerClient, optional
        Of the engine to follow; without one, only the host's interfaces are followed.
    names : mapping of str to str
        Short names by container id; other containers have Docker's. The namespace that
        we are in is ``host``. Of containers that share a namespace, the first names it.

    Attributes
    ----------
    missed : collections.deque of str
        The last 1,000 containers that were gone before their namespace could be held.
    """

    def __init__(self, client: Any = None, names: Mapping[str, str] | None = None):
        self._names = names or {}
        self._lock = threading.RLock()
        self._roster = Roster(self._lock)
        self._host = os.stat("/proc/self/ns/net").st_ino
        self._watch = Watch(self._lock, self._notice)
        self._finder = Finder(self._roster, self._watch, self._readdress)
        self._api = client.api if client is not None else None
        self._events = Events(self._api, self._heed, self._relist) if client is not None else None
        self._failure, self._closed = "", False
        self.missed: deque[str] = deque(maxlen=_MOST_MISSED)

    @classmethod
    def of(cls, lab: Named) -> Inventory:
        """Return the inventory of a lab's engine, with the lab's short names."""
        return cls(lab.client, lab.names)

    def __enter__(self) -> Inventory:
        try:
            with namespace(os.getpid()) as handle:
                self._watch.settle(self._watch.follow(handle, since_ns=0))
            self._watch.start()
            if self._events is not None:
                # What starts while the stream is being opened comes again in it.
                self._events.open()
                self._list(since_ns=0)
                self._events.start()
        except BaseException:
            self.close()
            raise
        return self

    # ---- what is told ------------------------------------------------------

    @property
    def error(self) -> str:
        """Why something is not followed or not told, empty while all is well."""
        events = self._events.error if self._events else ""
        errors = [events, self._watch.error, self._finder.error, self._roster.error, self._failure]
        return "; ".join(filter(None, errors))

    def containers(self) -> list[Container]:
        """Return the containers known; those that have ended stay until `release_gone`."""
        return list(self._roster)

    def on_change(self, callback: Changed) -> None:
        """Have a function called with the list of containers that changed, as they are then.

        It is told of a container's addresses before the container's program runs. It is
        called on the inventory's threads, one at a time, and should return soon.
        """
        self._roster.on_change(callback)

    def links(self) -> list[dict[str, Any]]:
        """Return the interfaces seen so far, in rows of the table ``links``.

        Returns
        -------
        list of dict
            See `cmonlab.schema`; namespace by namespace, then by ifindex and time.
            Interfaces that have gone are there as they were, unless they were never up.
        Last come containers in the host's namespace that have a loopback address of their
        own: the loopback interface again, with their names and addresses.
        """
        if not self._closed:
            self._finder.wait()
            self._watch.sync()
        with self._lock:
            introduce(self._watch.followed.values())
            rows = [
                row
                for netns, followed in self._watch.followed.items()
                for row in followed.interfaces.rows(self._name(netns))
            ]
        return rows + self._shares(rows)

    def _shares(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return rows that give loopback addresses in the host's namespace to the containers that were given them."""
        loopback = [row for row in rows if row["netns"] == self._host and "127.0.0.1" in row["addresses"]][-1:]
        own = {
            one.name: [a for a in one.addresses if a.startswith("127.")]
            for one in self._roster
            if one.netns == self._host
        }
        return [
            row | {"namespace": name, "addresses": given} for name, given in own.items() if given for row in loopback
        ]

    def _name(self, netns: int) -> str:
        if netns == self._host:
            return "host"
        return self._roster.name(netns) or self._finder.name(netns) or f"ns-{netns}"

    def release_gone(self, before_ns: int | None = None) -> None:
        """Forget what has ended, and let its namespaces go.

        Parameters
        ----------
        before_ns : int, optional
            Only what ended before this time (CLOCK_MONOTONIC); by default, until now.
        """
        before_ns = time.monotonic_ns() if before_ns is None else before_ns
        with self._lock:
            used = self._roster.forget(before_ns) | self._finder.forget(before_ns) | {self._host}
            for netns in self._watch.followed.keys() - used:
                self._watch.release(netns)
            for followed in self._watch.followed.values():
                followed.interfaces.forget(before_ns)

    # ---- Docker's events ---------------------------------------------------

    def _heed(self, event: dict[str, Any]) -> None:
        try:
            with docker_errors("a container cannot be looked at"):
                self._take(event)
        except DockerError:
            raise  # the stream is opened again, and all containers are looked at
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"

    def _take(self, event: dict[str, Any]) -> None:
        attributes = event["Actor"]["Attributes"]
        if event["Type"] == "network":
            container = attributes.get("container", "")
            known = self._roster.get(container)
            if event["Action"] == "connect":
                self._connected(container, attributes.get("name", ""), event["Actor"]["ID"])
            elif known is not None and known.running:
                self._refresh(container)
            return
        container, name = event["Actor"]["ID"], attributes.get("name", "").lstrip("/")
        if event["Action"] == "start":
            if not self._started(container, attributes):
                self.missed.append(self._names.get(container, name))
        elif event["Action"] == "rename":
            self._roster.change(container, name=self._names.get(container, name))
        else:
            self._finder.take(container)
            self._roster.change(container, running=False)

    def _connected(self, container: str, network: str, network_id: str) -> None:
        """A container was given a network: while it is being started, or later."""
        known = self._roster.get(container)
        if known is None or not known.running:
            # Until it has started, the engine lists a container but does not inspect it.
            with unless_gone():
                for found in self._api.containers(all=True, filters={"id": container}):
                    starting = engine.listed(found, self._names.get(container, ""))
                    self._roster.update(container, lambda _, starting=starting: starting)
            self._finder.claim(container)
        addresses: tuple[str, ...] = ()
        with unless_gone():
            addresses = engine.endpoint(self._api.inspect_network(network_id), container)

        def become(known: Container | None) -> Container | None:
            return known and replace(
                known, networks=_merged(known.networks, (network,)), addresses=_merged(known.addresses, addresses)
            )

        self._roster.update(container, become)
        self._finder.claim(container)

    def _started(self, container: str, attributes: Mapping[str, str]) -> bool:
        """Take it that a container runs, or did for a moment; return whether its namespace is known."""
        if container not in self._finder:
            return self._refresh(container)
        if self._roster.get(container) is None:
            # It was removed before the engine could list it.
            told = engine.announced(container, attributes, self._names.get(container, ""))
            self._roster.update(container, lambda _: told)
        self._finder.claim(container)
        netns, pid, _ = self._finder.take(container)
        self._watch.settle(netns)
        # The engine would let us wait for its answer until a program that ended is cleaned up after.
        if container_of(pid) != container:
            pid = first_of(netns, container)
        self._roster.change(container, netns=netns, pid=pid, running=True)
        return True

    def _refresh(self, container: str, since_ns: int | None = None) -> bool:
        """Look at a container that runs, or just did; return whether its namespace is known."""
        described = None
        with unless_gone():
            described = engine.inspected(self._api.inspect_container(container), self._names.get(container, ""))
        netns = self._hold(container, described.pid, since_ns) if described else 0
        if not netns:
            # A program that ends at once is gone by now; its namespace was found before it began.
            before = self._roster.get(container)
            netns = before.netns if before and before.running else 0
        if described is None or not described.running:
            self._finder.take(container)
            self._roster.change(container, netns=netns, running=False)
        else:
            self._watch.sync()
            addresses = self._addresses(netns) or described.addresses
            self._roster.update(container, lambda _: replace(described, addresses=addresses, netns=netns))
        return bool(netns)

    def _hold(self, container: str, pid: int, since_ns: int | None = None) -> int:
        """Follow the namespace of a container's process; return its inode number, 0 when it is gone."""
        if since_ns is None:
            # What is found there now has been there since, and no packet had passed before.
            since_ns = self._roster.began_ns(container)
        with suppress(*GONE):
            if pid and container_of(pid) in (container, ""):
                with namespace(pid) as handle:
                    netns = self._watch.follow(handle, since_ns)
                self._watch.settle(netns)
                return netns
        return 0

    def _addresses(self, netns: int) -> tuple[str, ...]:
        """Return the addresses of a container's namespace; the host's are no container's."""
        followed = self._watch.followed.get(netns)
        return followed.interfaces.addresses() if followed and netns != self._host else ()

    def _list(self, since_ns: int | None = None) -> list[str]:
        with docker_errors("the engine's containers cannot be read"):
            # The engine lists the newest first; a namespace is named after the oldest in it.
            running = [found["Id"] for found in reversed(self._api.containers())]
            for container in running:
                self._refresh(container, since_ns)
        return running

    def _relist(self) -> None:
        """Find out what happened while the stream of events was broken."""
        running = self._list()
        for container in self._roster:
            if container.running and container.id not in running:
                self._refresh(container.id)

    # ---- the kernel's notifications ----------------------------------------

    def _notice(self, changed: set[int], left: set[int]) -> None:
        try:
            if self._host in left and self._api is not None:
                self._finder.search()
            for container in self._roster:
                if container.running and container.netns in changed:
                    self._readdress(container.id)
        except Exception as error:  # what is known already still names a recording
            self._failure = f"{type(error).__name__}: {error}"

    def _readdress(self, container: str) -> None:
        def become(known: Container | None) -> Container | None:
            own = self._addresses(known.netns) if known and known.running else ()
            # Until it has started, its namespace lacks some of them. When it ends, it loses them first.
            return replace(known, addresses=own if known.pid else _merged(own, known.addresses)) if own else None

        self._roster.update(container, become)

    def close(self) -> None:
        """Follow no more and let the namespaces go; what was seen stays. May be called twice."""
        self._closed = True
        if self._events is not None:
            self._events.close()
        self._watch.stop()
        self._finder.close()
        with self._lock:
            introduce(self._watch.followed.values())
        self._watch.close()

    def __exit__(self, *exception: object) -> None:
        self.close()


def _merged(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*first, *second]))
