"""A lab's running containers and their networks, as the engine describes them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cmonlab.errors import DockerError


@dataclass(frozen=True)
class Running:
    """A running container of a lab.

    Attributes
    ----------
    name : str
        Short name, for instance ``c0``.
    docker_name : str
        Docker's name.
    id : str
        Docker's id.
    pid : int
        Its first process in the host's pid namespace.
    netns : int
        Inode number of its network namespace.
    addresses : tuple of str
        IP addresses, in the order of its networks.
    wired : bool
        Whether the lab made its interfaces. Such interfaces are lost when the container is restarted.
    """

    name: str
    docker_name: str
    id: str
    pid: int
    netns: int
    addresses: tuple[str, ...]
    wired: bool = False

    def describe(self) -> dict[str, Any]:
        """Return all attributes as a dict that JSON can hold, for a manifest."""
        return asdict(self) | {"addresses": list(self.addresses)}

    def check_wiring(self) -> None:
        """Raise an error if the container has lost the interfaces that the lab made.

        Raises
        ------
        DockerError
            It ended, or was restarted.
        """
        try:
            intact = not self.wired or os.stat(f"/proc/{self.pid}/ns/net").st_ino == self.netns
        except OSError:
            intact = False
        if not intact:
            raise DockerError(
                f"{self.name} has lost its interfaces",
                why="it ended or was restarted, which removed them with its network namespace",
                fix="deploy the topology again",
            )


def describe_network(network: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the entry of a network in a manifest.

    Parameters
    ----------
    network : mapping
        One entry of ``GET /networks`` (Docker Engine API).
    prefix : str
        Left out of the network's name.

    Returns
    -------
    dict
        name, docker_name, id, driver, parent (of macvlan) or bridge, subnets.
    """
    options = network.get("Options") or {}
    bridge = options.get("com.docker.network.bridge.name", f"br-{network['Id'][:12]}")
    return {
        "name": network["Name"].removeprefix(prefix),
        "docker_name": network["Name"],
        "id": network["Id"],
        "driver": network["Driver"],
        **({"parent": options["parent"]} if "parent" in options else {"bridge": bridge}),
        "subnets": [config.get("Subnet", "") for config in network["IPAM"].get("Config") or []],
    }


def inspect(name: str, data: Mapping[str, Any], networks: Sequence[str]) -> Running:
    """Return a started container, from its inspection.

    Parameters
    ----------
    name : str
        Its short name.
    data : mapping
        ``GET /containers/{id}/json`` (Docker Engine API).
    networks : sequence of str
        Docker's names of its networks, in the order of their addresses in the result.

    Returns
    -------
    Running

    Raises
    ------
    DockerError
        It has ended, runs on another host, or this user may not read its network namespace.
    """
    pid = data["State"]["Pid"]
    if not data["State"]["Running"] or not pid:
        raise DockerError(
            f"container {name} ended at once with code {data['State']['ExitCode']}", why=data["State"].get("Error", "")
        )
    try:
        with open(f"/proc/{pid}/cgroup") as groups:
            local = data["Id"] in groups.read()
        netns = os.stat(f"/proc/{pid}/ns/net").st_ino
    except PermissionError as error:
        raise DockerError(
            f"the network namespace of {name} cannot be read", why=str(error), fix="run as root (sudo)"
        ) from error
    except OSError:
        local, netns = False, 0
    if not local:
        raise DockerError(
            f"container {name} is not a process of this host",
            why="the engine that DOCKER_HOST names runs elsewhere, in a virtual machine or in another pid namespace",
            fix="use an engine on this host",
        )
    attached = data["NetworkSettings"]["Networks"]
    addresses = [attached[network][key] for network in networks for key in ("IPAddress", "GlobalIPv6Address")]
    return Running(name, data["Name"].lstrip("/"), data["Id"], pid, netns, tuple(filter(None, addresses)))
