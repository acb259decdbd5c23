"""Figures of the network: topology, flow matrix and their updates in place."""

import json

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from plotly.utils import PlotlyJSONEncoder

from cmonlab import plot
from cmonlab.errors import UnknownName
from cmonlab.plot import graph, places
from cmonlab.plot.places import blocks, nodes
from cmonlab.plot.scale import STEPS
from tests.support import tables

ONE, MANY, TWO = tables.make_topology(3), tables.make_topology(200), tables.make_topology(5, hosts=2)
EDGES = tables.make_edges(ONE)
PAIRS = tables.make_pairs(12)


def marks(figure, what):
    """Return the customdata rows of nodes or edges."""
    return [
        tuple(row)
        for trace in figure.data
        for row in (trace.customdata if trace.customdata is not None else ())
        if row[0] == what
    ]


def drawn_edges(figure):
    """Return how many edges are drawn without traffic, without a value, and in each step of the scale."""
    return [shape.path.count("L") if shape.visible else 0 for shape in figure.layout.shapes[1:]]


def test_topology_draws_every_node_and_edge_and_identifies_them():
    figure = plot.topology(TWO, tables.make_edges(TWO))
    assert {row[1] for row in marks(figure, "node")} == set(TWO["a"]) | set(TWO["b"])
    assert [row[1:] for row in marks(figure, "edge")] == list(zip(TWO["a"], TWO["b"], strict=True))
    assert sum(drawn_edges(figure)) == len(TWO)


def without_template(figure):
    parts = figure.to_plotly_json()
    return json.dumps([parts["data"], parts["layout"] | {"template": None}], cls=PlotlyJSONEncoder)


@pytest.mark.parametrize(("by", "unit"), [("delay", "µs"), ("throughput", "Mbit/s"), ("loss", "%")])
def test_edge_colour_is_the_step_of_its_value_and_the_colour_bar_has_a_unit(by, unit):
    edges = EDGES.assign(loss=0.0, dropped=0)
    column, factor = {"delay": ("delay_p50_ns", 1e-3), "throughput": ("throughput_bps", 1e-6), "loss": ("loss", 100)}[
        by
    ]
    first = (edges["src"] == "c0") | (edges["dst"] == "c0")
    edges.loc[first, column] = (1.0 if by == "throughput" else 2.0) / factor
    edges.loc[~first, column] = (100.0 if by == "throughput" else 200.0) / factor
    edges["dropped"] = (edges["loss"] > 0) * 1
    figure = plot.topology(ONE, edges, by=by)
    assert unit in figure.layout.coloraxis.colorbar.title.text
    silent, unknown, *steps = drawn_edges(figure)
    assert silent == unknown == 0 and steps[0] == 1 and steps[STEPS - 1] == len(ONE) - 1
    values = 10 ** np.array(figure.data[0].marker.color)
    assert values == pytest.approx([2.0] + [200.0] * (len(ONE) - 1))


def test_edge_without_traffic_is_grey_and_edge_with_drops_has_a_cross():
    edges = EDGES[(EDGES["src"] != "c1") & (EDGES["dst"] != "c1")].assign(dropped=0)
    edges.loc[edges["src"] == "c2", "dropped"] = 3
    figure = plot.topology(ONE, edges)
    assert drawn_edges(figure)[0] == 1
    at = dict(
        zip(map(tuple, figure.data[0].customdata), zip(figure.data[0].x, figure.data[0].y, strict=True), strict=True)
    )
    crosses = list(zip(figure.data[1].x, figure.data[1].y, strict=True))
    assert crosses == [at["edge", "c2", "host:br-1a2b"]]
    assert "no traffic was seen" in figure.data[0].hovertext[1] and "dropped 3" in figure.data[0].hovertext[2]


def test_edge_without_loss_is_not_drawn_as_small_loss():
    figure = plot.topology(ONE, EDGES.assign(loss=0.0, dropped=0), by="loss")
    assert drawn_edges(figure)[:2] == [0, len(ONE)] and figure.layout.coloraxis.showscale is False


