"""Containers as the engine describes them, of a lab or not."""

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
        Its short name where it has one, else Docker's.
    image : str
        The image's name as it was given.
    labels : mapping of str to str
    networks : tuple of str
        Names of the networks it is attached to.
    addresses : tuple of str
        IP addresses, IPv4 and IPv6; none of loopback. The addresses of the host's
        namespace are the host's: a container there has those that a lab gave it, or none.
    netns : int
        Inode number of its network namespace, 0 while that is not known.
    pid : int
        Its first process, as the host sees it, 0 while that is not known.
    running : bool
        From when it is given its networks, just before its program starts, until it ends.
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
    """Return a container from the engine's list, which knows neither pid nor, at first, addresses."""
    return Container(data["Id"], name or _plain(data["Names"]), data["Image"], dict(data["Labels"] or {}))


def announced(container: str, attributes: Mapping[str, str], name: str) -> Container:
    """Return a container from an event of the engine, which hides labels called image or name."""
    labels = {key: value for key, value in attributes.items() if key not in ("image", "name")}
    return Container(container, name or attributes.get("name", ""), attributes.get("image", ""), labels)


def inspected(data: Mapping[str, Any], name: str) -> Container:
    """Return a container from the engine's inspection."""
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
    """Return a container's addresses on a network, from the network's inspection.

    They stand there before the container's namespace has them.
    """
    found = (data.get("Containers") or {}).get(container, {})
    addresses = (found.get(key, "").partition("/")[0] for key in ("IPv4Address", "IPv6Address"))
    return tuple(filter(None, addresses))


def _plain(names: list[str]) -> str:
    # A linked container has further names, with a slash inside.
    names = [name.lstrip("/") for name in names]
    return next((name for name in names if "/" not in name), names[0] if names else "")
