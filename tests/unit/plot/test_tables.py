"""Figures of delays, paths and drops: what they draw is what the table says."""

import numpy as np
import pandas as pd
import pytest

from cmonlab import plot
from cmonlab.errors import UnknownName
from cmonlab.plot.physical import fit
from cmonlab.plot.ridges import density
from cmonlab.plot.scale import colors, span, ticks
from cmonlab.plot.style import WARNING
from cmonlab.schema.format import natural
from tests.support import tables
from tests.support.figures import XYZ, caption_of

CAPTION = "n = 600 complete journeys · 7 lost events · tracing overhead 2 %"
HOPS = tables.make_hops(600)
JOURNEYS = tables.make_journeys(HOPS)
DELAYS, TAIL, TIMELINE = tables.make_one_way_delay(JOURNEYS), tables.make_tail(), tables.make_timeline()
DROPS = tables.make_drops(60).assign(journey=np.arange(60))
#: Function, table, titles of axes and colour bar.
EVERY = {
    "ridgeline": (plot.ridgeline, HOPS, ["µs"]),
    "heatmap": (plot.heatmap, JOURNEYS, ["(s)", "µs", "count"]),
    "timeline": (plot.timeline, TIMELINE, ["(s)", "µs", "bit/s", "packets", "ms"]),
    "sankey": (plot.sankey, JOURNEYS, []),
    "drop_map": (plot.drop_map, DROPS, ["count"]),
    "one_way_delay": (plot.one_way_delay, DELAYS, ["µs"]),
    "tail": (plot.tail, TAIL, ["µs"]),
    "topology": (plot.topology, tables.make_topology(3), ["µs"]),
    "flow_matrix": (plot.flow_matrix, tables.make_pairs(4), ["µs"]),
}


@pytest.mark.parametrize("name", EVERY)
def test_figure_has_its_caption_and_units(name):
    function, table, units = EVERY[name]
    figure = function(table, caption=CAPTION)
    assert caption_of(figure).replace("<br>", " ") == CAPTION
    layout = figure.to_dict()["layout"]
    titles = str([axis.get("title") for key, axis in layout.items() if "axis" in key] + [layout.get("coloraxis")])
    assert figure.layout.title.text and all(unit in titles for unit in units)


@pytest.mark.parametrize("name", EVERY)
def test_empty_table_gives_a_sentence_and_the_caption(name):
    function, table, _ = EVERY[name]
    figure = function(table.head(0), caption=CAPTION)
    sentences = {note.name: note.text for note in figure.layout.annotations}
    assert not figure.data and sentences["empty"].endswith(".")
    assert sentences["caption"].replace("<br>", " ") == CAPTION


@pytest.mark.parametrize("name", EVERY)
def test_missing_column_is_named_and_the_theme_is_the_template_only(name):
    function, table, _ = EVERY[name]
    with pytest.raises(UnknownName, match="unknown column"):
        function(table.drop(columns=table.columns))
    figure = function(table)
    assert plot.dark(figure).layout.paper_bgcolor is None
    assert figure.layout.template.layout.paper_bgcolor == plot.template("dark").layout.paper_bgcolor


@pytest.mark.parametrize("name", EVERY)
def test_figure_is_laid_out_for_a_column(name):
    function, table, _ = EVERY[name]
    for figure in (function(table, caption=CAPTION), function(table.head(0))):
        fitted = fit(figure, 377)
        assert fitted.layout.width == 377 and 150 < fitted.layout.height < 1_600
        assert fitted.layout.title.text is None and CAPTION not in caption_of(fitted).replace("<br>", " ")


@pytest.mark.parametrize("name", ["ridgeline", "heatmap", "timeline", "sankey", "drop_map", "one_way_delay", "tail"])
def test_names_from_outside_are_escaped(name):
    function, table, _ = EVERY[name]
    evil = "<a href='x'>c1</a>"
    columns = {"direction", "segment", "place", "reason", "path"} & set(table.columns)
    text = function(table.assign(**dict.fromkeys(columns, evil)), caption=evil).to_json()
    assert "<a" not in text and "\\u003ca" not in text
    assert "lt;a" in text


def test_drop_map_says_that_no_packet_was_dropped():
    assert [note.text for note in plot.drop_map(DROPS.head(0)).layout.annotations] == ["No packet was dropped."]


