"""The timeline: windows with and without packets."""

import numpy as np
import pandas as pd
import pytest

from cmonlab import schema
from cmonlab.data.store import cells, directory
from cmonlab.session.session import Session
from tests.support.aggregates import aggregate
from tests.support.events import bulk, manifest
from tests.support.timed_packets import BEGIN, packets, taking

MS = 10**6
#: Three packets in the first millisecond, none in the second, two in the third, of which one is dropped.
STARTS, DELAYS = [0, 1000, 2000, 2 * MS, 2 * MS + 1000], [100, 300, 800, 400, 500]


def session(**options):
    entries = manifest(**options)
    if "trace_gap_ns" in options:
        entries["blind"] = [
            {"cpu": 0, "start_ns": BEGIN + MS // 2, "end_ns": BEGIN + MS // 2 + options["trace_gap_ns"]}
        ]
    return Session(packets(STARTS, taking(DELAYS), dropped={4}), entries)


def test_columns_equal_the_schema():
    table = Session(bulk(50), manifest()).timeline(1e-5)
    assert [(name, str(dtype)) for name, dtype in table.dtypes.items()] == [
        (c.name, c.dtype) for c in schema.TABLES["timeline"]
    ]
    for columns in (None, cells.columns_of([])):
        empty = Session(directory.empty_columns(), manifest(), columns).timeline()
        assert (empty.columns.tolist(), len(empty)) == (schema.columns("timeline"), 0)


def test_packets_count_in_the_window_of_their_end():
    table = session(trace_gap_ns=MS).timeline(1e-3)
    assert table["start_ns"].tolist() == [BEGIN, BEGIN + MS, BEGIN + 2 * MS]
    assert table["time_s"].tolist() == pytest.approx([0, 1e-3, 2e-3])
    assert set(table["direction"]) == {"c1 → c0"} and set(table["rule"]) == {""}
    assert table["packets"].tolist() == [3, 0, 1]
    assert table["dropped"].tolist() == [0, 0, 1]
    assert table["one_way_delay_p50_ns"].tolist() == pytest.approx([300, np.nan, 400], nan_ok=True)
    assert table["one_way_delay_p99_ns"].tolist() == pytest.approx([300 + 0.98 * 500, np.nan, 400], nan_ok=True)
    assert table["throughput_bps"].iloc[:2].tolist() == [3 * 100 * 8 / 1e-3, 0]
    # The last event is the drop, 10 ns behind the fifth hop; a window includes its last nanosecond.
    last = 1000 + taking(DELAYS)[4, :4].sum() + 10 + 1
    assert table["end_ns"].iloc[2] == BEGIN + 2 * MS + last
    assert table["throughput_bps"].iloc[2] == pytest.approx(100 * 8e9 / last)
    assert table["trace_gap_ns"].tolist() == [MS // 2, MS // 2, 0]


def test_lost_events_have_no_known_window():
    assert session().timeline(1e-3)["lost_events"].tolist() == [0, 0, 0]
    assert session(lost=1).timeline(1e-3)["lost_events"].isna().all()


def test_timeline_counts_what_throughput_counts():
    many = Session(bulk(400), manifest())
    timeline, throughput = many.timeline(5e-5), many.throughput(5e-5)
    assert timeline["packets"].tolist() == throughput["packets"].tolist()
    assert timeline["throughput_bps"].iloc[:-1].tolist() == pytest.approx(throughput["throughput_bps"].iloc[:-1])


def counted(window_ns, gap=False):
    events = packets(STARTS, taking(DELAYS), dropped={4})
    windows = aggregate(events, window_ns=window_ns)
    return Session(directory.empty_columns(), manifest(), cells.columns_of(windows[:1] + windows[1 + gap :]))


def test_windows_of_aggregates_are_those_of_the_recording():
    """The second millisecond is a row although nothing was counted in it."""
    table = counted(MS).timeline(1e-3)
    assert table["packets"].tolist() == [3, 0, 1]
    assert table["dropped"].tolist() == [0, 0, 1]
    assert set(table["rule"]) == {"all"}
    assert (table["end_ns"] - table["start_ns"]).tolist() == [MS] * 3
    assert table["throughput_bps"].tolist() == pytest.approx([3 * 100 * 8 / 1e-3, 0, 100 * 8 / 1e-3])
    assert table["one_way_delay_p50_ns"].tolist() == pytest.approx([300, np.nan, 400], rel=1 / 64, nan_ok=True)


def test_windows_of_aggregates_are_joined_but_not_divided():
    assert len(counted(MS).timeline(1e-6)) == 3
    table = counted(MS).timeline(10.0)
    assert table[["packets", "dropped"]].to_numpy().tolist() == [[4, 1]]
    assert (table["end_ns"] - table["start_ns"]).tolist() == [3 * MS]
    assert table["one_way_delay_p50_ns"].tolist() == pytest.approx([350], rel=1 / 64)


@pytest.mark.parametrize("make", [session, lambda: counted(MS)])
@pytest.mark.parametrize("window_s", [0, -1, float("nan")])
def test_a_window_without_a_width_is_refused(make, window_s):
    with pytest.raises(ValueError, match="greater than 0"):
        make().timeline(window_s)


def test_a_drop_alone_gives_a_row():
    table = Session(packets([0], taking([100]), dropped={0}), manifest()).timeline()
    pd.testing.assert_series_equal(
        table.iloc[0][["packets", "dropped"]],
        pd.Series({"packets": 0, "dropped": 1}),
        check_names=False,
        check_dtype=False,
    )
