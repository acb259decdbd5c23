"""The visible subset of a host: some containers, and what connects them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

import pandas as pd

#: Kinds of nodes that belong to several networks; the search does not continue behind them.
_HOSTS = ("host", "namespace")


def nodes_around(topology: pd.DataFrame, containers: Collection[str]) -> set[str]:
    """Return the nodes of some containers: the containers, what connects them, and their hosts.

    Parameters
    ----------
    topology : pandas.DataFrame
        Columns of `cmonlab.Session.topology`.
    containers : collection of str
        Names of containers; unknown names are ignored.
    """
    kinds: dict[str, str] = {}
    hosts: dict[str, str] = {}
    neighbours: defaultdict[str, set[str]] = defaultdict(set)
    for row in topology.itertuples(index=False):
        a, b = str(row.a), str(row.b)
        kinds |= {a: str(row.a_kind), b: str(row.b_kind)}
        hosts |= {a: str(row.a_host), b: str(row.b_host)}
        neighbours[a].add(b)
        neighbours[b].add(a)
    found = set(containers) & kinds.keys()
    queue = list(found)
    while queue:
        node = queue.pop()
        others = set() if kinds[node] in _HOSTS else neighbours[node] - found
        new = {other for other in others if kinds[other] != "container"}
        found |= new
        queue += new
    own_hosts = {hosts[node] for node in found}
    return found | {node for node, kind in kinds.items() if kind in _HOSTS and node in own_hosts}


def rows_between(table: pd.DataFrame, columns: tuple[str, str], nodes: Collection[str]) -> pd.DataFrame:
    """Return the rows of a table of edges that have both ends in a set of nodes.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per edge.
    columns : (str, str)
        Names of the columns with the ends of an edge.
    nodes : collection of str
        Names of nodes.
    """
    a, b = columns
    return table[table[a].isin(nodes) & table[b].isin(nodes)]
