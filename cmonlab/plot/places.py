"""Positions of the nodes of a topology.

The same names always get the same positions, and nodes stay where they are when others come and go. Each host is a
block of rings: containers in a circle around the bridge or device that they are connected to, their hub.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import pandas as pd

from cmonlab.schema.format import natural

from .frame import need

COLUMNS = ("a", "b", "a_kind", "b_kind", "a_host", "b_host")
KINDS = {
    "container": "container",
    "bridge": "bridge",
    "vxlan": "tunnel",
    "geneve": "tunnel",
    "tunnel": "tunnel",
    "host": "host",
    "namespace": "host",
}
# Width and height of a ring, whose radius is 1, and height of the row below it. A ring is open at the bottom, where the
# hub has its name and its other edges.
WIDE, HIGH, BELOW, OPEN = 2.9, 2.4, 0.75, math.radians(60)
_APART = 0.15
Places = dict[str, tuple[float, float]]


class Node(NamedTuple):
    """One node of a topology.

    Attributes
    ----------
    kind : str
        container, bridge, tunnel, host or interface.
    host : str
        Namespace of the host that it is on.
    """

    kind: str
    host: str


class Block(NamedTuple):
    """The area of one host in the drawing.

    Attributes
    ----------
    host : str
        Namespace of the host.
    left, bottom, right, top : float
        Its bounds, in units of a ring's radius.
    rings : list of (str, float, float, list of str)
        Of each ring: the hub (empty if its containers have none), x and y of the centre, the containers.
    """

    host: str
    left: float
    bottom: float
    right: float
    top: float
    rings: list[tuple[str, float, float, list[str]]]


def nodes(links: pd.DataFrame) -> dict[str, Node]:
    """Return the nodes of a topology by name, in natural order.

    Parameters
    ----------
    links : DataFrame
        Columns of ``schema.describe("topology")``.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(links, COLUMNS)
    found: dict[str, Node] = {}
    for end in ("a", "b"):
        for name, kind, host in zip(*(links[end + rest].astype(str) for rest in ("", "_kind", "_host")), strict=True):
            found.setdefault(name, Node(KINDS.get(kind, "interface"), host))
    return {name: found[name] for name in sorted(found, key=natural)}


def places(links: pd.DataFrame, before: Mapping[str, tuple[float, float]] | None = None) -> Places:
    """Return the position of each node of a topology.

    Parameters
    ----------
    links : DataFrame
        Columns of ``schema.describe("topology")``.
    before : mapping of str to (float, float), optional
        What this function returned for an earlier state of the topology. A container that is still at its bridge keeps
        its position; a new one gets the middle of the widest gap.

    Returns
    -------
    dict of str to (float, float)
        x and y of each node, in units of a ring's radius.
    """
    known = nodes(links)
    found: Places = {}
    for block in blocks(links, known):
        for hub, x, y, members in block.rings:
            if hub:
                found[hub] = (x, y)
            for name, angle in _angles(members, _kept(members, hub, before or {})).items():
                found[name] = (x + math.cos(angle), y + math.sin(angle))
        rest = [name for name, node in known.items() if node.host == block.host and name not in found]
        rest.sort(key=lambda name: (known[name].kind, natural(name)))
        step = (block.right - block.left) / max(len(rest), 1)
        for number, name in enumerate(rest):
            found[name] = (block.left + (number + 0.5) * step, block.bottom + BELOW / 2)
    return found


def blocks(links: pd.DataFrame, known: Mapping[str, Node]) -> list[Block]:
    """Return the area of each host, in rows from left to right and from top to bottom.

    Parameters
    ----------
    links : DataFrame
        Columns of ``schema.describe("topology")``.
    known : mapping of str to Node
        Its nodes, from `nodes`.

    Returns
    -------
    list of Block
        In natural order of the hosts.
    """
    rings: dict[str, dict[str, list[str]]] = {
        host: {} for host in sorted({n.host for n in known.values()}, key=natural)
    }
    hubs = _hubs(links, known)
    for name, node in known.items():
        if node.kind == "container":
            rings[node.host].setdefault(hubs[name], []).append(name)
    widest = math.ceil(math.sqrt(1.8 * sum(max(1, len(each)) for each in rings.values())))
    lower = any(_has_rest(known, host, each) for host, each in rings.items())
    found, column, left, top = [], 0, 0.0, 0.0
    for host, each in rings.items():
        columns = max(1, len(each))
        if column and column + columns > widest:
            column, left, top = 0, 0.0, top - HIGH - BELOW * lower - _APART
        placed = [
            (hub, left + WIDE * (number + 0.5), top - HIGH / 2, each[hub])
            for number, hub in enumerate(sorted(each, key=natural))
        ]
        right, bottom = left + WIDE * columns, top - HIGH - BELOW * lower
        found.append(Block(host, left, bottom, right, top, placed))
        column, left = column + columns, right + _APART
    return found


def _has_rest(known: Mapping[str, Node], host: str, rings: Mapping[str, list[str]]) -> bool:
    """Return whether a host has nodes that are neither containers nor hubs."""
    return any(n.host == host and n.kind != "container" and name not in rings for name, n in known.items())


def _hubs(links: pd.DataFrame, known: Mapping[str, Node]) -> dict[str, str]:
    """Return the hub of each container: its first neighbour on the host that is no container; empty without one."""
    neighbours = defaultdict(set)
    for a, b in zip(links["a"].astype(str), links["b"].astype(str), strict=True):
        neighbours[a].add(b)
        neighbours[b].add(a)
    return {
        name: min(
            (n for n in neighbours[name] if known[n].kind != "container" and known[n].host == node.host),
            key=natural,
            default="",
        )
        for name, node in known.items()
        if node.kind == "container"
    }


def _kept(members: list[str], hub: str, before: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Return the angles of the members that were on a ring around this hub before."""
    x, y = before.get(hub, (math.nan, math.nan))
    return {
        name: math.atan2(before[name][1] - y, before[name][0] - x) % math.tau
        for name in members
        if name in before and abs(math.hypot(before[name][0] - x, before[name][1] - y) - 1) < 1e-6
    }


def _angles(members: list[str], kept: Mapping[str, float]) -> dict[str, float]:
    """Return the angle of each container on a ring, clockwise from the lower left."""
    begin, whole = 1.5 * math.pi - OPEN / 2, math.tau - OPEN
    if not kept:
        step = whole / max(len(members), 1)
        return {name: begin - (number + 0.5) * step for number, name in enumerate(members)}
    turned = {name: (begin - angle) % math.tau for name, angle in kept.items()}
    for name in members:
        if name not in turned:
            turned[name] = _widest(sorted(turned.values()), whole)
    return {name: begin - turn for name, turn in turned.items()}


def _widest(turns: list[float], whole: float) -> float:
    """Return the middle of the widest gap between these angles, 0 and the whole."""
    bounds = [0.0, *turns, whole]
    return max(((b - a, (a + b) / 2) for a, b in pairwise(bounds)), key=lambda gap: gap[0])[1]
