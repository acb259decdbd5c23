"""Containers as the engine describes them; they need not belong to a lab."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .labels import ADDRESS_LABEL


@dataclass(frozen=True)
class Container:
    """A container of the engine.

    Attributes
    ----------
    id : str
        The engine's id.
    name : str
        Its short name if it has one, else Docker's.
    image : str
        Name of its image, as the user wrote it.
    labels : mapping of str to str
    networks : tuple of str
        Names of the networks it is attached to.
    addresses : tuple of str
        IP addresses, IPv4 and IPv6, without loopback. A container in the host's namespace has the addresses that a
        lab gave it, or none: the others are the host's.
    netns : int
        Inode number of its network namespace, 0 while it is not known.
    pid : int
        Its first process in the host's pid namespace, 0 while it is not known.
    running : bool
        True from the moment it gets its networks, just before its program starts, until it ends.
    """

    id: str
    name: str
    image: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    networks: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    netns: int = 0
    pid: int = 0
    running: bool = True


def listed(data: Mapping[str, Any], name: str) -> Container:
    """Return a container from the engine's list, which has no pid and, while it starts, no addresses.

    Parameters
    ----------
    data : mapping
        One entry of ``GET /containers/json`` (Docker Engine API).
    name : str
        Its short name, empty if it has none.
    """
    return Container(data["Id"], name or _plain(data["Names"]), data["Image"], dict(data["Labels"] or {}))


def announced(container: str, attributes: Mapping[str, str], name: str) -> Container:
    """Return a container from an event of the engine. Events hide labels called image or name.

    Parameters
    ----------
    container : str
        Its id.
    attributes : mapping of str to str
        ``Actor.Attributes`` of the event (Docker Engine API, ``GET /events``).
    name : str
        Its short name, empty if it has none.
    """
    labels = {key: value for key, value in attributes.items() if key not in ("image", "name")}
    return Container(container, name or attributes.get("name", ""), attributes.get("image", ""), labels)


def inspected(data: Mapping[str, Any], name: str) -> Container:
    """Return a container from its inspection.

    Parameters
    ----------
    data : mapping
        ``GET /containers/{id}/json`` (Docker Engine API).
    name : str
        Its short name, empty if it has none.
    """
    networks = data["NetworkSettings"]["Networks"] or {}
    config, state = data["Config"], data["State"]
    addresses = [network.get(key) for network in networks.values() for key in ("IPAddress", "GlobalIPv6Address")]
    addresses += (config["Labels"] or {}).get(ADDRESS_LABEL, "").split()
    return Container(
        data["Id"],
        name or _plain([data["Name"]]),
        config["Image"],
        dict(config["Labels"] or {}),
        tuple(networks),
        tuple(filter(None, addresses)),
        pid=state["Pid"],
        running=bool(state["Running"]),
    )


def endpoint(data: Mapping[str, Any], container: str) -> tuple[str, ...]:
    """Return a container's addresses on a network. The engine lists them before the container's namespace has them.

    Parameters
    ----------
    data : mapping
        ``GET /networks/{id}`` (Docker Engine API).
    container : str
        Id of the container.

    Returns
    -------
    tuple of str
        IPv4 and IPv6 address, as far as it has them.
    """
    found = (data.get("Containers") or {}).get(container, {})
    addresses = (found.get(key, "").partition("/")[0] for key in ("IPv4Address", "IPv6Address"))
    return tuple(filter(None, addresses))


def _plain(names: list[str]) -> str:
    # A linked container has more names, which contain a slash (legacy links).
    names = [name.lstrip("/") for name in names]
    return next((name for name in names if "/" not in name), names[0] if names else "")
