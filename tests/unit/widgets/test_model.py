"""The live model: the tables that it makes of windows, and that its memory is bounded."""

import numpy as np
import pandas as pd
import pytest

from cmonlab.widgets.history import History
from cmonlab.widgets.model import Live
from cmonlab.widgets.selection import Selection
from cmonlab.widgets.visible import nodes_around
from tests.support import crowd

S = 10**9


def live(windows=8, count=6, gap_at=None, **made):
    model, at = Live(keep_s=3.0, recent_s=2.0), S
    for number in range(windows):
        at += S if number == gap_at else 0
        model.take(crowd.session(count, at, S // 4, seed=number, **made))
        at += S // 4
    return model


def test_pairs_of_the_last_seconds_sum_up_their_windows():
    model = live()
    table = model.pairs(1.0).set_index(["src", "dst"])
    assert table.loc[("c1", "c0"), "packets_sent"] == 4 * 20
    assert table.loc[("c1", "c0"), "packets_arrived"] == 4 * 20
    assert table.loc[("c1", "c0"), "lost"] == 0
    assert table.loc[("c1", "c0"), "throughput_bps"] == pytest.approx(4 * 20 * 100 * 8 / 1.0)
    last = crowd.session(6, seed=7).pairs().set_index(["src", "dst"])
    for name in ("one_way_delay_p50_ns", "one_way_delay_p99_ns"):
        assert table.loc[("c2", "c3"), name] == pytest.approx(last.loc[("c2", "c3"), name], rel=1e-6)
    assert len(table) == len(last)


def test_edges_equal_those_of_the_session():
    model = live(dropped=5)
    expected = crowd.session(6, seed=7, dropped=5).edges().astype({"src": object, "dst": object})
    expected, table = (one.set_index(["src", "dst"]) for one in (expected, model.edges(1.0)))
    assert set(expected.index) == set(table.index)
    table = table.loc[expected.index]
    for name in ("packets", "bytes", "dropped"):
        assert (table[name] == 4 * expected[name]).all(), name
    known = expected["delay_p50_ns"].notna().to_numpy()
    assert known.any()
    np.testing.assert_allclose(table["delay_p50_ns"][known], expected["delay_p50_ns"][known], rtol=1e-6)
    assert table["dropped"].sum() >= 4 * 5 and table["loss"].max() > 0


def test_rates_are_per_second_and_count_packets_dropped_by_the_network():
    rates = live(dropped=5).rates(1.0)
    assert rates["dropped"] == pytest.approx(20)
    assert rates["packets"] == pytest.approx(4 * 20 * (6 + 10 - 2))


def test_series_have_a_line_per_direction():
    model = live()
    pair = model.series(Selection("pair", "c1", "c0"))
    assert pair["line"].unique().tolist() == ["c1 → c0"]
    assert pair["packets_per_s"].tolist() == [80.0] * 8 and pair["delay_p50_ns"].notna().all()
    bridge = "host:br-crowd"
    edge = model.series(Selection("edge", "c2", bridge))
    assert set(edge["line"]) == {f"c2 → {bridge}", f"{bridge} → c2"}
    assert (edge["packets_per_s"] > 0).all()
    assert model.series(Selection("node", bridge))["line"].nunique() == 6
    assert model.series(Selection("pair", "c1", "nobody"))["packets_per_s"].eq(0).all()


def test_a_time_without_packets_becomes_an_empty_window():
    pair = live(gap_at=4).series(Selection("pair", "c1", "c0"))
    assert len(pair) == 9
    silent = pair.iloc[4]
    assert silent["packets_per_s"] == 0 and np.isnan(silent["delay_p50_ns"])
    assert silent["end_ns"] - silent["start_ns"] == S


def test_recent_returns_segments_and_drops_of_a_selection():
    model = live(dropped=5)
    segments = model.recent(Selection("pair", "c1", "c0"))[0]
    assert segments["direction"].unique().tolist() == ["c1 → c0"]
    assert len(segments) == 7 and segments["n"].eq(8 * 20).all()  # all segments of the path, all of two seconds
    drops = model.recent(Selection("pair", "c1", "c0"))[1]
    assert drops["packets"].sum() == 8 * 5 and drops["reason"].unique().tolist() == ["NOT_SPECIFIED"]
    assert model.recent(Selection("pair", "c2", "c3"))[1].empty
    edge = model.recent(Selection("edge", "c1", "host:br-crowd"))[0]
    assert len(edge) and edge["segment"].str.contains("c1:eth0|veth1 ").all()
    assert not model.recent(Selection("node", "c1"))[0].empty


def test_the_model_shows_one_rule_at_a_time():
    model, window = live(2), crowd.session(6, 10 * S)
    other = dict(window.manifest)
    other["rules"] = [*other["rules"], {**other["rules"][0], "slot": 1, "name": "other"}]
    cells = {name: np.concatenate([values, values]) for name, values in window.cells.items()}
    cells["rule"] = np.repeat([0, 1], len(cells["rule"]) // 2).astype(np.uint8)
    both = type(window)(window.columns, other, cells)
    model.take(both)
    assert model.pairs(0.2)["packets_sent"].unique().tolist() == [20]
    model.choose("other")
    assert model.pairs().empty and model.sums.windows().size == 0
    model.take(both)
    assert model.pairs(0.2)["packets_sent"].unique().tolist() == [20]


def test_the_model_keeps_a_bounded_number_of_seconds():
    model = live(40)
    windows = model.sums.windows()
    assert 3.0 <= (windows[-1, 1] - windows[0, 0]) / 1e9 <= 3.5
    begin = model.nbytes
    for number in range(20):
        model.take(crowd.session(6, 100 * S + number * S // 4, S // 4, seed=number))
    assert model.nbytes <= 1.1 * begin


def test_a_history_forgets_keys_without_rows(monkeypatch):
    from cmonlab.widgets import history

    monkeypatch.setattr(history, "MOST_KEYS", 10)
    kept = History({"n": np.int64}, keep_s=1.0)
    for number in range(100):
        kept.add(number * S, (number + 1) * S, [("a", number), "always"], {"n": np.array([number, 1])})
    assert len(kept.keys()) <= 11
    rows, at = kept.of("always")
    assert len(rows) == len(kept) and at.tolist() == list(range(len(kept)))
    small = History({"n": np.int64}, keep_s=100.0, most_bytes=1000)
    for number in range(100):
        small.add(number * S, (number + 1) * S, list(range(20)), {"n": np.ones(20)})
    assert small.nbytes <= 1000 and len(small) >= 1


def test_marks_have_a_time_and_a_note():
    model = live()
    model.mark("first")
    model.mark()
    assert model.marks.columns.tolist() == ["ts_ns", "time", "note"]
    assert model.marks["note"].tolist() == ["first", ""]
    assert model.marks["ts_ns"].is_monotonic_increasing


def test_tables_are_empty_before_the_first_window():
    model = Live()
    assert model.topology().empty and model.edges().empty and model.pairs().empty
    nothing = Selection("pair", "a", "b")
    assert model.series(nothing).empty and model.recent(nothing)[0].empty and model.recent(nothing)[1].empty
    assert set(model.rates().values()) == {0.0} and model.idle_s == float("inf")


def test_the_model_takes_windows_of_two_hundred_containers():
    model = live(3, count=200)
    assert len(model.topology()) >= 200
    assert len(model.pairs()) == 200 + 2 * 199 - 2


def test_chosen_containers_are_shown_with_what_connects_them():
    model = Live(containers=["c0", "c1"])
    model.take(crowd.session(6))
    ends = model.topology()[["a", "b"]]
    assert set(ends.to_numpy().ravel()) == {"c0", "c1", "host:br-crowd", "host"}
    edges = model.edges()
    assert {*edges["src"], *edges["dst"]} <= {"c0", "c1", "host:br-crowd", "host"} and len(edges)
    pairs = model.pairs().set_index(["src", "dst"]).index
    assert ("c0", "c1") in pairs and ("c4", "c0") in pairs and ("c2", "c3") not in pairs
    both = Live()
    both.take(crowd.session(6))
    assert 0 < model.rates()["packets"] < both.rates()["packets"]


def test_nodes_around_follow_an_overlay_to_its_other_host_but_not_other_networks():
    rows = [
        ("c0", "h0:br0", "container", "bridge", "h0", "h0"),
        ("h0:br0", "h0:vx", "bridge", "vxlan", "h0", "h0"),
        ("h0:vx", "h1:vx", "vxlan", "vxlan", "h0", "h1"),
        ("h0", "h1", "host", "host", "h0", "h1"),
        ("other", "h1:br0", "container", "bridge", "h1", "h1"),
        ("h1:vx", "h1:br0", "vxlan", "bridge", "h1", "h1"),
        ("host", "host:br9", "host", "bridge", "host", "host"),
        ("h1", "h1:br7", "host", "bridge", "h1", "h1"),
    ]
    links = pd.DataFrame(rows, columns=["a", "b", "a_kind", "b_kind", "a_host", "b_host"])
    assert nodes_around(links, ["c0", "gone"]) == {"c0", "h0:br0", "h0:vx", "h1:vx", "h1:br0", "h0", "h1"}
