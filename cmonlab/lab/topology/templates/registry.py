"""Templates by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cmonlab.errors import UnknownName

from ..model import Topology
from .networks import bridge, host, macvlan, vxlan

#: Name → function that makes the topology.
TEMPLATES: dict[str, Callable[..., Topology]] = {"bridge": bridge, "host": host, "macvlan": macvlan, "vxlan": vxlan}


def template(name: str, **params: Any) -> Topology:
    """Return a topology, by the name of its template.

    Parameters
    ----------
    name : str
        A key of `TEMPLATES`.
    **params
        Parameters of the template.

    Returns
    -------
    Topology

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
