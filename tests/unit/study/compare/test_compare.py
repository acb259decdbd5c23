"""Comparisons of sessions: tables, warnings and figures."""

import numpy as np
import pandas as pd
import pytest

import cmonlab as cm
from cmonlab import schema
from cmonlab.errors import SessionError, UnknownName
from cmonlab.plot import differences, shift
from cmonlab.session.session import Session
from cmonlab.study.compare import metrics
from tests.support.events import READ, bulk, manifest
from tests.support.manifests import HOST, complete_manifest
from tests.support.tables import no_rows


def recorded(seed, later_ns=0, packets=400, **changes):
    """Return a session whose reads are later by `later_ns`."""
    columns = dict(bulk(packets, seed))
    columns["ts_ns"] = columns["ts_ns"] + later_ns * (columns["point"] >= READ)
    order = np.argsort(columns["ts_ns"], kind="stable")
    return Session({name: values[order] for name, values in columns.items()}, complete_manifest(**changes))


@pytest.fixture(scope="module")
def sides():
    return {
        "bridge": [recorded(n) for n in range(5)],
        "vxlan": [recorded(10 + n, 2_000) for n in range(5)],
        "same": [recorded(20 + n) for n in range(5)],
    }


@pytest.fixture(scope="module")
def compared(sides):
    return cm.compare(sides)


def test_compare_finds_a_known_difference_and_none_between_equal_sides(compared):
    table = compared.table()
    assert list(table.columns) == schema.columns("compared")
    mine = table[table["name"] == "vxlan"].set_index("statistic")
    assert mine.index.tolist() == ["mean", "p50", "p90", "p99"] and (mine["verdict"] == "greater").all()
    assert ((mine["low"] < 2_000) & (mine["high"] > 2_000)).all() and mine["difference"]["mean"] == pytest.approx(
        2_000, abs=250
    )
    assert (mine["ratio_low"] < mine["ratio"]).all() and (mine["ratio"] > 1).all()
    same = table[table["name"] == "same"]
    assert set(same["verdict"]) == {"no difference detected"} and set(table["baseline"]) == {"bridge"}


def test_compared_values_are_those_of_the_sessions(sides, compared):
    delays = [s.journeys().loc[lambda t: t["complete"], "one_way_delay_ns"] for s in sides["bridge"]]
    row = compared.table().set_index(["name", "statistic"]).loc[("vxlan", "p90")]
    assert row["baseline_value"] == pytest.approx(np.mean([d.quantile(0.9) for d in delays]))
    assert row["baseline_n"] == sum(map(len, delays)) and row["runs"] == 5


def test_effect_sizes_and_shifts_agree_with_the_difference(compared):
    effects = compared.effects().set_index("name")
    assert effects.loc["vxlan", "superiority_low"] > 0.5 > effects.loc["same", "superiority_low"]
    assert effects.loc["vxlan", "shift_low"] < 2_000 < effects.loc["vxlan", "shift_high"]
    assert effects.loc["vxlan", "cliffs_delta"] == pytest.approx(2 * effects.loc["vxlan", "superiority"] - 1)
    shifts = compared.shifts()
    assert list(shifts.columns) == schema.columns("shifts") and (shifts["low"] <= shifts["high"]).all()
    assert shifts["quantile"].agg(["min", "max"]).tolist() == pytest.approx([0.01, 0.999])


def test_compare_reads_paths_and_takes_the_chosen_baseline(sides, tmp_path):
    paths = [session.save(tmp_path / str(n)) for n, session in enumerate(sides["vxlan"][:2])]
    found = cm.compare({"one": sides["bridge"][0], "two": paths}, baseline="two", quantiles=(0.5,))
    table = found.table()
    assert set(table["name"]) == {"one"} and table["baseline_runs"].tolist() == [2, 2]
    assert table["difference"][table["statistic"] == "mean"].lt(0).all()
    assert cm.compare({"one": str(paths[0]), "two": paths[1]}).table()["runs"].tolist() == [1] * 4


