"""Which part of a host a dashboard is about: some containers, and what they are connected to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import pandas as pd

#: Where one network meets the others: what lies behind is not followed.
_HOSTS = ("host", "namespace")


def around(topology: pd.DataFrame, containers: Collection[str]) -> set[str]:
    """Return the nodes of some containers: they, what connects them, and the hosts where that is.

    Parameters
    ----------
    topology : pandas.DataFrame
        As `cmonlab.Session.topology` returns it.
    containers : collection of str
    """
    kinds, hosts, beside = {}, {}, defaultdict(set)
    for row in topology.itertuples(index=False):
        a, b = str(row.a), str(row.b)
        kinds |= {a: str(row.a_kind), b: str(row.b_kind)}
        hosts |= {a: str(row.a_host), b: str(row.b_host)}
        beside[a].add(b)
        beside[b].add(a)
    found = set(containers) & kinds.keys()
    ahead = list(found)
    while ahead:
        node = ahead.pop()
        others = () if kinds[node] in _HOSTS else beside[node] - found
        new = {other for other in others if kinds[other] != "container"}
        found |= new
        ahead += new
    places = {hosts[node] for node in found}
    return found | {node for node, kind in kinds.items() if kind in _HOSTS and node in places}


def within(edges: pd.DataFrame, ends: tuple[str, str], nodes: Collection[str]) -> pd.DataFrame:
    """Return the rows of which both ends are nodes of these."""
    a, b = ends
    return edges[edges[a].isin(nodes) & edges[b].isin(nodes)]