def test_ridge_is_the_density_of_its_segment_with_a_line_at_the_median():
    figure = plot.ridgeline(HOPS)
    ridges = [trace for trace in figure.data if trace.fill == "toself"]
    marks = [trace for trace in figure.data if trace.hoverinfo == "skip" and trace.x[0] is not None]
    assert len(ridges) == len(marks) == 14
    for ridge, mark in zip(ridges, marks, strict=True):
        times = HOPS.loc[HOPS["segment"] == ridge.name, "segment_ns"]
        assert mark.x[0] == mark.x[1] == pytest.approx(times.median() / 1e3)
        x, y = np.array(ridge.x), np.array(ridge.y)
        assert x.min() < times.min() / 1e3 and x.max() > times.max() / 1e3
        assert y.max() - y.min() == pytest.approx(1.5)
    assert {trace.name for trace in figure.data if trace.showlegend is not False} == {
        "processing",
        "queueing",
        "softirq",
        "scheduling",
    }


def test_densities_integrate_to_one_and_are_at_the_times():
    times = np.exp(np.random.default_rng(1).normal(8, 0.5, 5_000))
    x, y = density(times)
    assert np.trapezoid(y, x) == pytest.approx(1, abs=1e-3)
    assert x[y.argmax()] == pytest.approx(np.log10(np.exp(8)), abs=0.05)
    x, y = density(np.full(10, 500))
    assert x[y.argmax()] == pytest.approx(np.log10(500), abs=0.01)


@pytest.mark.parametrize("share", [False, True])
def test_heat_cells_count_every_packet_once(share):
    figure = plot.heatmap(JOURNEYS, share=share, slice_s=0.5)
    for panel, (_, rows) in zip(figure.data, JOURNEYS.groupby("direction", observed=True, sort=False), strict=True):
        value = np.nan_to_num(10 ** np.array(panel.z, float))
        assert panel.x[1] - panel.x[0] == pytest.approx(0.5)
        if share:
            sums = value.sum(axis=0)
            np.testing.assert_allclose(sums[sums > 0], 100)
            continue
        assert value.sum() == pytest.approx(len(rows))
        delay = rows["one_way_delay_ns"].to_numpy() / 1e3
        np.testing.assert_allclose(value.sum(axis=1), np.histogram(delay, np.array(panel.y))[0], atol=1e-9)


def test_timeline_draws_the_windows_and_leaves_gaps():
    table = TIMELINE.copy()
    table.loc[4, ["one_way_delay_p50_ns", "one_way_delay_p99_ns"]] = np.nan
    figure = plot.timeline(table)
    rows = table[table["direction"] == table["direction"].iloc[0]]
    p50, p99, rate, drops = figure.data[:4]
    np.testing.assert_allclose(p50.y, rows["one_way_delay_p50_ns"] / 1e3)
    np.testing.assert_allclose(p99.y, rows["one_way_delay_p99_ns"] / 1e3)
    np.testing.assert_allclose(rate.y, rows["throughput_bps"])
    assert list(drops.y) == rows["dropped"].to_list() and np.isnan(p50.y).sum() == 1 and not p50.connectgaps
    np.testing.assert_allclose(p50.x, rows["time_s"] + 0.05)
    assert sum(figure.data[-1].y) == pytest.approx(table.drop_duplicates("start_ns")["trace_gap_ns"].sum() / 1e6)


def test_timeline_says_what_is_known_about_lost_events():
    assert "0 lost events" in plot.timeline(TIMELINE).layout.title.subtitle.text
    lost = plot.timeline(TIMELINE.assign(lost_events=np.nan)).layout.title.subtitle.text.replace("<br>", " ")
    assert "in which windows is not known" in lost


def test_sankey_widths_are_packets_and_drops_end_in_their_own_node():
    table = JOURNEYS.astype({"path": str, "outcome": str, "drop_reason": str}).copy()
    table.loc[:9, ["path", "outcome", "drop_reason"]] = ["eth0 → veth", "dropped", "NETFILTER_DROP"]
    flows = plot.sankey(table).data[0]
    names, link = list(flows.node.customdata), flows.link
    into = pd.Series(link.value).groupby([names[i] for i in link.target]).sum()
    assert into["dropped: NETFILTER_DROP"] == 10
    assert flows.node.color[names.index("dropped: NETFILTER_DROP")] == WARNING
    first = [v for v, source in zip(link.value, link.source, strict=True) if source == names.index("eth0")]
    assert sum(first) == len(table)
    # Left to right only: plotly draws circles badly.
    assert all(source < target for source, target in zip(link.source, link.target, strict=True))