def test_segments_are_chosen_by_name_pattern_and_kind(sides):
    two = {name: sides[name][:2] for name in ("bridge", "vxlan")}
    exact = cm.compare(two, segment="c0:eth0 receive → c0 read").table()
    pattern = cm.compare(two, segment="* → c0 read").table()
    assert exact.drop(columns="metric").equals(pattern.drop(columns="metric"))
    assert exact["difference"][0] == pytest.approx(2_000, abs=400)
    session = two["bridge"][0]
    (times,) = metrics.read(session, "segment", "c0:eth0 receive → c0 read").by_direction.values()
    rows = session.breakdown().set_index("segment")
    assert times.mean() == pytest.approx(rows.loc["c0:eth0 receive → c0 read", "mean_ns"])
    kinds = metrics.read(session, "segment", "queueing").by_direction["c1 → c0"]
    whole = session.breakdown(by="kind").set_index("kind")
    assert np.median(kinds) == whole.loc["queueing", "p50_ns"]
    with pytest.raises(UnknownName, match="c0 read"):
        cm.compare(two, segment="c0:eth0 receive → c0 red")


def test_workload_results_have_one_value_per_run():
    sides = {name: [made_of(rate + n) for n in range(5)] for name, rate in (("slow", 1000.0), ("fast", 1100.0))}
    found = cm.compare(sides, "ops_per_s")
    row = found.table().iloc[0]
    assert (row["statistic"], row["unit"], row["direction"], row["difference"]) == ("mean", "1/s", "", 100.0)
    assert row["low"] > 90 and row["verdict"] == "greater" and found.effects()["superiority"][0] == 1
    assert found.shifts().empty
    alone = cm.compare({name: runs[0] for name, runs in sides.items()}, "ops_per_s").table().iloc[0]
    assert alone["verdict"] == "no interval" and np.isnan(alone["low"])


def made_of(rate):
    workload = {"name": "made", "parameters": {}, "metrics": {"ops_per_s": rate}}
    return Session(bulk(20), complete_manifest(workload=workload))


def test_loss_equals_the_loss_table(sides):
    session = sides["bridge"][0]
    (values,) = metrics.read(session, "loss").by_direction.values()
    assert values.mean() == session.loss()["loss"][0] and len(values) == session.loss()["packets"][0]
    found = cm.compare({name: sides[name] for name in ("bridge", "vxlan")}, "loss")
    assert found.table()["statistic"].tolist() == ["mean"]
    assert any("dropped no packet" in warning for warning in found.warnings)


def test_throughput_of_a_sample_is_scaled_to_all_packets():
    sampled = complete_manifest()
    sampled["rules"][0]["rule"]["sample"] = 0.25
    long = dict(bulk(3_000))
    long["ts_ns"] = 10**12 + (long["ts_ns"] - 10**12) * 200
    manifests = complete_manifest(), sampled
    whole, part = (metrics.read(Session(long, one), "throughput").by_direction["c1 → c0"] for one in manifests)
    assert len(whole) > 3 and part == pytest.approx(4 * whole, rel=0.01)
    sampled["tallies"] = [{"slot": 0, "limited": 3}]
    with pytest.raises(SessionError, match="throughput cannot be compared"):
        metrics.read(Session(long, sampled), "throughput")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metric": "one_way_dely"}, UnknownName, "one_way_delay"),
        ({"metric": "latency_p9_ns"}, UnknownName, "latency_p99_ns"),
        ({"direction": "c1 → c9"}, UnknownName, "c1 → c0"),
        ({"direction": {"bridge": "c1 → c0"}}, UnknownName, "direction of vxlan"),
        ({"baseline": "brigde"}, UnknownName, "bridge"),
        ({"metric": "segment"}, SessionError, "no segment is named"),
        ({"metric": "srtt"}, SessionError, "tcp_probe"),
        ({"quantiles": (0.5, 1.0)}, SessionError, "not quantiles"),
    ],
)
def test_compare_refuses_unusable_arguments(sides, arguments, error, message):
    two = {name: sides[name][:1] for name in ("bridge", "vxlan")}
    with pytest.raises(error, match=message):
        cm.compare(two, **arguments)


def test_sides_must_be_two_with_a_direction_in_common(sides):
    with pytest.raises(SessionError, match="two or more"):
        cm.compare({"bridge": sides["bridge"]})
    with pytest.raises(SessionError, match="has no sessions"):
        cm.compare({"bridge": sides["bridge"], "vxlan": []})
    turned = complete_manifest()
    for link in turned["links"]:
        link["namespace"] = {"c0": "a", "c1": "b"}.get(link["namespace"], "host")
    other = {"bridge": sides["bridge"][0], "renamed": Session(bulk(400), turned)}
    with pytest.raises(SessionError, match="renamed: b → a"):
        cm.compare(other)
    ways = cm.compare(other, direction={"bridge": "c1 → c0", "renamed": "b → a"}, quantiles=()).table()
    assert ways["direction"].tolist() == ["b → a"]


