"""The topology as a graph: what is connected to what, and how each edge fares."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from cmonlab.errors import UnknownName
from cmonlab.schema.format import count, counted, digits, duration, percent, short

from .frame import empty, frame, need
from .places import Block, Node, Places, blocks, nodes
from .places import places as place_nodes
from .scale import STEPS, bar, span, step_of
from .style import CLEAN, FAINT, LOSS, NEUTRAL, PALETTE, WARNING, loss_color
from .text import plain

TITLE = "Topology"
EDGES = ("src", "dst", "packets", "throughput_bps", "delay_p50_ns", "delay_p99_ns", "dropped", "loss")
#: What an edge's colour means: title of the colour bar, and of both ways' values the one that is drawn.
MEANINGS = {
    "delay": "Delay, p50 of the slower way (µs, logarithmic)",
    "throughput": "Throughput, both ways (Mbit/s, logarithmic)",
    "loss": "Loss, the worse way (%, logarithmic)",
}
SYMBOLS = {
    "container": ("circle", PALETTE[0], 9),
    "bridge": ("square", PALETTE[2], 15),
    "tunnel": ("diamond", PALETTE[3], 14),
    "interface": ("triangle-up", NEUTRAL, 12),
    "host": ("hexagon", PALETTE[1], 17),
}
#: What edges without a value look like.
SAYS = {
    "delay": "Grey: no traffic was seen. Pale blue: traffic whose delay is not known.",
    "throughput": "Grey: no traffic was seen.",
    "loss": "Grey: no traffic was seen. Pale blue: nothing was lost.",
}
_MOST_LABELS, _LABEL = 32, 18
NOTHING = "M0,0Z"  # a path that draws nothing
CROWD = 64  # nodes and edges beyond which they are drawn smaller


def topology(
    links: pd.DataFrame,
    edges: pd.DataFrame | None = None,
    *,
    by: str = "delay",
    places: Places | None = None,
    caption: str = "",
) -> go.Figure:
    """Draw a topology; each edge coloured by what crossing it took, how much passed, or what was lost.

    Parameters
    ----------
    links : DataFrame
        Columns of ``schema.TABLES["topology"]``.
    edges : DataFrame, optional
        Columns of ``schema.TABLES["edges"]``; of several windows the last one is drawn. An edge without a row, or
        without packets, is grey; pale blue is one that carried packets of which no delay is known, or that lost none.
    by : {"delay", "throughput", "loss"}
        What colours mean; a cross marks an edge on which packets were dropped, whatever they mean.
    places : mapping of str to (float, float), optional
        From `places`; by default those of this topology alone.
    caption : str
        Drawn below.

    Returns
    -------
    Figure
        Nodes carry ``customdata`` rows ``("node", name, "")``, edges ``("edge", a, b)`` at an invisible marker in
        their middle. `topology_update` gives what changes; it is the same traces, in the same order.

    Raises
    ------
    UnknownName
        A column is missing, or colours cannot mean that.
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
    # A shadow in the colour of the paper keeps names apart from the edges behind them.
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
    # What an update leaves as it is: the ground, edges without a value, and the steps of the scale, below everything.
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
) -> dict:
    """Return what changes in a figure of `topology`: ``figure.update(topology_update(…))`` draws it in place.

    Parameters
    ----------
    links, edges, by, places
        As for `topology`. Keep the places: ``now = places(links, before)``.

    Returns
    -------
    dict
        ``data``, one entry a trace, and ``layout``; it fits any figure that `topology` made, a ``FigureWidget`` too.

    Raises
    ------
    UnknownName
        A column is missing, or colours cannot mean that.
    """
    known = nodes(links)
    hosts = blocks(links, known)
    at = places if places is not None else place_nodes(links)
    change = edges_update(links, edges, at, by=by)
    (told, crosses), layout = change["data"], change["layout"]
    ends = _ends(links)
    value = _values(ends, _ways(edges), by)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(value > 0, np.log10(value), layout["coloraxis"]["cmin"])
    middles = _middles(ends, known, at)
    marker = {"color": logs, "size": 2 if len(ends) > CROWD else 16}
    told |= {"x": middles[:, 0], "y": middles[:, 1], "marker": marker, "customdata": [["edge", a, b] for a, b in ends]}
    ground = [f"M{b.left:.4g},{b.bottom:.4g}H{b.right:.4g}V{b.top:.4g}H{b.left:.4g}Z" for b in hosts]
    layout["shapes"][0] = _path("".join(ground) if len(hosts) > 1 else "", {"width": 0})
    ranges = (
        {
            "xaxis": (min(b.left for b in hosts), max(b.right for b in hosts)),
            "yaxis": (min(b.bottom for b in hosts), max(b.top for b in hosts)),
        }
        if hosts
        else {}
    )
    layout |= {name: {"range": [low - 0.05, high + 0.05]} for name, (low, high) in ranges.items()}
    data = [told, crosses, _names(hosts, at, ends), *_node_traces(known, hosts, at, ends)]
    return {"data": data, "layout": layout}