def test_edge_with_unknown_delay_is_not_drawn_as_without_traffic():
    figure = plot.topology(ONE, EDGES.assign(delay_p50_ns=np.nan, delay_p99_ns=np.nan, dropped=0))
    assert drawn_edges(figure)[:2] == [0, len(ONE)]
    assert not any("no traffic" in text for text in figure.data[0].hovertext)


def test_places_do_not_depend_on_the_order_of_links():
    assert places(ONE) == places(ONE.sample(frac=1, random_state=1))
    found = places(MANY)
    assert len(set(found.values())) == len(found) == 201


def test_node_keeps_its_place_when_others_come_and_go():
    before = places(tables.make_topology(10))
    more = tables.make_topology(60)
    grown = places(more, before)
    assert all(grown[name] == pytest.approx(before[name]) for name in before)
    ring = sorted(np.arctan2(*(np.array(grown[f"c{i}"]) - grown["host:br-1a2b"])) for i in range(60))
    assert np.diff(ring).min() > 0.4 * (5 * np.pi / 3) / 60
    left = places(more[~more["a"].isin(["c3", "c17"])], grown)
    assert all(left[name] == pytest.approx(grown[name]) for name in left)


def test_hosts_have_separate_areas():
    known = nodes(TWO)
    found, at = blocks(TWO, known), places(TWO)
    assert [block.host for block in found] == ["h0", "h1"] and found[0].right < found[1].left
    for name, node in known.items():
        block = next(block for block in found if block.host == node.host)
        assert block.left <= at[name][0] <= block.right and block.bottom <= at[name][1] <= block.top
    figure = plot.topology(TWO)
    assert figure.layout.shapes[0].path.count("M") == 2
    assert {"<b>h0</b>", "<b>h1</b>"} <= set(figure.data[2].text)


def test_topology_of_two_hundred_has_few_labels_and_complete_hover_texts():
    figure = plot.topology(MANY, tables.make_edges(MANY))
    ring = next(trace for trace in figure.data if trace.name == "container")
    shown = [text for text in ring.text if text]
    assert 12 <= len(shown) <= 32 and len(ring.hovertext) == 200
    assert shown[:2] == ["c0", "c7"]


def test_topology_update_gives_the_same_figure_as_a_new_one():
    figure = plot.topology(ONE, EDGES)
    traces = figure.data
    grown, edges = tables.make_topology(5), tables.make_edges(tables.make_topology(5), seed=7)
    at = places(grown, places(ONE))
    figure.update(plot.topology_update(grown, edges, by="loss", places=at))
    anew = plot.topology(grown, edges, by="loss", places=at)
    assert all(a is b for a, b in zip(figure.data, traces, strict=True))
    assert [trace.to_json() for trace in figure.data] == [trace.to_json() for trace in anew.data]
    assert figure.layout.shapes == anew.layout.shapes
    figure.update(plot.topology_update(ONE, EDGES, places=places(ONE)))
    assert figure.layout.shapes == plot.topology(ONE, EDGES).layout.shapes
    assert figure.layout.coloraxis.colorscale is None


def test_node_names_are_escaped():
    evil = ONE.replace({"c0": "<a href='x'>c0</a>"})
    text = plot.topology(evil, EDGES.replace({"c0": "<a href='x'>c0</a>"})).to_dict()
    texts = str([trace.get("text") for trace in text["data"]]) + str([trace.get("hovertext") for trace in text["data"]])
    assert "<a" not in texts and "&lt;a" in texts


def test_topology_without_links_or_edges_is_drawn():
    assert [n.text for n in plot.topology(ONE.head(0)).layout.annotations if n.name == "empty"]
    figure = plot.topology(ONE)
    assert drawn_edges(figure)[0] == len(ONE) and figure.layout.coloraxis.showscale is False


def test_unknown_meaning_of_colours_is_refused():
    for call in (
        lambda: plot.topology(ONE, EDGES, by="delays"),
        lambda: plot.topology_update(ONE, EDGES, by="delays"),
        lambda: plot.flow_matrix(PAIRS, by="delays"),
    ):
        with pytest.raises(UnknownName, match="did you mean 'delay'"):
            call()
    with pytest.raises(UnknownName, match="a_kind"):
        plot.topology(ONE.drop(columns="a_kind"))


