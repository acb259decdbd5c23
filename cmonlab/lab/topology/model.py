"""What a lab consists of: containers and networks. Knows no Docker.

A description is not its deployment: it can be compared, saved and changed on a machine
that has no engine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cmonlab.errors import TopologyError, UnknownName

if TYPE_CHECKING:
    from .deploy import Lab

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")

#: What joins containers, by the name of a network's driver.
DRIVERS = {
    "bridge": "Docker's bridge: a veth pair a container, and a Linux bridge in the host's namespace",
    "host": "the host's namespace itself: traffic goes over loopback, each container has an address there",
    "macvlan": "Docker's macvlan in bridge mode, on an interface that the lab makes",
    "vxlan": "VXLAN between namespaces that play hosts, a bridge and a tunnel device in each",
}


def _check_name(kind: str, name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TopologyError(
            f"{name!r} is no name for a {kind}",
            why="it becomes a host name",
            fix="use lower-case letters, digits and hyphens, a letter first, at most 31 characters",
        )


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes
    ----------
    name : str
        Unique within the topology.
    driver : str
        A key of `DRIVERS`.

    Raises
    ------
    TopologyError
        The name is none.
    UnknownName
        There is no such driver.
    """

    name: str
    driver: str = "bridge"

    def __post_init__(self) -> None:
        _check_name("network", self.name)
        if self.driver not in DRIVERS:
            raise UnknownName("network driver", str(self.driver), DRIVERS)


@dataclass(frozen=True)
class Container:
    """One container.

    Attributes
    ----------
    name : str
        Short name, as results show it: ``c0``, ``c1``, …
    networks : tuple of str
        Networks it is attached to; the first one becomes ``eth0``.
    host : str
        The namespace that plays its host, of a container on VXLAN networks: ``h0``,
        ``h1``, …; empty for the machine itself.
    """

    name: str
    networks: tuple[str, ...] = ()
    host: str = ""

    def __post_init__(self) -> None:
        _check_name("container", self.name)
        if self.host:
            _check_name("host", self.host)
        object.__setattr__(self, "networks", tuple(self.networks))


@dataclass(frozen=True)
class Topology:
    """Containers and the networks that join them.

    Attributes
    ----------
    template : str
        Name of the template it came from, ``"custom"`` for one of your own.
    containers : tuple of Container
    networks : tuple of Network
    image : str, optional
        Image of every container; by default the workload image, built when needed.
    parameters : tuple of (str, value)
        With what the template made it: ``template(t.template, **dict(t.parameters)) == t``.

    Raises
    ------
    TopologyError
        A name occurs twice or is no name, there is no container, or one is on networks
        that it cannot have together.
    UnknownName
        A container names a network that the topology does not have.
    """

    template: str
    containers: tuple[Container, ...]
    networks: tuple[Network, ...]
    image: str | None = field(default=None, kw_only=True)
    parameters: tuple[tuple[str, Any], ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "containers", tuple(self.containers))
        object.__setattr__(self, "networks", tuple(self.networks))
        if not self.containers:
            raise TopologyError("a topology needs at least one container")
        machines = [*self.names, *self.hosts]
        for kind, names in (("container", machines), ("network", [network.name for network in self.networks])):
            twice = sorted(name for name, count in Counter(names).items() if count > 1)
            if twice:
                raise TopologyError(f"two {kind}s are called {twice[0]!r}", fix="give each its own name")
        drivers = {network.name: network.driver for network in self.networks}
        for container in self.containers:
            for name in container.networks:
                if name not in drivers:
                    raise UnknownName("network", name, drivers)
            _check_together(container, [drivers[name] for name in container.networks])

    @property
    def names(self) -> tuple[str, ...]:
        """Short names of the containers, in order."""
        return tuple(container.name for container in self.containers)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the namespaces that play hosts, in order."""
        return tuple(dict.fromkeys(container.host for container in self.containers if container.host))

    def on(self, network: str) -> tuple[Container, ...]:
        """Return the containers that are attached to a network, in order."""
        return tuple(container for container in self.containers if network in container.networks)

    def describe(self) -> dict[str, Any]:
        """Return what JSON can hold, for a manifest."""
        return {
            "template": self.template,
            "parameters": dict(self.parameters),
            "image": self.image,
            "hosts": list(self.hosts),
            "containers": [{"name": c.name, "networks": list(c.networks), "host": c.host} for c in self.containers],
            "networks": [{"name": n.name, "driver": n.driver} for n in self.networks],
        }

    def deploy(self, *, notify: Callable[[str], None] | None = None) -> Lab:
        """Make real containers of it.

        Parameters
        ----------
        notify : callable, optional
            Is told in a sentence what takes time.

        Returns
        -------
        Lab
            Running; a context manager that removes everything again.

        Raises
        ------
        DockerError
            No engine, or it refused.
        """
        from .deploy import Lab

        return Lab(self, notify=notify)


def _check_together(container: Container, drivers: list[str]) -> None:
    """Refuse networks that one container cannot have, or not together."""
    if "host" in drivers and len(drivers) > 1:
        raise TopologyError(
            f"container {container.name} cannot be on a host network and on others",
            why="it has the host's namespace instead of one of its own",
        )
    if len(set(container.networks)) < len(container.networks):
        raise TopologyError(f"container {container.name} is on a network twice", fix="name each network once")
    overlay = [driver == "vxlan" for driver in drivers]
    if any(overlay) and not (all(overlay) and container.host):
        raise TopologyError(
            f"container {container.name} cannot be on a VXLAN network",
            why="it needs a host to be on, and all its networks must be VXLAN",
            fix=f"say which: Container({container.name!r}, …, host='h0')",
        )
    if container.host and not any(overlay):
        raise TopologyError(
            f"container {container.name} cannot be on host {container.host}",
            why="only containers on VXLAN networks are, others are on the machine itself",
            fix="leave the host out, or attach it to a VXLAN network",
        )