def edges_update(
    links: pd.DataFrame,
    edges: pd.DataFrame | None,
    places: Places,
    *,
    by: str = "delay",
    texts: bool = True,
    wide: tuple[float, float] | None = None,
) -> dict:
    """Return what changes in a figure of `topology` while no link comes or goes: colours, crosses and hover texts.

    Parameters
    ----------
    links, edges, by
        As for `topology`.
    places : mapping of str to (float, float)
        Where the nodes are drawn now.
    texts : bool
        Whether hover texts change too, which are most of the work.
    wide : (float, float), optional
        Ends that the scale of colours has at least, as ``cmin`` and ``cmax`` of an update before: so that colours
        keep their meaning for a while.

    Returns
    -------
    dict
        As of `topology_update`, but of the first two traces, and of the layout without the nodes' part.

    Raises
    ------
    UnknownName
        A column is missing, or colours cannot mean that.
    """
    known, ends, ways = nodes(links), _ends(links), _ways(edges)
    value = _values(ends, ways, by)
    low, high = span(value)
    if wide is not None:
        low, high = min(low, wide[0]), max(high, wide[1])
    axis = bar(MEANINGS[by], low, high) | {"colorscale": LOSS if by == "loss" else None}
    # Without a value there is nothing to read off a colour bar.
    axis["showscale"] = bool((value > 0).any())
    busy = np.array([any(_busy(ways.get(way)) for way in ((a, b), (b, a))) for a, b in ends], bool)
    lines = np.array([(*places[a], *places[b]) for a, b in ends]).reshape(-1, 4)
    lost = [any(_busy(ways.get(way)) and ways[way]["dropped"] > 0 for way in ((a, b), (b, a))) for a, b in ends]
    crosses = _middles(ends, known, places)[np.array(lost, bool)]
    told = {}
    if texts:
        kinds = links["kind"].astype(str)
        told["hovertext"] = [_told(a, b, kind, ways) for (a, b), kind in zip(ends, kinds, strict=True)]
    return {
        "data": [told, {"x": crosses[:, 0], "y": crosses[:, 1]}],
        "layout": {"coloraxis": axis, "shapes": [{}, *_edge_shapes(lines, value, busy, (low, high), by)]},
    }


def _ends(links: pd.DataFrame) -> list[tuple[str, str]]:
    return [(str(a), str(b)) for a, b in zip(links["a"], links["b"], strict=True)]


def _ways(edges: pd.DataFrame | None) -> dict[tuple[str, str], dict]:
    """Return the last row of each way."""
    if edges is None:
        return {}
    need(edges, EDGES)
    columns = [edges[name].tolist() for name in EDGES]
    return {(str(row[0]), str(row[1])): dict(zip(EDGES, row, strict=True)) for row in zip(*columns, strict=True)}


def _values(ends: list[tuple[str, str]], ways: Mapping, by: str) -> np.ndarray:
    """Return each edge's value in the unit of the colour bar, NaN without traffic."""
    if by not in MEANINGS:
        raise UnknownName("meaning of colours", by, MEANINGS)
    column, unit = {"delay": ("delay_p50_ns", 1e-3), "throughput": ("throughput_bps", 1e-6), "loss": ("loss", 100.0)}[
        by
    ]
    found = np.full(len(ends), np.nan)
    for number, (a, b) in enumerate(ends):
        rows = [ways[way] for way in ((a, b), (b, a)) if way in ways]
        values = [row[column] * unit for row in rows if _busy(row) and math.isfinite(row[column])]
        if values:
            found[number] = sum(values) if by == "throughput" else max(values)
    return found


def _busy(row: Mapping | None) -> bool:
    """Tell whether anything passed, or should have."""
    return row is not None and (row["packets"] > 0 or row["dropped"] > 0)


def _edge_shapes(
    lines: np.ndarray, value: np.ndarray, busy: np.ndarray, ends: tuple[float, float], by: str
) -> list[dict]:
    """Return the edges without traffic, those without a value, and those of each step of the scale."""
    width = 2.5 if len(lines) <= CROWD else 1.5
    # No loss is no little loss, and no traffic is neither.
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(value > 0, np.log10(value), np.nan if by == "loss" else ends[0])
    known = np.isfinite(value) & np.isfinite(logs)
    step = np.where(known, step_of(np.nan_to_num(logs), *ends), -1)
    found = [
        _path(_lines(lines[~known & ~busy]), {"color": NEUTRAL, "width": width / 2}),
        _path(_lines(lines[~known & busy]), {"color": CLEAN, "width": width}),
    ]
    for number in range(STEPS):
        color = loss_color(number / (STEPS - 1)) if by == "loss" else None
        found.append(_path(_lines(lines[step == number]), {"width": width, "color": color}))
    return found


