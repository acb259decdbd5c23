"""Figures: what they draw is what the table says."""

import math

import numpy as np
import pandas as pd
import pytest

from cmonlab import plot
from cmonlab.errors import CmonlabError, UnknownName
from cmonlab.plot.style import PALETTE, WARNING, fill, stroke
from tests.support import tables
from tests.support.figures import caption_of

CAPTION = "n = 600 complete journeys · 7 lost events · tracing overhead 2 %"
HOPS = tables.make_hops(600)
BREAKDOWN = tables.make_breakdown(HOPS)
BY_KIND = tables.make_kinds(HOPS)
EVERY = {
    "breakdown": (plot.breakdown, BREAKDOWN),
    "breakdown_by_kind": (plot.breakdown, BY_KIND),
    "ecdf": (plot.ecdf, HOPS),
    "waterfall": (plot.waterfall, HOPS[HOPS["journey"] == 17]),
    "throughput": (plot.throughput, tables.make_throughput()),
    "ledger": (plot.ledger, tables.make_ledger()),
    "drops": (plot.drops, tables.make_drops()),
    "overhead": (plot.overhead, tables.make_overhead()),
}
SCHEMA = {"ecdf": "hops", "waterfall": "hops"}


@pytest.mark.parametrize("name", EVERY)
def test_figure_has_its_caption_and_axis_titles_with_units(name):
    function, table = EVERY[name]
    figure = function(table, caption=CAPTION)
    assert caption_of(figure).replace("<br>", " ") == CAPTION
    assert figure.layout.title.text
    unit = {"throughput": "(s)", "ledger": "(count)", "drops": "(count)", "overhead": "(%)"}.get(name, "µs")
    assert unit in figure.layout.xaxis.title.text
    if name in ("ecdf", "throughput"):
        assert {"ecdf": "(%)", "throughput": "(bit/s)"}[name] in figure.layout.yaxis.title.text


@pytest.mark.parametrize("name", EVERY)
def test_empty_table_gives_a_sentence_and_the_caption(name):
    figure = EVERY[name][0](tables.no_rows(SCHEMA.get(name, name)), caption=CAPTION)
    sentences = {note.name: note.text for note in figure.layout.annotations}
    assert not figure.data
    assert sentences["caption"].replace("<br>", " ") == CAPTION
    assert sentences["empty"].endswith(".")


def test_drops_says_that_no_packet_was_dropped():
    figure = plot.drops(tables.no_rows("drops"))
    assert [note.text for note in figure.layout.annotations] == ["No packet was dropped."]


@pytest.mark.parametrize(("name", "column"), [("breakdown", "mean_ns"), ("ecdf", "segment_ns"), ("ledger", "lost")])
def test_missing_column_is_named(name, column):
    function, table = EVERY[name]
    with pytest.raises(UnknownName, match=column):
        function(table.drop(columns=column))


def test_breakdown_adds_up_to_the_mean_one_way_delay():
    journeys = tables.make_journeys(HOPS)
    figure = plot.breakdown(BREAKDOWN)
    for direction, delays in journeys.groupby("direction", observed=True)["one_way_delay_ns"]:
        drawn = sum(bar.x[0] for bar in figure.data if bar.y[0] == direction)
        assert drawn * 1e3 == pytest.approx(delays.mean(), rel=1e-12)


def test_breakdown_keeps_the_order_of_the_path_and_the_numbers_of_the_table():
    figure = plot.breakdown(BREAKDOWN)
    assert len(figure.data) == len(BREAKDOWN) == 14
    for bar, row in zip(figure.data, BREAKDOWN.itertuples(), strict=True):
        assert bar.y[0] == row.direction
        assert row.segment in bar.hovertext[0]
        assert bar.x[0] == row.mean_ns / 1e3
        assert all(word in bar.hovertext[0] for word in ("p50", "p90", "p99", "p99.9", "n 300 journeys"))


def test_kind_of_time_looks_the_same_in_every_direction():
    table = BY_KIND[(BY_KIND["direction"] != "c0 → c1") | (BY_KIND["kind"] != "queueing")]
    colors = {}
    for bar in plot.breakdown(table).data:
        colors.setdefault(bar.name.split("  ")[1], set()).add(bar.marker.color)
    assert set(colors) == {"processing", "queueing", "softirq", "scheduling"}
    assert all(len(hues) == 1 for hues in colors.values())
    assert len(set.union(*colors.values())) == 4


