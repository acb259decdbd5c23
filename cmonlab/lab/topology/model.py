"""The description of a lab: containers and networks.

A description can be compared, saved and changed on a machine without a Docker engine; only its deployment needs one.
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

#: Driver of a network → how it joins containers.
DRIVERS = {
    "bridge": "Docker's bridge: a veth pair per container, and a Linux bridge in the host's namespace",
    "host": "the host's namespace itself: traffic goes over loopback, where each container has an address",
    "macvlan": "Docker's macvlan in bridge mode, on an interface that the lab makes",
    "vxlan": "VXLAN between emulated hosts (network namespaces), with a bridge and a tunnel device in each",
}


def _check_name(kind: str, name: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TopologyError(
            f"{name!r} is no name for a {kind}",
            why="it is used as a host name",
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
        The name is not valid.
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
        Emulated host of a container on VXLAN networks: ``h0``, ``h1``, …; empty: the machine itself.

    Raises
    ------
    TopologyError
        A name is not valid.
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
        Name of the template that made it, ``"custom"`` for your own topologies.
    containers : tuple of Container
    networks : tuple of Network
    image : str, optional
        Image of every container; by default the workload image, built when needed.
    parameters : tuple of (str, value)
        Parameters of the template: ``template(t.template, **dict(t.parameters)) == t``.

    Raises
    ------
    TopologyError
        A name occurs twice or is not valid, there is no container, or a container is on networks that exclude each
        other.
    UnknownName
        A container names a network that the topology does not have.

    Examples
    --------
    >>> topology = Topology("custom", (Container("front", ("net",)), Container("back", ("net",))), (Network("net"),))
    >>> topology.names
    ('front', 'back')
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
        """Names of the emulated hosts, in order."""
        return tuple(dict.fromkeys(container.host for container in self.containers if container.host))

    def on(self, network: str) -> tuple[Container, ...]:
        """Return the containers that are attached to a network, in order."""
        return tuple(container for container in self.containers if network in container.networks)

    def describe(self) -> dict[str, Any]:
        """Return the topology as a dict that JSON can hold, for a manifest."""
        return {
            "template": self.template,
            "parameters": dict(self.parameters),
            "image": self.image,
            "hosts": list(self.hosts),
            "containers": [{"name": c.name, "networks": list(c.networks), "host": c.host} for c in self.containers],
            "networks": [{"name": n.name, "driver": n.driver} for n in self.networks],
        }

    def deploy(self, *, notify: Callable[[str], None] | None = None) -> Lab:
        """Start real containers, on real networks.

        Parameters
        ----------
        notify : callable, optional
            Called with a sentence before something that takes time.

        Returns
        -------
        Lab
            A context manager that removes everything when its block ends.

        Raises
        ------
        DockerError
            No engine answers, or it refused.
        """
        from .deploy import Lab

        return Lab(self, notify=notify)


def _check_together(container: Container, drivers: list[str]) -> None:
    """Refuse networks that exclude each other, and a host that does not match them."""
    if "host" in drivers and len(drivers) > 1:
        raise TopologyError(
            f"container {container.name} cannot be on a host network and on others",
            why="it has the host's namespace instead of its own",
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
