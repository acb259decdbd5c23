"""Real containers of a topology, and their removal whatever happens."""

from __future__ import annotations

import atexit
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import Any

from ..errors import DockerError, UnknownName
from ..interrupt import uninterrupted
from . import image as images
from . import owner, remove
from .client import docker_errors
from .engine import clean_host, docker_engine
from .model import Container, Network, Topology
from .process import Process
from .remove import clean
from .running import Running, describe_network, inspect

__all__ = ["Lab", "Process", "Running", "clean", "clean_host"]

_WORKERS = 8
# pid 1 of a container: reaps what is left to it and ends at once on SIGTERM.
_IDLE = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 86400 & wait $!; done"]


class Lab:
    """A deployed topology.

    Parameters
    ----------
    topology : Topology
    notify : callable, optional
        Is told in a sentence what takes time.

    Attributes
    ----------
    topology : Topology
    run_id : str
        Part of the name of everything this lab makes.
    containers : dict of str to Running
        By short name.
    client : docker.DockerClient

    Raises
    ------
    DockerError
        No engine, or it refused; what was made until then is removed.
    """

    def __init__(self, topology: Topology, *, notify: Callable[[str], None] | None = None):
        self.topology = topology
        self.run_id = secrets.token_hex(4)
        self.containers: dict[str, Running] = {}
        self._processes: dict[tuple[str, str], Process] = {}
        self._stack = ExitStack()
        # For a notebook whose kernel is shut down without close().
        atexit.register(self.close)
        try:
            self.client = self._stack.enter_context(docker_engine(notify))
            self._stack.callback(remove.remove_run, self.client, self.run_id)
            self._deploy(notify or (lambda _: None))
        except BaseException:
            self.close()
            raise

    def _deploy(self, notify: Callable[[str], None]) -> None:
        topology = self.topology
        with docker_errors("the engine does not describe itself"):
            self._version = self.client.version()
        if topology.image is None:
            self.image = images.ensure_image(self.client, notify)
        else:
            self.image = images.find_image(self.client, topology.image)
        notify(f"deploying {len(topology.containers)} containers")
        labels = {owner.RUN_LABEL: self.run_id, owner.OWNER_LABEL: owner.me()}
        # An interrupt in the middle of a request would leave what the engine makes of it,
        # so it is put off until the requests under way have been answered.
        with uninterrupted() as interrupted, ThreadPoolExecutor(_WORKERS, "cmonlab-deploy") as pool:

            def unless_ended(make: Callable[[Any, dict[str, str]], Any], member: Any) -> Any:
                try:
                    return None if interrupted or failed else make(member, labels)
                except BaseException:
                    failed.append(member)
                    raise

            failed: list[Any] = []
            list(pool.map(partial(unless_ended, self._make), topology.networks))
            started = list(pool.map(partial(unless_ended, self._start), topology.containers))
            self.containers = {container.name: container for container in started if container}

    def _make(self, network: Network, labels: dict[str, str]) -> None:
        with docker_errors(f"network {network.name} cannot be made"):
            # The engine chooses a subnet that no route of the host covers.
            self.client.api.create_network(self._docker_name(network.name), driver=network.driver, labels=labels)

    def _docker_name(self, name: str) -> str:
        return f"cmonlab-{self.run_id}-{name}"

    def _start(self, container: Container, labels: dict[str, str]) -> Running:
        api = self.client.api
        networks = [self._docker_name(name) for name in container.networks]
        with docker_errors(f"container {container.name} cannot be started"):
            endpoint = api.create_endpoint_config(aliases=[container.name])
            first = api.create_networking_config({networks[0]: endpoint}) if networks else None
            created = api.create_container(
                self.image.tag,
                _IDLE,
                name=self._docker_name(container.name),
                hostname=container.name,
                labels=labels | {owner.NAME_LABEL: container.name},
                host_config=api.create_host_config(
                    network_mode=networks[0] if networks else "none", log_config={"Type": "none"}
                ),
                networking_config=first,
            )
            for network in networks[1:]:
                api.connect_container_to_network(created["Id"], network, aliases=[container.name])
            # The engine answers once the process runs and its networks are set up.
            api.start(created["Id"])
            return inspect(container.name, api.inspect_container(created["Id"]), networks)

    def _known(self, name: str) -> Running:
        if name not in self.containers:
            raise UnknownName("container", name, self.containers)
        return self.containers[name]

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
            A name by which `stop` finds it; an earlier process of that name in this
            container is stopped first.

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
        """Stop the process that `start` gave a service's name; none is fine too.

        Raises
        ------
        DockerError
            It does not end.
        """
        process = self._processes.pop((name, service), None)
        if process is not None:
            process.stop()

    def describe(self) -> dict[str, Any]:
        """Return what a manifest says about this lab; JSON can hold it.

        Raises
        ------
        DockerError
            The engine does not answer.
        """
        with docker_errors("the networks cannot be read"):
            networks = self.client.api.networks(filters={"label": f"{owner.RUN_LABEL}={self.run_id}"})
        components = {part["Name"]: part["Version"] for part in self._version.get("Components", [])}
        return {
            "run_id": self.run_id,
            "engine": {
                "version": self._version["Version"],
                "api": self._version["ApiVersion"],
                "components": components,
            },
            "image": self.image.describe(),
            "networks": [describe_network(network, self._docker_name("")) for network in networks],
            "containers": [
                asdict(container) | {"addresses": list(container.addresses)} for container in self.containers.values()
            ],
        }

    def close(self) -> None:
        """Remove everything the lab made. May be called twice.

        Raises
        ------
        DockerError
            Something cannot be removed; ``cmonlab clean`` tries again.
        """
        atexit.unregister(self.close)
        with uninterrupted():
            self._stack.close()

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Lab {self.run_id}: {self.topology.template}, {len(self.containers)} containers>"