def test_breakdown_by_kind_adds_up_to_the_mean_one_way_delay():
    drawn = pd.Series([bar.x[0] for bar in plot.breakdown(BY_KIND).data]).groupby(
        [bar.y[0] for bar in plot.breakdown(BY_KIND).data]
    )
    means = tables.make_journeys(HOPS).groupby("direction", observed=True)["one_way_delay_ns"].mean()
    assert (drawn.sum() * 1e3).to_dict() == pytest.approx(means.to_dict())


def test_breakdown_shows_the_kind_of_each_segment():
    for bar, row in zip(plot.breakdown(BREAKDOWN).data, BREAKDOWN.itertuples(), strict=True):
        assert f"<br>{row.kind}<br>" in bar.hovertext[0]


def test_breakdown_weights_a_segment_that_not_every_journey_passed():
    table = BREAKDOWN.head(2).assign(n=[100, 25], mean_ns=[1_000.0, 4_000.0], share=[0.5, 0.5])
    figure = plot.breakdown(table)
    assert [bar.x[0] for bar in figure.data] == [1.0, 1.0]
    assert "mean 4 µs" in figure.data[1].hovertext[0]


def test_breakdown_says_how_many_directions_it_leaves_out():
    many = [
        BREAKDOWN.head(7).assign(direction=f"c{i} → c9", mean_ns=lambda t, i=i: t["mean_ns"] * (i + 1))
        for i in range(5)
    ]
    figure = plot.breakdown(pd.concat(many), most=3)
    assert list(dict.fromkeys(bar.y[0] for bar in figure.data)) == ["c2 → c9", "c3 → c9", "c4 → c9"]
    assert "2 directions" in figure.layout.title.subtitle.text.replace("<br>", " ")


@pytest.mark.parametrize("tail", [False, True])
def test_ecdf_is_monotone_exact_and_reaches_the_extremes(tail):
    figure = plot.ecdf(tables.make_hops(6_000), tail=tail)
    hops = tables.make_hops(6_000)
    assert len(figure.data) == 14
    for line in figure.data:
        times = np.sort(hops.loc[hops["segment"] == line.meta[0], "segment_ns"].to_numpy())
        x = np.round(np.array(line.x) * 1e3).astype(np.int64)
        y = np.array(line.y)
        assert len(x) <= 400 < times.size
        assert (np.diff(x) > 0).all()
        assert (np.diff(y) < 0).all() if tail else (np.diff(y) > 0).all()
        exact = [(times >= value).mean() if tail else (times <= value).mean() for value in x]
        np.testing.assert_allclose(y, exact, atol=1e-12)
        assert (x[0], x[-1]) == (times[0], times[-1])
        # The ten slowest packets are all there.
        assert set(times[-10:]) <= set(x)


def test_ecdf_draws_single_times_and_zero_on_the_logarithmic_axis():
    table = pd.DataFrame({"segment": ["", "a → b", "a → b", "b → c"], "segment_ns": [0, 0, 2_000, 5]})
    first, second = plot.ecdf(table).data
    assert (list(first.x), list(first.y)) == ([0.001, 2.0], [0.5, 1.0])
    assert (list(second.x), list(second.y)) == ([0.005], [1.0])
    low, high = plot.ecdf(table).layout.xaxis.range
    assert low <= math.log10(0.001) and high >= math.log10(2.0)


def test_waterfall_bars_are_the_segments_end_to_end():
    rows = HOPS[HOPS["journey"] == 17]
    bars = [trace for trace in plot.waterfall(rows).data if trace.type == "bar"]
    ends = [bar.base[0] + bar.x[0] for bar in bars]
    np.testing.assert_allclose(ends, rows["offset_ns"].to_numpy()[1:] / 1e3)
    np.testing.assert_allclose([bar.base[0] for bar in bars][1:], ends[:-1])
    assert list(plot.waterfall(rows).layout.yaxis.ticktext) == rows["hop"].to_list()


def test_waterfall_refuses_several_journeys():
    with pytest.raises(CmonlabError, match="holds 600"):
        plot.waterfall(HOPS)


def test_throughput_is_in_bits_per_second_and_zero_in_an_empty_window():
    table = tables.make_throughput(8, window_s=0.1, directions=("c1 → c0",)).drop(index=[3, 4])
    full, good = plot.throughput(table).data
    np.testing.assert_allclose(full.x, np.arange(8) * 0.1)
    assert list(full.y[3:5]) == [0, 0] == list(good.y[3:5])
    np.testing.assert_allclose(np.delete(full.y, [3, 4]), table["throughput_bps"])
    np.testing.assert_allclose(np.delete(good.y, [3, 4]), table["goodput_bps"])