def test_matrix_cells_are_the_pairs_in_natural_order():
    figure = plot.flow_matrix(PAIRS)
    names = [f"c{i}" for i in range(12)]
    ground, cells, _ = figure.data
    assert list(cells.x) == list(cells.y) == names
    z = np.array(cells.z)
    for row in PAIRS.itertuples():
        at = names.index(row.src), names.index(row.dst)
        assert 10 ** z[at] == pytest.approx(row.one_way_delay_p50_ns / 1e3)
        assert f"{row.packets_sent:,} packets sent" in cells.text[at[0]][at[1]]
    assert np.isfinite(z).sum() == len(PAIRS)
    assert (np.array(ground.z)[~np.isfinite(z)] == 0).all() and np.isnan(np.array(ground.z)[np.isfinite(z)]).all()


def test_matrix_has_own_colours_for_loss_and_for_pairs_that_never_arrived():
    table = PAIRS.copy()
    table.loc[0, ["lost", "packets_arrived"]] = [5, table.loc[0, "packets_sent"] - 5]
    table.loc[1, ["lost", "packets_arrived", "one_way_delay_p50_ns"]] = [table.loc[1, "packets_sent"], 0, np.nan]
    ground, _, crosses = plot.flow_matrix(table).data
    assert (list(crosses.y), list(crosses.x)) == ([table.loc[0, "src"]], [table.loc[0, "dst"]])
    assert (np.array(ground.z) == 2).sum() == 1
    ground, cells, crosses = plot.flow_matrix(table, by="loss").data
    z = 10 ** np.array(cells.z)
    assert sorted(z[np.isfinite(z)]) == pytest.approx([500 / table.loc[0, "packets_sent"], 100.0])
    assert (np.array(ground.z) == 1).sum() == len(table) - 2 and len(crosses.x) == 0


def test_matrix_combines_windows():
    later = PAIRS.assign(
        start_ns=10**9, packets_arrived=PAIRS["packets_arrived"] * 3, throughput_bps=3e6, one_way_delay_p50_ns=9e6
    )
    table = pd.concat([PAIRS.assign(throughput_bps=1e6), later], ignore_index=True)
    z = np.array(plot.flow_matrix(table, by="throughput").data[1].z)
    assert np.unique(10 ** z[np.isfinite(z)]) == pytest.approx([2.0])
    z = np.array(plot.flow_matrix(table).data[1].z)
    assert np.unique(10 ** z[np.isfinite(z)]) == pytest.approx([9e3])


def test_matrix_of_two_hundred_has_some_names_on_the_axes_and_all_in_cells():
    table = tables.make_pairs(200, share=0.02)
    figure = plot.flow_matrix(table)
    assert len(figure.layout.xaxis.tickvals) <= 40 and len(figure.data[1].x) == 200
    assert sum(bool(text) for row in figure.data[1].text for text in row) == len(table)
    fewer = plot.flow_matrix_update(table.head(5), names=list(figure.data[1].x))
    figure.update(fewer)
    assert np.isfinite(np.array(figure.data[1].z)).sum() == 5 and len(figure.data[1].x) == 200


def test_theme_is_changed_by_the_template_only():
    for figure in (plot.topology(ONE, EDGES), plot.flow_matrix(PAIRS)):
        own, scale = without_template(figure), figure.layout.template.layout.coloraxis.colorscale
        assert plot.dark(figure) is figure
        assert figure.layout.template.layout.coloraxis.colorscale != scale
        assert without_template(figure) == own
        assert plot.light(figure).layout.template.layout.coloraxis.colorscale == scale
    names = [shape.templateitemname for shape in plot.topology(ONE, EDGES).layout.shapes if shape.templateitemname]
    assert names == [shape.name for shape in plot.template("dark").layout.shapes] and len(names) == STEPS


def test_every_kind_of_node_has_its_own_symbol():
    assert len({symbol for symbol, *_ in graph.SYMBOLS.values()}) == len(graph.SYMBOLS)
    assert isinstance(plot.topology(TWO), go.Figure)
