"""What a user selected to see in detail, and which cells belong to it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
import pandas as pd

from cmonlab.data.analysis.aggregate import device
from cmonlab.data.analysis.names import Names

Kind = Literal["pair", "edge", "node"]


@dataclass(frozen=True)
class Selection:
    """A pair (one direction of traffic), an edge of the graph, or a node of it.

    Attributes
    ----------
    kind : {"pair", "edge", "node"}
        What is selected.
    a, b : str
        Source and destination of a pair, both ends of an edge, or the name of a node and an empty string.
    """

    kind: Kind
    a: str
    b: str = ""

    def __str__(self) -> str:
        return {"pair": f"{self.a} → {self.b}", "edge": f"{self.a} — {self.b}", "node": self.a}[self.kind]

    def chooser(self, names: Names, topology: pd.DataFrame) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
        """Return a function that selects the cells that belong to the selection.

        Parameters
        ----------
        names : Names
            Names of interfaces and addresses.
        topology : pandas.DataFrame
            Columns of `cmonlab.Session.topology`.

        Returns
        -------
        callable
            Takes the columns of `cmonlab.data.store.cells`; returns a bool array of shape ``(cells,)``.
        """
        if self.kind == "pair":
            src, dst = _addresses(self.a, names), _addresses(self.b, names)
            return lambda cells: np.isin(cells["saddr"], src) & np.isin(cells["daddr"], dst)
        devices = _devices(self, names, topology)
        return lambda cells: np.isin(device(cells), devices)


def selection_of(clicked: Sequence[str]) -> Selection:
    """Return the selection that a click on a figure reports: kind, a and b.

    Raises
    ------
    ValueError
        There is no such kind.
    """
    kind, *ends = clicked
    if kind not in get_args(Kind):
        raise ValueError(f"a page reports a click on a {kind!r}")
    return Selection(cast(Kind, kind), *ends)


def _addresses(name: str, names: Names) -> list[int]:
    """Return the numbers of a namespace's addresses; `name` may also be an address that no namespace owns."""
    owned = [number for (_, number), owner in names.owners.items() if owner == name]
    if owned:
        return owned
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return []
    if address.version == 4:
        return [int.from_bytes(address.packed, "little")]
    return [number for number, raw in names.addresses6.items() if raw == address.packed]


def _devices(selection: Selection, names: Names, topology: pd.DataFrame) -> np.ndarray:
    """Return ``netns << 32 | ifindex`` (uint64) of the interfaces at both ends of an edge, or of a node."""
    links = names.links
    place = links["namespace"].astype(str) + ":" + links["name"].astype(str)
    if selection.kind == "edge":
        ends = {selection.a, selection.b}
        rows = topology[topology["a"].isin(ends) & topology["b"].isin(ends)]
        wanted = {*rows["a_interface"], *rows["b_interface"]} - {""}
    else:
        wanted = {selection.a, *place[links["namespace"] == selection.a]}
        touching = topology[topology["a"] == selection.a]["a_interface"], topology[topology["b"] == selection.a]
        wanted |= {*touching[0], *touching[1]["b_interface"]} - {""}
    chosen = links[place.isin(wanted)]
    return chosen["netns"].to_numpy(np.uint64) << np.uint64(32) | chosen["ifindex"].to_numpy(np.uint64)
