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

from ..errors import TopologyError, UnknownName

if TYPE_CHECKING:
    from .deploy import Lab

_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


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
        Docker's network driver.
    """

    name: str
    driver: str = "bridge"

    def __post_init__(self) -> None:
        _check_name("network", self.name)


@dataclass(frozen=True)
class Container:
    """One container.

    Attributes
    ----------
    name : str
        Short name, as results show it: ``c0``, ``c1``, …
    networks : tuple of str
        Networks it is attached to; the first one becomes ``eth0``.
    """

    name: str
    networks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_name("container", self.name)
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

    Raises
    ------
    TopologyError
        A name occurs twice or is no name, or there is no container.
    UnknownName
        A container names a network that the topology does not have.
    """

    template: str
    containers: tuple[Container, ...]
    networks: tuple[Network, ...]
    image: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "containers", tuple(self.containers))
        object.__setattr__(self, "networks", tuple(self.networks))
        if not self.containers:
            raise TopologyError("a topology needs at least one container")
        for kind, members in (("container", self.containers), ("network", self.networks)):
            counts = Counter(member.name for member in members)
            twice = sorted(name for name, count in counts.items() if count > 1)
            if twice:
                raise TopologyError(f"two {kind}s are called {twice[0]!r}", fix="give each its own name")
        known = {network.name for network in self.networks}
        for container in self.containers:
            for name in container.networks:
                if name not in known:
                    raise UnknownName("network", name, known)

    @property
    def names(self) -> tuple[str, ...]:
        """Short names of the containers, in order."""
        return tuple(container.name for container in self.containers)

    def describe(self) -> dict[str, Any]:
        """Return what JSON can hold, for a manifest."""
        return {
            "template": self.template,
            "image": self.image,
            "containers": [{"name": c.name, "networks": list(c.networks)} for c in self.containers],
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