def warned(*sides, **options):
    found = cm.compare({"one": sides[0], "two": sides[1]}, **options)
    text = repr(found)
    assert all(warning in text for warning in found.warnings)
    return " ".join(found.warnings)


def test_warnings_name_what_differs_between_the_sides():
    other = complete_manifest(host=HOST | {"kernel": "6.2"})
    other["rules"][0]["rule"] |= {"sample": 0.5, "match": {"packets": "tcp", "containers": None, "direction": "both"}}
    other["points"] = other["points"][:-1]
    other["workload"] = {"name": "other", "parameters": {"port": 1}, "metrics": {}}
    text = warned(recorded(1), Session(bulk(200), other))
    for word in ("rules", "points", "samples", "kernels", "workloads"):
        assert f"the {word} differ between the sides" in text
    assert "6.1" in text and "other port: 1" in text and "machines" not in text
    assert "differ between" not in warned(recorded(1), recorded(2))
    mixed = [recorded(1), recorded(2, host=HOST | {"kernel": "6.2"})]
    assert "the kernels differ between the runs of one, two" in warned(mixed, mixed)


def test_warnings_name_few_runs_lost_events_trace_gaps_and_early_ends():
    lossy = Session(bulk(200), complete_manifest(**{name: manifest(lost=3)[name] for name in ("ledger",)}))
    text = warned([recorded(1), recorded(2)], lossy)
    assert "fewer than 5 runs: one (2)" in text and "one run only: two" in text and "lost events" in text
    assert "variation from run to run is not in" in text and "depends on chance" in text
    gap = recorded(3, blind=[{"cpu": 0, "start_ns": 0, "end_ns": 2_000_000}])
    ended = recorded(4, recording={"ended": "interrupted", "seconds": 1.0})
    text = warned(gap, ended)
    assert "one: trace gaps: 2 ms in total" in text and "two: a recording did not finish: interrupted" in text


def overhead(p50_ns):
    """Return the overhead entry of a manifest whose tracer adds `p50_ns` to the median."""
    untraced = [10_000.0, 10_010.0, 10_020.0, 9_990.0, 9_980.0]
    return {
        "samples": {"untraced": {"p50": untraced}, "traced": {"p50": [value + p50_ns for value in untraced]}},
        "units": {"p50": "ns"},
    }


def test_warnings_explain_a_difference_below_the_tracing_overhead():
    alike = warned(
        [recorded(n, overhead=overhead(100)) for n in range(5)],
        [recorded(n, 2_000, overhead=overhead(2_500)) for n in range(5)],
        quantiles=(0.5,),
    )
    assert "is below the tracing overhead, 2.4 µs: both sides were traced alike" in alike
    one = warned([recorded(n) for n in range(5)], [recorded(n, 2_000, overhead=overhead(2_500)) for n in range(5)])
    assert "2.5 µs: it was measured on one side only" in one and "tracing overhead was not measured: one" in one
    same = cm.compare(
        {
            side: [recorded(n, later, overhead=overhead(900)) for n in range(5)]
            for side, later in (("one", 0), ("two", 2_000))
        },
        quantiles=(0.5,),
    )
    assert same.table()["overhead"].tolist() == [0, 0] and set(same.table()["verdict"]) == {"greater"}
    points = complete_manifest(overhead=overhead(2_500))
    points["points"] = points["points"][:-1]
    other = Session(recorded(7, 2_000).columns, points)
    text = warned([recorded(n, overhead=overhead(2_500)) for n in range(5)], [other] * 5, quantiles=(0.5,))
    assert "2.5 µs: the sides were not traced alike" in text


def programs(mean_ns, **of):
    """Return the overhead entry of a manifest with program run times (ns per event); its rounds show a huge cost."""
    names = [point["name"] for point in manifest()["points"]]
    return overhead(90_000) | {"programs": {"traced": {name: [of.get(name, mean_ns), 1000] for name in names}}}