def _path(path: str, line: dict) -> dict:
    return {"path": path or NOTHING, "visible": bool(path), "line": line}


def _lines(lines: np.ndarray) -> str:
    return "".join(f"M{ax:.4g},{ay:.4g}L{bx:.4g},{by:.4g}" for ax, ay, bx, by in lines)


def _middles(ends: list[tuple[str, str]], known: Mapping[str, Node], at: Places) -> np.ndarray:
    """Return where edges are pointed at and crossed, shape (edges, 2)."""
    lines = np.array([(*at[a], *at[b]) for a, b in ends]).reshape(-1, 4)
    # Spokes of a large ring lie closer than plotly tells points apart (3 px), but not near their containers.
    outward = np.array([(known[a].kind == "container") - 1.0 * (known[b].kind == "container") for a, b in ends])
    share = (0.5 - 0.33 * outward * (len(ends) > CROWD))[:, None]
    return lines[:, :2] * (1 - share) + lines[:, 2:] * share


def _told(a: str, b: str, kind: str, ways: Mapping) -> str:
    """Return what there is to know of an edge, way by way."""
    text = [f"<b>{plain(a)} – {plain(b)}</b> ({plain(kind)})"]
    for src, dst in ((a, b), (b, a)):
        row = ways.get((src, dst))
        if not _busy(row):
            text.append(f"→ {plain(dst)}: no traffic was seen")
            continue
        text.append(
            f"→ {plain(dst)}: {counted(row['packets'], 'packet', 'packets')}, "
            f"{digits(row['throughput_bps'] / 1e6)} Mbit/s<br>   p50 {duration(row['delay_p50_ns'])}, "
            f"p99 {duration(row['delay_p99_ns'])}, dropped {count(row['dropped'])} ({percent(row['loss'])})"
        )
    return "<br>".join(text)


def _names(hosts: list[Block], at: Places, ends: list[tuple[str, str]]) -> dict:
    """Return the names of hosts, where there is more than one, and of what containers stand around."""
    shown = [
        (b.left, b.top, f"<b>{plain(short(b.host or 'elsewhere', 2 * _LABEL))}</b>", "bottom right")
        for b in hosts
        if len(hosts) > 1
    ]
    for block in hosts:
        # Where the ring is open, further down where there are many spokes, and beside what leads down from there.
        shown += [
            (x, y - (0.7 if len(names) > 12 else 0.4), plain(short(hub, _LABEL)), _side(hub, at, ends))
            for hub, x, y, names in block.rings
            if hub
        ]
    x, y, text, position = zip(*shown, strict=True) if shown else ((), (), (), ())
    return {"x": x, "y": y, "text": text, "textposition": position}


def _side(hub: str, at: Places, ends: list[tuple[str, str]]) -> str:
    """Return on which side of the line below a hub its name is not crossed by an edge that leads down."""
    x, y = at[hub]
    others = {b if a == hub else a for a, b in ends if hub in (a, b)}
    down = [at[name][0] - x for name in others if at[name][1] < y - 1.05]
    if not down:
        return "bottom center"
    return "bottom right" if max(down) < 0.1 else "bottom left" if min(down) > -0.1 else "bottom center"


def _node_traces(known: Mapping[str, Node], hosts: list[Block], at: Places, ends: list) -> list[dict]:
    """Return the nodes of each kind, with labels as far as there is room."""
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
    """Return the nodes whose names stand beside them: of a crowded ring each so-manyth."""
    rings = [(hub, names) for block in hosts for hub, _, _, names in block.rings]
    found = {name for name, node in known.items() if node.kind != "container"} - {hub for hub, _ in rings}
    for _, names in rings:
        room = min(_MOST_LABELS, 1400 / (7 * min(_LABEL, max(map(len, names))) + 14)) / math.sqrt(len(rings))
        found.update(names[:: math.ceil(len(names) / max(room, 1))])
    return found


def _beside(place: tuple[float, float], centre: tuple[float, float] | None) -> str:
    """Return on which side of a node its name stands: away from the centre of its ring, below what has none."""
    if centre is None:
        return "bottom center"
    x, y = place[0] - centre[0], place[1] - centre[1]
    if abs(x) < 0.35:
        return "top center" if y > 0 else "bottom center"
    return "middle right" if x > 0 else "middle left"
