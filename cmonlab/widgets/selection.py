"""What one looks at in detail, and which cells are about it."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from cmonlab.data.analysis.aggregate import device
from cmonlab.data.analysis.names import Names


@dataclass(frozen=True)
class Selection:
    """A direction of traffic, an edge of the graph, or a node of it.

    Attributes
    ----------
    kind : {"pair", "edge", "node"}
    a, b : str
        Source and destination of a pair, the ends of an edge; of a node its name and nothing.
    """

    kind: Literal["pair", "edge", "node"]
    a: str
    b: str = ""

    def __str__(self) -> str:
        return {"pair": f"{self.a} → {self.b}", "edge": f"{self.a} — {self.b}", "node": self.a}[self.kind]

    def chooser(self, names: Names, topology: pd.DataFrame) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
        """Return what marks the cells that are about it: of columns of `cmonlab.data.store.cells` it makes shape (cells,).

        Parameters
        ----------
        names : Names
        topology : pandas.DataFrame
            As `cmonlab.Session.topology` returns it.
        """
        if self.kind == "pair":
            src, dst = _addresses(self.a, names), _addresses(self.b, names)
            return lambda cells: np.isin(cells["saddr"], src) & np.isin(cells["daddr"], dst)
        devices = _devices(self, names, topology)
        return lambda cells: np.isin(device(cells), devices)


def _addresses(name: str, names: Names) -> list[int]:
    """Return the numbers of the addresses that a namespace owns, or of the address that stands for itself."""
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
    """Return ``netns << 32 | ifindex`` of the interfaces at an edge, or of those that belong to a node."""
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
