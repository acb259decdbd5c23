"""The paths of packets from interface to interface, and where they ended."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd
import plotly.graph_objects as go

from cmonlab.schema.format import counted, percent

from .frame import empty, frame, need
from .style import NEUTRAL, PALETTE, WARNING, clear, color
from .text import plain

TITLE = "Paths of packets"
COLUMNS = ("direction", "path", "outcome", "drop_reason")
_ARROW = " → "


def sankey(table: pd.DataFrame, *, caption: str = "", most: int = 12) -> go.Figure:
    """Draw the interfaces that packets passed, in order (Sankey diagram).

    Parameters
    ----------
    table : DataFrame
        Columns ``direction``, ``path``, ``outcome`` and ``drop_reason`` of ``schema.describe("journeys")``, one row
        per packet.
    caption : str
        Text below the plot.
    most : int
        Paths drawn at most, those of the most packets, and as many paths that end in a drop; the subtitle says how
        many are left out.

    Returns
    -------
    Figure
        From left to right. The width of a link is its number of packets, the colour its direction. Dropped packets end
        in a node for their drop reason, in the colour of warnings; packets whose end was not seen end in a grey node.

    Raises
    ------
    UnknownName
        A column is missing.
    """
    need(table, COLUMNS)
    if table.empty:
        return empty(TITLE, "No packet was seen, so there is no path to draw.", caption)
    paths = counted_paths(table)
    dropped = paths["ending"].str.startswith("dropped")
    shown = pd.concat([paths[~dropped].head(most), paths[dropped].head(most)])
    links, directions = _links(shown), list(dict.fromkeys(shown["direction"]))
    place = {node: number for number, node in enumerate(dict.fromkeys([*links["source"], *links["target"]]))}
    figure = go.Figure(
        go.Sankey(
            arrangement="snap",
            node=_nodes(place, links),
            valueformat=",d",
            valuesuffix=" packets",
            link={
                "source": links["source"].map(place),
                "target": links["target"].map(place),
                "value": links["packets"],
                "color": [
                    _tint(node, directions.index(way))
                    for node, way in zip(links["target"], links["direction"], strict=True)
                ],
                "customdata": [plain(way) for way in links["direction"]],
                "hovertemplate": "%{customdata}<br>%{source.customdata} → %{target.customdata}<br>%{value}"
                "<extra></extra>",
            },
        )
    )
    for number, way in enumerate(directions):
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=plain(way),
            hoverinfo="skip",
            marker={"symbol": "square", "size": 11, "color": clear(color(number), 0.5)},
        )
    figure.update_xaxes(visible=False).update_yaxes(visible=False)
    packets, lost = int(paths["packets"].sum()), int(paths.loc[dropped, "packets"].sum())
    subtitle = f"{counted(packets, 'packet', 'packets')}, {percent(lost / packets)} of them dropped by the network."
    if len(paths) > len(shown):
        subtitle += f" Not drawn: {counted(len(paths) - len(shown), 'path', 'paths')} of fewer packets."
    tallest = links.groupby(links["source"].str[0])["source"].nunique().max()
    return frame(
        figure,
        title=TITLE,
        subtitle=subtitle,
        caption=caption,
        legend=[directions],
        plot_px=int(max(300, 70 * tallest)),
    )


def counted_paths(table: pd.DataFrame) -> pd.DataFrame:
    """Return the number of packets of each path and ending, the most frequent first.

    Parameters
    ----------
    table : DataFrame
        As for `sankey`.

    Returns
    -------
    DataFrame
        Columns direction, path, ending and packets. The ending is ``"dropped: "`` and the reason, ``"end not seen"``,
        or empty for packets that were delivered, arrived, merged or split.
    """
    keys = [table[name].astype(str) for name in COLUMNS]
    counts = table.groupby(keys, sort=False).size().rename("packets").reset_index()
    dropped, unfinished = counts["outcome"] == "dropped", counts["outcome"] == "unfinished"
    counts["ending"] = ("dropped: " + counts["drop_reason"]).where(dropped, "").mask(unfinished, "end not seen")
    counts = counts.groupby(["direction", "path", "ending"], sort=False)["packets"].sum().reset_index()
    return counts.sort_values("packets", ascending=False, kind="stable", ignore_index=True)


def _links(paths: pd.DataFrame) -> pd.DataFrame:
    """Return one row per step and direction, with its packets; source and target are (position, name)."""
    rows = []
    for row in paths.itertuples():
        steps = [*enumerate(row.path.split(_ARROW) if row.path else ["unknown"])]
        steps += [(len(steps), row.ending)] if row.ending else []
        # A packet that was seen at one interface only still needs a link.
        steps += [(1, steps[0][1])] if len(steps) == 1 else []
        rows += [(a, b, row.direction, row.packets) for a, b in pairwise(steps)]
    links = pd.DataFrame(rows, columns=["source", "target", "direction", "packets"])
    return links.groupby(["source", "target", "direction"], sort=False)["packets"].sum().reset_index()


def _nodes(place: dict, links: pd.DataFrame) -> dict:
    names = [plain(name) for _, name in place]
    lost = [name.startswith("dropped: ") for _, name in place]
    return {
        "label": [f"<b>{name}</b>" if ends else name for name, ends in zip(names, lost, strict=True)],
        "customdata": names,
        "color": [WARNING if ends else NEUTRAL for ends in lost],
        "pad": 22,
        "thickness": 12,
        "hovertemplate": "%{customdata}<br>%{value}<extra></extra>",
    }


def _tint(target: tuple[int, str], direction: int) -> str:
    if target[1].startswith("dropped: "):
        return clear(WARNING, 0.7)
    return clear(NEUTRAL, 0.5) if target[1] == "end not seen" else clear(PALETTE[direction % len(PALETTE)], 0.5)
