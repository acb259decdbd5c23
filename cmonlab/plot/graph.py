"""The topology as a graph: how containers, bridges and tunnels are connected, and what crossed each edge."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cmonlab.errors import UnknownName
from cmonlab.schema.format import counted, short

from .edges import CROWD, MEANINGS, NOTHING, SAYS, Ends, by_direction, edges_update, ends_of, middles, path, values
from .frame import empty, frame
from .places import Block, Node, Places, blocks, nodes
from .places import places as place_nodes
from .scale import STEPS
from .style import FAINT, NEUTRAL, PALETTE, WARNING
from .text import plain

TITLE = "Topology"
#: Kind of node → symbol, colour and size in pixels.
SYMBOLS = {
    "container": ("circle", PALETTE[0], 9),
    "bridge": ("square", PALETTE[2], 15),
    "tunnel": ("diamond", PALETTE[3], 14),
    "interface": ("triangle-up", NEUTRAL, 12),
    "host": ("hexagon", PALETTE[1], 17),
}
_MOST_LABELS, _LABEL = 32, 18


def topology(
    links: pd.DataFrame,
    edges: pd.DataFrame | None = None,
    *,
    by: str = "delay",
    places: Places | None = None,
    caption: str = "",
) -> go.Figure:
    """Draw a topology, with each edge coloured by its delay, throughput or loss.

    Parameters
    ----------
    links : DataFrame
        Columns of ``schema.describe("topology")``: the nodes ``a`` and ``b`` of each edge, their kinds and hosts.
    edges : DataFrame, optional
        Columns of ``schema.describe("edges")``: for each direction of an edge its packets, throughput (bit/s), delay
        (ns), drops and loss. Of several windows the last one is drawn. An edge without a row or without packets is
        grey; an edge whose delay is not known, or that lost nothing, is pale blue.
    by : {"delay", "throughput", "loss"}
        What the colours of edges mean. A cross marks each edge on which packets were dropped.
    places : mapping of str to (float, float), optional
        Positions of the nodes, from `cmonlab.plot.places.places`; by default those for this topology.
    caption : str
        Text below the plot.

    Returns
    -------
    Figure
        Nodes have ``customdata`` rows ``("node", name, "")``; edges have ``("edge", a, b)`` at an invisible marker in
        their middle. `topology_update` returns the same traces in the same order.

    Raises
    ------
    UnknownName
        A column is missing, or `by` is something else.
    """
    if by not in MEANINGS:
        raise UnknownName("meaning of colours", by, MEANINGS)
    known = nodes(links)
    if not known:
        return empty(TITLE, "No interface is known, so there is no topology to draw.", caption)
    figure = go.Figure()
    figure.add_scatter(
        mode="markers", hoverinfo="text", showlegend=False, marker={"opacity": 0, "coloraxis": "coloraxis"}
    )
    figure.add_scatter(
        mode="markers",
        hoverinfo="skip",
        name="packets dropped",
        showlegend=True,
        marker={"symbol": "x", "size": 10, "color": WARNING},
    )
    # A shadow in the colour of the paper separates names from the edges behind them.
    shadow = {"shadow": "auto"}
    figure.add_scatter(mode="text", hoverinfo="skip", showlegend=False, textfont=shadow)
    for kind, (symbol, color, size) in SYMBOLS.items():
        figure.add_scatter(
            mode="markers+text",
            hoverinfo="text",
            name=kind,
            cliponaxis=False,
            textfont=shadow,
            marker={"symbol": symbol, "size": size, "color": color},
        )
    update = topology_update(links, edges, by=by, places=places)
    # An update does not change these: the areas of hosts, edges without a value, and the steps of the scale.
    styles = [{"fillcolor": FAINT}, {}, {}, *({"templateitemname": f"step {number}"} for number in range(STEPS))]
    figure.update_layout(shapes=[{"type": "path", "path": NOTHING, "layer": "below", **style} for style in styles])
    figure.update(update)
    rows = len({block.top for block in blocks(links, known)})
    contents = ", ".join(
        counted(sum(n.kind == kind for n in known.values()), kind, f"{kind}s")
        for kind in SYMBOLS
        if any(n.kind == kind for n in known.values())
    )
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    return frame(
        figure,
        title=TITLE,
        subtitle=f"{contents}. {SAYS[by]}",
        caption=caption,
        legend=[["packets dropped", *SYMBOLS]],
        plot_px=max(430, 330 * rows),
    )


def topology_update(
    links: pd.DataFrame,
    edges: pd.DataFrame | None = None,
    *,
    by: str = "delay",
    places: Places | None = None,
) -> dict[str, Any]:
    """Return what changes in a figure of `topology`; ``figure.update(topology_update(…))`` draws it in place.

    Parameters
    ----------
    links, edges, by, places
        As for `topology`. Pass the places on from update to update, so that nodes do not jump:
        ``now = places(links, before)``.

    Returns
    -------
    dict
        ``data``, one entry per trace, and ``layout``. It fits every figure of `topology`, also a ``FigureWidget``.

    Raises
    ------
    UnknownName
        A column is missing, or `by` is something else.
    """
    known = nodes(links)
    hosts = blocks(links, known)
    at = places if places is not None else place_nodes(links)
    change = edges_update(links, edges, at, by=by)
    (trace, crosses), layout = change["data"], change["layout"]
    ends = ends_of(links)
    value = values(ends, by_direction(edges), by)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(value > 0, np.log10(value), layout["coloraxis"]["cmin"])
    middle = middles(ends, known, at)
    marker = {"color": logs, "size": 2 if len(ends) > CROWD else 16}
    trace |= {"x": middle[:, 0], "y": middle[:, 1], "marker": marker, "customdata": [["edge", a, b] for a, b in ends]}
    ground = [f"M{b.left:.4g},{b.bottom:.4g}H{b.right:.4g}V{b.top:.4g}H{b.left:.4g}Z" for b in hosts]
    layout["shapes"][0] = path("".join(ground) if len(hosts) > 1 else "", {"width": 0})
    ranges = (
        {
            "xaxis": (min(b.left for b in hosts), max(b.right for b in hosts)),
            "yaxis": (min(b.bottom for b in hosts), max(b.top for b in hosts)),
        }
        if hosts
        else {}
    )
    layout |= {name: {"range": [low - 0.05, high + 0.05]} for name, (low, high) in ranges.items()}
    data = [trace, crosses, _names(hosts, at, ends), *_node_traces(known, hosts, at, ends)]
    return {"data": data, "layout": layout}


def _names(hosts: list[Block], at: Places, ends: Ends) -> dict[str, Any]:
    """Return the trace of names: of the hosts if there are several, and of the nodes in the middle of rings."""
    shown = [
        (b.left, b.top, f"<b>{plain(short(b.host or 'elsewhere', 2 * _LABEL))}</b>", "bottom right")
        for b in hosts
        if len(hosts) > 1
    ]
    for block in hosts:
        # In the opening of the ring; further down if there are many spokes; next to edges that lead down.
        shown += [
            (x, y - (0.7 if len(names) > 12 else 0.4), plain(short(hub, _LABEL)), _side(hub, at, ends))
            for hub, x, y, names in block.rings
            if hub
        ]
    x, y, text, position = zip(*shown, strict=True) if shown else ((), (), (), ())
    return {"x": x, "y": y, "text": text, "textposition": position}


def _side(hub: str, at: Places, ends: Ends) -> str:
    """Return on which side below a hub no edge crosses its name."""
    x, y = at[hub]
    others = {b if a == hub else a for a, b in ends if hub in (a, b)}
    down = [at[name][0] - x for name in others if at[name][1] < y - 1.05]
    if not down:
        return "bottom center"
    return "bottom right" if max(down) < 0.1 else "bottom left" if min(down) > -0.1 else "bottom center"


def _node_traces(known: Mapping[str, Node], hosts: list[Block], at: Places, ends: Ends) -> list[dict[str, Any]]:
    """Return one trace per kind of node, with labels as far as there is room."""
    centre = {name: (x, y) for block in hosts for _, x, y, names in block.rings for name in names}
    shown = _labelled(known, hosts)
    edges = Counter(name for pair in ends for name in pair)
    found = []
    for kind, (_, _, size) in SYMBOLS.items():
        names = [name for name, node in known.items() if node.kind == kind]
        found.append(
            {
                "x": [at[name][0] for name in names],
                "y": [at[name][1] for name in names],
                "text": [plain(short(name, _LABEL)) if name in shown else "" for name in names],
                "textposition": [_beside(at[name], centre.get(name)) for name in names],
                "marker": {"size": size if len(names) <= CROWD else 0.65 * size},
                "customdata": [["node", name, ""] for name in names],
                "hovertext": [
                    f"<b>{plain(name)}</b><br>{kind}{known[name].host and f' on {plain(known[name].host)}'}"
                    f"<br>{counted(edges[name], 'edge', 'edges')}"
                    for name in names
                ],
                "showlegend": bool(names),
            }
        )
    return found


def _labelled(known: Mapping[str, Node], hosts: list[Block]) -> set[str]:
    """Return the nodes whose names are drawn: on a crowded ring every second, third and so on."""
    rings = [(hub, names) for block in hosts for hub, _, _, names in block.rings]
    found = {name for name, node in known.items() if node.kind != "container"} - {hub for hub, _ in rings}
    for _, names in rings:
        room = min(_MOST_LABELS, 1400 / (7 * min(_LABEL, max(map(len, names))) + 14)) / math.sqrt(len(rings))
        found.update(names[:: math.ceil(len(names) / max(room, 1))])
    return found


def _beside(place: tuple[float, float], centre: tuple[float, float] | None) -> str:
    """Return where the name of a node is drawn: away from the centre of its ring, below it if it has no ring."""
    if centre is None:
        return "bottom center"
    x, y = place[0] - centre[0], place[1] - centre[1]
    if abs(x) < 0.35:
        return "top center" if y > 0 else "bottom center"
    return "middle right" if x > 0 else "middle left"