def test_sankey_says_how_many_paths_it_leaves_out():
    table = JOURNEYS.assign(path=[f"eth0 → veth{i % 40}" for i in range(len(JOURNEYS))])
    assert "Not drawn" in plot.sankey(table, most=5).layout.title.subtitle.text.replace("<br>", " ")


def test_drop_map_counts_by_place_and_reason_and_leads_to_a_journey():
    cells = plot.drop_map(DROPS).data[0]
    counts = DROPS.groupby(["place", "reason"], observed=True)["journey"].agg(["size", "min"])
    for (place, reason), row in counts.iterrows():
        at = list(cells.y).index(place), list(cells.x).index(reason)
        assert 10 ** np.array(cells.z)[at] == pytest.approx(row["size"])
        assert cells.customdata[at[0]][at[1]] == row["min"] and f"journey {row['min']}" in cells.hovertext[at[0]][at[1]]
    assert np.isfinite(np.array(cells.z, float)).sum() == len(counts)


def test_one_way_delay_pieces_reach_from_quantile_to_quantile():
    figure = plot.one_way_delay(DELAYS)
    for trace, (low, high) in zip(
        figure.data, [("min", "p50"), ("p50", "p90"), ("p90", "p99"), ("p99", "p999"), ("p999", "max")], strict=False
    ):
        ends = np.array(trace.x, float).reshape(-1, 3)
        np.testing.assert_allclose(ends[:, 0], DELAYS[f"{low}_ns"] / 1e3)
        np.testing.assert_allclose(ends[:, 1], DELAYS[f"{high}_ns"] / 1e3)
    p50, p99 = figure.data[5:7]
    np.testing.assert_allclose(p50.x - p50.error_x.arrayminus, DELAYS["p50_low_ns"] / 1e3)
    np.testing.assert_allclose(p99.x + p99.error_x.array, DELAYS["p99_high_ns"] / 1e3)


@pytest.mark.parametrize("most", [2, 20])
def test_tail_leads_from_the_median_to_the_quantile_without_a_gap(most):
    figure = plot.tail(TAIL, most=most)
    for panel, (_, rows) in zip(
        [trace for trace in figure.data if trace.type == "bar"], TAIL.groupby("direction", sort=False), strict=True
    ):
        base, length = np.array(panel.base, float), np.array(panel.x, float)
        np.testing.assert_allclose((base + length)[:-2], base[1:-1])
        assert length[0] * 1e3 == pytest.approx(rows["typical_ns"].sum())
        assert length[-1] * 1e3 == pytest.approx(rows["tail_ns"].sum()) and base[-1] == 0
        assert (base + length)[-2] == pytest.approx(length[-1])
        assert len(length) == 2 + min(len(rows), most + 1)


def test_natural_order_sorts_numbers_by_value():
    assert sorted(["c10", "c2", "b", "c", "2", "h1-c3", "h1-c20", "²"], key=natural) == [
        "2",
        "b",
        "c",
        "c2",
        "c10",
        "h1-c3",
        "h1-c20",
        "²",
    ]


@pytest.mark.parametrize(("theme", "paper"), [("light", 1.0), ("dark", 0.0093)])
def test_scale_contrasts_with_its_background_and_larger_values_contrast_more(theme, paper):
    channels = np.array([[int(part) for part in shade[4:-1].split(",")] for shade in colors(theme)]) / 255
    light = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4) @ XYZ[1]
    contrast = (np.maximum(light, paper) + 0.05) / (np.minimum(light, paper) + 0.05)
    assert contrast.min() > 2.5 and (np.diff(contrast) > 0).all()


def test_scales_have_round_ends_around_all_values():
    assert span([]) == (0.0, 1.0) == span([0, np.nan])
    low, high = span([3, 4_200])
    assert (10**low, 10**high) == pytest.approx((2, 5_000))
    assert ticks(low, high)[1] == ["10", "100", "1,000"]
    assert ticks(*span([3, 60]))[1] == ["2", "5", "10", "20", "50", "100"]
    low, high = span([5])
    assert 10**low == pytest.approx(5) and high > low