@pytest.mark.parametrize("log", [False, True])
def test_ledger_bars_add_up_to_seen(log):
    table = tables.make_ledger(lost=3)
    bars = [trace for trace in plot.ledger(table, log=log).data if trace.type == "bar"]
    assert [bar.name for bar in bars] == [
        "unmatched",
        "sampled out",
        "counted",
        "aggregated",
        "overflowed",
        "recorded",
        "lost",
    ]
    np.testing.assert_array_equal(np.nansum([np.array(bar.x, float) for bar in bars], axis=0), table["seen"])
    if log:
        assert all(value != 0 for bar in bars for value in bar.x)


def test_ledger_states_lost_events_even_if_there_are_none():
    none, some = plot.ledger(tables.make_ledger()), plot.ledger(tables.make_ledger(lost=3))
    assert none.layout.title.text == "Ledger: 0 lost events"
    assert "18 lost events" in some.layout.title.text and WARNING in some.layout.title.text
    marks = [trace for trace in some.data if trace.type == "scatter"]
    assert len(marks) == 1 and len(marks[0].y) == 6


def test_ledger_says_where_it_does_not_add_up():
    table = tables.make_ledger()
    table.loc[2, "seen"] += 1
    assert "but not at netif_rx" in plot.ledger(table).layout.title.subtitle.text.replace("<br>", " ")


def test_drops_are_counted_by_reason_and_place():
    table = tables.make_drops(60)
    figure = plot.drops(table)
    drawn = {(reason, bar.name): n for bar in figure.data for reason, n in zip(bar.y, bar.x, strict=True) if n}
    assert drawn == table.groupby(["reason", "place"], observed=True).size().to_dict()
    assert "60" in figure.layout.title.text


def test_drops_of_many_reasons_keep_their_sum():
    table = pd.DataFrame({"reason": [f"R{i % 40}" for i in range(1_000)], "place": ""})
    figure = plot.drops(table, most=5)
    assert len(figure.data[0].y) == 5 and sum(figure.data[0].x) == 1_000
    assert "36 other reasons" in figure.data[0].y
    assert figure.data[0].name == "unknown"


def test_overhead_dots_are_the_ratios_in_percent_with_their_intervals():
    table = tables.make_overhead(("traced", "tcpdump"))
    figure = plot.overhead(table)
    drawn = table[table["ratio"].notna()]
    assert [trace.name for trace in figure.data] == ["traced", "tcpdump"] and figure.layout.showlegend
    assert list(figure.layout.yaxis.ticktext) == ["throughput", "p50", "p99", "CPU"]
    for trace, (_, rows) in zip(figure.data, drawn.groupby("tracer", sort=False), strict=True):
        np.testing.assert_allclose(trace.x, 100 * (rows["ratio"] - 1))
        np.testing.assert_allclose(trace.x + trace.error_x.array, 100 * (rows["ratio_high"] - 1))
        np.testing.assert_allclose(trace.x - trace.error_x.arrayminus, 100 * (rows["ratio_low"] - 1))
        assert [round(y) for y in trace.y] == [0, 1, 2, 3]
    alone = plot.overhead(tables.make_overhead(rounds=2))
    assert alone.layout.yaxis.ticktext[1] == "p50<br>+171 ns" and not alone.layout.showlegend
    assert "2 rounds" in alone.layout.title.subtitle.text and "interval" not in alone.layout.title.subtitle.text


def test_names_from_outside_are_escaped():
    evil = "<a href='x'>c1</a>"
    table = BREAKDOWN.assign(segment=evil, direction=evil).head(1)
    for figure in (plot.breakdown(table), plot.ecdf(HOPS.head(3).assign(segment=evil))):
        text = figure.to_json()
        assert "<a" not in text and "\\u003ca" not in text
        assert "&lt;a" in text or "\\u0026lt;a" in text


def test_thirty_series_differ_from_each_other_and_from_lost_events():
    assert len({str(fill(i)) for i in range(30)}) == len({str(stroke(i)) for i in range(30)}) == 30
    assert WARNING not in PALETTE


def test_unknown_theme_is_named():
    assert plot.template("dark").layout.paper_bgcolor != plot.template("light").layout.paper_bgcolor
    with pytest.raises(UnknownName, match="did you mean 'dark'"):
        plot.template("drak")
