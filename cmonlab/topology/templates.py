"""Ready topologies, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import UnknownName
from .model import Container, Network, Topology, TopologyError

# A Linux bridge takes 1,023 ports (BR_MAX_PORTS), and a few are left for the user.
MOST_ON_A_BRIDGE = 1000


def bridge(containers: int = 2, *, image: str | None = None) -> Topology:
    """Return containers ``c0``, ``c1``, … on one Docker bridge.

    Parameters
    ----------
    containers : int
        2 to 1000.
    image : str, optional
        Image of the containers; by default the workload image.

    Raises
    ------
    TopologyError
        The number is out of range.
    """
    if isinstance(containers, bool) or not isinstance(containers, int):
        raise TopologyError(f"containers={containers!r} is not a whole number")
    if not 2 <= containers <= MOST_ON_A_BRIDGE:
        why = "traffic needs two ends" if containers < 2 else "a Linux bridge has 1,023 ports"
        raise TopologyError(
            f"a bridge of {containers} containers cannot be", why=why, fix=f"choose 2 to {MOST_ON_A_BRIDGE} containers"
        )
    members = tuple(Container(f"c{number}", ("net0",)) for number in range(containers))
    return Topology("bridge", members, (Network("net0", "bridge"),), image=image)


TEMPLATES: dict[str, Callable[..., Topology]] = {"bridge": bridge}


def template(name: str, **params: Any) -> Topology:
    """Return the topology of a template.

    Parameters
    ----------
    name : str
        A key of `TEMPLATES`.
    **params
        Handed to the template.

    Raises
    ------
    UnknownName
        There is no such template, or it has no such parameter.
    """
    if name not in TEMPLATES:
        raise UnknownName("template", name, TEMPLATES)
    known = parameters(TEMPLATES[name])
    for param in params:
        if param not in known:
            raise UnknownName(f"parameter of template {name}", param, known)
    return TEMPLATES[name](**params)


def parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of a function's parameters."""
    code = function.__code__
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