def test_known_program_times_decide_about_the_tracing_overhead():
    def side_by_side(mine, theirs, **options):
        sides = {
            "one": [recorded(n, overhead=mine) for n in range(5)],
            "two": [recorded(n, 2_000, overhead=theirs) for n in range(5)],
        }
        return cm.compare(sides, quantiles=(0.5,), **options)

    hops = recorded(0).hops().groupby("journey").size()
    assert hops.nunique() == 1
    hops = hops.iloc[0]
    alike = side_by_side(programs(100), programs(150)).table()
    assert alike["overhead"].to_numpy() == pytest.approx(50 * hops) and set(alike["verdict"]) == {"greater"}
    read = next(point["name"] for point in manifest()["points"] if point["id"] == READ)
    dear = side_by_side(programs(100), programs(100, **{read: 2_900}))
    assert dear.table()["overhead"].to_numpy() == pytest.approx(2_800)
    assert set(dear.table()["verdict"]) == {"below tracing overhead"}
    assert "2.8 µs: the tracer's programs run that much longer per packet on one side" in "\n".join(dear.warnings)
    last = recorded(0).hops()["segment"].iloc[hops - 1]
    segment = side_by_side(programs(100), programs(700), segment=last)
    assert segment.table()["overhead"].to_numpy() == pytest.approx(700 * hops)
    assert "the tracer's programs run that long per packet" in "\n".join(segment.warnings)
    # Metrics that the workload measured itself take the overhead from its rounds.
    assert side_by_side(programs(100), programs(150), metric="latency_p99_ns").table()["overhead"].isna().all()


def test_warnings_name_a_difference_below_the_clock_error():
    coarse = HOST | {"clocksource": "jiffies"}
    text = warned([recorded(n, host=coarse) for n in range(5)], [recorded(n, 2_000, host=coarse) for n in range(5)])
    assert "is below the clock error, 10 ms" in text


def test_html_escapes_the_names_of_sides(sides):
    page = cm.compare({"<b>": sides["bridge"][0], "two": sides["vxlan"][0]})._repr_html_()
    assert "&lt;b&gt;" in page and "<b>," not in page and "<li>one run only" in page and "2.0" in page


def test_comparison_draws_shift_and_dots(compared):
    drawn = compared.plot()
    assert drawn.layout.title.text == "One-way delay: difference by quantile"
    assert drawn.layout.yaxis.title.text == "Difference to bridge (µs)"
    lines = [trace for trace in drawn.data if trace.fill is None]
    assert [line.name for line in lines] == ["vxlan", "same"] and len(drawn.data) == 4
    assert np.mean(lines[0].y) == pytest.approx(2, abs=0.4) and "5 runs" in drawn.layout.legend.title.text
    dots = compared.plot("dots")
    assert [trace.name for trace in dots.data] == ["vxlan", "same"]
    assert set(dots.data[0].marker.symbol) == {"circle"} and set(dots.data[1].marker.symbol) == {"circle-open"}
    assert dots.layout.xaxis.title.text == "Change against bridge (%)"
    with pytest.raises(UnknownName, match="shift"):
        compared.plot("shft")


def test_figures_accept_no_rows_and_refuse_missing_columns():
    for draw, name in ((shift, "shifts"), (differences, "compared")):
        assert draw(no_rows(name)).layout.annotations[0].text
        with pytest.raises(UnknownName, match="column"):
            draw(pd.DataFrame({"metric": ["x"]}))


def test_names_are_escaped_in_figures(compared):
    rows = compared.table()
    bad = rows[rows["name"] == "vxlan"].assign(baseline="<i>", name="<b>", direction="<u> → x")
    text = differences(bad).to_json()
    assert "\\u003ci\\u003e" not in text and "&lt;i&gt;" in text.replace("\\u0026", "&")


def test_figures_stay_readable_with_wide_intervals(compared):
    table = compared.shifts()
    wide = table.assign(high=table["high"].where(table["quantile"] < 0.99, 5e7))
    drawn = shift(wide)
    assert drawn.layout.yaxis.title.text == "Difference to bridge (µs, logarithmic beyond ±1)"
    assert drawn.layout.yaxis.ticktext[-1] == "+10,000" and drawn.layout.yaxis.ticktext[0] == "−10,000"
    band, line = drawn.data[:2]
    assert np.sinh(band.y[: len(line.x)][-1]) == pytest.approx(50_000)
    assert line.customdata[:, 1] == pytest.approx(np.sinh(np.array(line.y)))
    rows = compared.table()
    ratios = differences(rows.assign(ratio_high=rows["ratio_high"] * 50))
    assert ratios.layout.xaxis.type == "log" and ratios.layout.xaxis.range[1] < np.log10(20)
    bare = differences(rows.assign(ratio=np.nan))
    assert bare.layout.xaxis.title.text == "Difference to bridge (µs)"
