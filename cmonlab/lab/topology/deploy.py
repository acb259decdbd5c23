"""Deploy a topology as real containers, and remove them whatever happens."""

from __future__ import annotations

import atexit
import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from ipaddress import ip_address
from typing import Any, TypeVar

from cmonlab.errors import DockerError, UnknownName
from cmonlab.system.signals import defer_signals

from ..docker.cleanup import clean, remove_run
from ..docker.client import docker_errors
from ..docker.engine import clean_host, docker_engine
from ..docker.image import ensure_image, find_image
from ..docker.process import Process
from ..docker.running import Running
from . import overlay
from .loopback import bind_connections
from .maker import Maker
from .model import Topology

__all__ = ["Lab", "Process", "Running", "clean", "clean_host"]

_WORKERS = 8
_Member = TypeVar("_Member")
_Made = TypeVar("_Made")


class Lab:
    """A deployed topology: a context manager that removes everything when its block ends.

    Parameters
    ----------
    topology : Topology
    notify : callable, optional
        Called with a sentence before something that takes time.

    Attributes
    ----------
    topology : Topology
    run_id : str
        Part of the name of everything this lab makes.
    containers : dict of str to Running
        Short name → container.
    hosts : dict of str to Running
        Name → container that holds the namespace of an emulated host; commands run there too.
    client : docker.DockerClient
        The client of the engine.

    Raises
    ------
    DockerError
        No engine answers, or it refused; everything made until then is removed.

    Examples
    --------
    >>> with cm.templates.bridge(2).deploy() as lab:
    ...     code, output = lab.exec("c1", ["ping", "-c", "1", lab.address("c0")])
    """

    def __init__(self, topology: Topology, *, notify: Callable[[str], None] | None = None):
        self.topology = topology
        self.run_id = secrets.token_hex(4)
        self.containers: dict[str, Running] = {}
        self.hosts: dict[str, Running] = {}
        self._processes: dict[tuple[str, str], Process] = {}
        self._stack = ExitStack()
        # A notebook's kernel may be shut down without close().
        atexit.register(self.close)
        try:
            self.client = self._stack.enter_context(docker_engine(notify))
            self._stack.callback(remove_run, self.client, self.run_id)
            self._deploy(notify or (lambda _: None))
        except BaseException:
            self.close()
            raise

    def _deploy(self, notify: Callable[[str], None]) -> None:
        topology = self.topology
        with docker_errors("the engine does not describe itself"):
            self._version = self.client.version()
        if topology.image is None:
            self.image = ensure_image(self.client, notify)
        else:
            self.image = find_image(self.client, topology.image)
        notify(f"deploying {len(topology.containers)} containers")
        self._maker = maker = Maker(self.client, topology, self.image.tag, self.run_id)
        # After an interrupt in the middle of a request we would not know what the engine made, so signals are
        # deferred until the requests under way have been answered.
        with defer_signals() as interrupted, ThreadPoolExecutor(_WORKERS, "cmonlab-deploy") as pool:
            failed: list[object] = []

            def unless_ended(make: Callable[[_Member], _Made], member: _Member) -> _Made | None:
                try:
                    return None if interrupted or failed else make(member)
                except BaseException:
                    failed.append(member)
                    raise

            list(pool.map(partial(unless_ended, maker.network), topology.networks))
            hosts = pool.map(partial(unless_ended, maker.host), topology.hosts)
            containers = pool.map(partial(unless_ended, maker.container), topology.containers)
            self.hosts = {host.name: host for host in hosts if host}
            self.containers = {container.name: container for container in containers if container}
            if not interrupted:
                self._wire()

    def _wire(self) -> None:
        """Make the interfaces and programs that the engine does not make."""
        overlay.wire(self.topology, self._maker.plan, self.containers | self.hosts)
        for network in self.topology.networks:
            for container in self.topology.on(network.name) if network.driver == "host" else ():
                running = self.containers[container.name]
                self._stack.callback(os.close, bind_connections(running, running.addresses[0]))

    def _known(self, name: str) -> Running:
        machines = self.containers | self.hosts
        if name not in machines:
            raise UnknownName("container", name, machines)
        for machine in (machines[name], *self.hosts.values()):
            machine.check_wiring()
        return machines[name]

    @property
    def names(self) -> dict[str, str]:
        """Container id → short name, of containers and emulated hosts."""
        return {machine.id: name for name, machine in (self.hosts | self.containers).items()}

    def source(self, name: str) -> str | None:
        """Return the address that a container's programs have to send from, None if any address will do.

        Containers in the host's namespace are distinguished by their addresses only. Connections get the right one
        by themselves; a socket that sends without connecting should be bound to this address.

        Raises
        ------
        UnknownName
            The lab has no such container.
        """
        first = next(iter(self._known(name).addresses), None)
        return first if first and ip_address(first).is_loopback else None

    def address(self, name: str) -> str:
        """Return a container's first IP address.

        Raises
        ------
        UnknownName
            The lab has no such container.
        DockerError
            It has no address.
        """
        addresses = self._known(name).addresses
        if not addresses:
            raise DockerError(f"container {name} has no address", why="it is on no network")
        return addresses[0]

    def exec(self, name: str, argv: Sequence[str], user: str | None = None) -> tuple[int, str]:
        """Run a command in a container until it ends.

        Parameters
        ----------
        name : str
            Short name of the container.
        argv : sequence of str
            The command.
        user : str, optional
            Run as this user, by default root.

        Returns
        -------
        tuple of (int, str)
            Exit code, standard output.

        Raises
        ------
        UnknownName
            The lab has no such container.
        DockerError
            The engine refused.
        """
        process = Process(self.client, name, self._known(name).id, list(argv), user)
        try:
            code = process.wait()
        except BaseException:
            process.stop()
            raise
        return -1 if code is None else code, process.stdout

    def start(self, name: str, argv: Sequence[str], user: str | None = None, service: str | None = None) -> Process:
        """Start a command in a container and return at once.

        Parameters
        ----------
        name : str
            Short name of the container.
        argv : sequence of str
            The command.
        user : str, optional
            Run as this user, by default root.
        service : str, optional
            A name by which `stop` finds it; an earlier process of that name in this container is stopped first.

        Returns
        -------
        Process

        Raises
        ------
        UnknownName
            The lab has no such container.
        DockerError
            The engine refused.
        """
        container = self._known(name)
        if service is not None:
            self.stop(name, service)
        process = Process(self.client, name, container.id, list(argv), user)
        if service is not None:
            self._processes[name, service] = process
        return process

    def stop(self, name: str, service: str) -> None:
        """Stop the process that `start` was given this service name for, if there is one.

        Parameters
        ----------
        name : str
            Short name of the container.
        service : str
            The name that `start` was given.

        Raises
        ------
        DockerError
            It does not end.
        """
        process = self._processes.pop((name, service), None)
        if process is not None:
            process.stop()

    def describe(self) -> dict[str, Any]:
        """Return this lab as a dict that JSON can hold, for a manifest.

        Raises
        ------
        DockerError
            The engine does not answer.
        """
        components = {part["Name"]: part["Version"] for part in self._version.get("Components", [])}
        return {
            "run_id": self.run_id,
            "engine": {
                "version": self._version["Version"],
                "api": self._version["ApiVersion"],
                "components": components,
            },
            "image": self.image.describe(),
            "networks": self._maker.describe_networks(),
            "hosts": [host.describe() for host in self.hosts.values()],
            "containers": [container.describe() for container in self.containers.values()],
        }

    def close(self) -> None:
        """Remove everything the lab made. Idempotent.

        Raises
        ------
        DockerError
            Something cannot be removed; ``cmonlab clean`` tries again.
        """
        atexit.unregister(self.close)
        with defer_signals():
            self._stack.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Lab {self.run_id}: {self.topology.template}, {len(self.containers)} containers>"
