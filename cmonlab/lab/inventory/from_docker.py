"""The containers of a Docker engine, from its events and from the namespaces of the host's processes.

The engine reports a started container only after its program runs, and by then a short program has ended. But before
the start it reports that the container gets a network, and the kernel reports that an interface leaves the host's
namespace. At that moment the container's namespace is found by its first process; see `Finder`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableSequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cmonlab.errors import DockerError

from ..docker import containers as engine
from ..docker.client import docker_errors, unless_gone
from ..docker.containers import Container
from ..docker.events import Events
from ..netns import GONE, container_of, first_process, namespace
from .finder import Finder
from .roster import Roster
from .watch import Watch

if TYPE_CHECKING:
    from ..docker.client import DockerClient


class DockerFollower:
    """Keeps a roster of containers up to date with a Docker engine.

    Parameters
    ----------
    client : docker.DockerClient
    names : mapping of str to str
        Container id → short name; other containers have Docker's name.
    host : int
        Inode number of the host's namespace.
    roster : Roster
        Gets the containers.
    watch : Watch
        Follows their namespaces.
    missed : mutable sequence of str
        Gets the names of containers that ended before their namespace could be held open.

    Attributes
    ----------
    events : Events
        The engine's events.
    finder : Finder
        Namespaces of starting containers.
    """

    def __init__(
        self,
        client: DockerClient,
        names: Mapping[str, str],
        host: int,
        roster: Roster,
        watch: Watch,
        missed: MutableSequence[str],
    ):
        self._api, self._names, self._host = client.api, names, host
        self._roster, self._watch, self._missed = roster, watch, missed
        self._failure = ""
        self.events = Events(self._api, self._on_docker_event, self._list_again)
        self.finder = Finder(roster, watch, self._update_addresses)

    def start(self) -> None:
        """Follow the engine, from the containers that run now.

        Raises
        ------
        DockerError
            The engine does not answer.
        """
        # The events of containers that start while they are being listed come afterwards.
        self.events.open()
        self._list(since_ns=0)
        self.events.start()

    def errors(self) -> Iterable[str]:
        """Return why something is not followed, empty strings if there is no error."""
        return self.events.error, self.finder.error, self._failure

    # ---- Docker's events ---------------------------------------------------

    def _on_docker_event(self, event: dict[str, Any]) -> None:
        try:
            with docker_errors("a container cannot be inspected"):
                self._process(event)
        except DockerError:
            raise  # the stream is opened again, and all containers are listed
        except Exception as error:
            self._failure = f"{type(error).__name__}: {error}"

    def _process(self, event: dict[str, Any]) -> None:
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
                self._missed.append(self._names.get(container, name))
        elif event["Action"] == "rename":
            self._roster.change(container, name=self._names.get(container, name))
        else:
            self.finder.take(container)
            self._roster.change(container, running=False)

    def _connected(self, container: str, network: str, network_id: str) -> None:
        """Process that a container got a network, while it starts or later."""
        known = self._roster.get(container)
        if known is None or not known.running:
            # Until it has started, the engine lists a container but does not inspect it.
            with unless_gone():
                for found in self._api.containers(all=True, filters={"id": container}):
                    self._set(engine.listed(found, self._names.get(container, "")))
            self.finder.match(container)
        addresses: tuple[str, ...] = ()
        with unless_gone():
            addresses = engine.endpoint(self._api.inspect_network(network_id), container)

        def with_network(known: Container | None) -> Container | None:
            return known and replace(
                known, networks=_merged(known.networks, (network,)), addresses=_merged(known.addresses, addresses)
            )

        self._roster.update(container, with_network)
        self.finder.match(container)

    def _started(self, container: str, attributes: Mapping[str, str]) -> bool:
        """Process that a container runs, or ran for a moment; return whether its namespace is known."""
        if container not in self.finder:
            return self._refresh(container)
        if self._roster.get(container) is None:
            # It was removed before the engine could list it.
            self._set(engine.announced(container, attributes, self._names.get(container, "")))
        self.finder.match(container)
        found = self.finder.take(container)
        if found is None:  # given up meanwhile, see `Finder.forget`
            return self._refresh(container)
        self._watch.mark_started(found.netns)
        # The pid comes from /proc: an inspection waits while the engine cleans up after a program that has ended.
        pid = found.pid if container_of(found.pid) == container else first_process(found.netns, container)
        self._roster.change(container, netns=found.netns, pid=pid, running=True)
        return True

    def _set(self, container: Container) -> None:
        self._roster.update(container.id, lambda _: container)

    def _refresh(self, container: str, since_ns: int | None = None) -> bool:
        """Inspect a container that runs, or ran a moment ago; return whether its namespace is known."""
        described = None
        with unless_gone():
            described = engine.inspected(self._api.inspect_container(container), self._names.get(container, ""))
        netns = self._hold(container, described.pid, since_ns) if described else 0
        if not netns:
            # A program that ends at once has ended by now, but its namespace was found before it began.
            before = self._roster.get(container)
            netns = before.netns if before and before.running else 0
        if described is None or not described.running:
            self.finder.take(container)
            self._roster.change(container, netns=netns, running=False)
        else:
            self._watch.sync()
            self._set(replace(described, addresses=self._addresses(netns) or described.addresses, netns=netns))
        return bool(netns)

    def _hold(self, container: str, pid: int, since_ns: int | None = None) -> int:
        """Follow the namespace of a container's process; return its inode number, 0 if the process has ended."""
        if since_ns is None:
            # The interfaces that are found now have existed since the start, and no packet had passed before.
            since_ns = self._roster.began_ns(container)
        with suppress(*GONE):
            if pid and container_of(pid) in (container, ""):
                with namespace(pid) as handle:
                    netns = self._watch.follow(handle, since_ns)
                self._watch.mark_started(netns)
                return netns
        return 0

    def _list(self, since_ns: int | None = None) -> list[str]:
        with docker_errors("the engine's containers cannot be read"):
            # The engine lists the newest first; a namespace is named after the oldest container in it.
            running = [found["Id"] for found in reversed(self._api.containers())]
            for container in running:
                self._refresh(container, since_ns)
        return running

    def _list_again(self) -> None:
        """Find out what happened while the stream of events was broken."""
        running = self._list()
        for container in self._roster:
            if container.running and container.id not in running:
                self._refresh(container.id)

    # ---- the kernel's notifications ----------------------------------------

    def on_netlink_event(self, changed: set[int], left: set[int]) -> None:
        """Look for starting containers, and update the addresses of running ones.

        Parameters
        ----------
        changed : set of int
            Inode numbers of the namespaces in which an interface or address changed.
        left : set of int
            Inode numbers of the namespaces that an interface left for another one.
        """
        try:
            if self._host in left:
                self.finder.search()
            for container in self._roster:
                if container.running and container.netns in changed:
                    self._update_addresses(container.id)
        except Exception as error:  # what is known so far is still useful for a recording
            self._failure = f"{type(error).__name__}: {error}"

    def _addresses(self, netns: int) -> tuple[str, ...]:
        """Return the addresses of a container's namespace; those of the host's namespace belong to no container."""
        followed = self._watch.followed.get(netns)
        return followed.interfaces.addresses() if followed and netns != self._host else ()

    def _update_addresses(self, container: str) -> None:
        def with_addresses(known: Container | None) -> Container | None:
            own = self._addresses(known.netns) if known and known.running else ()
            if known is None or not own:
                return None
            # A starting container's namespace lacks some of its addresses. An ending one loses them first.
            return replace(known, addresses=own if known.pid else _merged(own, known.addresses))

        self._roster.update(container, with_addresses)


def _merged(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*first, *second]))
