"""The tables of a session are consistent with each other."""

import pytest

import cmonlab
from cmonlab import schema
from cmonlab.data.store import directory
from cmonlab.data.tables.manifest import Manifest
from cmonlab.errors import SessionError, UnknownName
from cmonlab.session.report.sections import run_report
from cmonlab.session.session import Session
from tests.support.events import bulk, manifest


@pytest.fixture(scope="module")
def session():
    return Session(bulk(300), manifest())


def test_events_equal_the_schema(session):
    assert [(name, str(dtype)) for name, dtype in session.events.dtypes.items()] == [
        (c.name, c.dtype) for c in schema.TABLES["events"]
    ]
    assert session.events["place"].iloc[0] == "c1:eth0"
    assert len(session) == len(session.events)


@pytest.mark.parametrize("name", schema.SESSION_TABLES)
def test_tables_by_name(session, name):
    assert session.table(name).columns.tolist() == schema.columns(name)


def test_an_unknown_table_or_journey_is_refused(session):
    with pytest.raises(UnknownName, match="breakdown"):
        session.table("breakdwon")
    with pytest.raises(UnknownName, match="0 to 299"):
        session.hops(300)


def test_the_typical_journey_has_the_median_delay(session):
    delays = session.journeys()["one_way_delay_ns"].sort_values(kind="stable").to_numpy()
    journeys = session.journeys().set_index("journey")["one_way_delay_ns"]
    assert journeys[session.typical()] == delays[149]
    assert session.typical("c1 → c0") == session.typical()
    with pytest.raises(SessionError, match="no journey is complete"):
        session.typical("c0 → c1")


def test_pairs_and_flows_of_events_agree_with_loss_and_throughput(session):
    pairs, flows, loss = session.pairs(), session.flows(), session.loss().set_index("direction")
    assert pairs.set_index("direction")["packets_sent"].to_dict() == loss["packets"].to_dict() == {"c1 → c0": 300}
    assert pairs["packets_arrived"].tolist() == (loss["delivered"] + loss["arrived"]).tolist()
    journeys = session.journeys()
    assert pairs["bytes"].sum() == journeys["len_bytes"].sum()
    assert pairs["throughput_bps"].sum() == pytest.approx(session.throughput(1e6)["throughput_bps"].sum(), rel=0.05)
    assert pairs["one_way_delay_p50_ns"].tolist() == session.one_way_delay()["p50_ns"].tolist()
    assert pairs[["src", "dst"]].to_numpy().tolist() == [["c1", "c0"]]
    ports = journeys.groupby(["sport", "dport"]).size()
    assert flows.set_index(["sport", "dport"])["packets_sent"].to_dict() == ports.to_dict()
    assert flows["bytes"].sum() == pairs["bytes"].sum()
    for name, table in (("pairs", pairs), ("flows", flows)):
        assert [str(dtype) for dtype in table.dtypes] == [column.dtype for column in schema.TABLES[name]]


def test_changes_of_a_table_do_not_affect_the_session(session):
    table = session.journeys()
    table["outcome"] = "mine"
    assert (session.journeys()["outcome"] == "delivered").all()


def test_lost_events_are_reported_and_reads_are_not_guessed():
    """UDP reads are matched by their order, which is then unknown; TCP reads by their bytes."""
    session = Session(bulk(300), manifest(lost=7))
    assert session.lost_events == 7 * len(session.ledger())
    assert f"{session.lost_events} lost events" in repr(session)
    outcomes = session.journeys().groupby("proto", observed=True)["outcome"].agg(lambda o: set(o))
    assert outcomes.to_dict() == {"tcp": {"delivered"}, "udp": {"arrived"}}


def test_rules_are_in_table_summary_and_caption():
    entries = manifest()
    rule = entries["rules"][0]["rule"]
    entries["rules"][0] |= {
        "name": "web",
        "epochs": [2, 3],
        "rule": rule
        | {
            "match": {
                "packets": "tcp port 80",
                "containers": {"name": ["web-*", "db"], "label": None},
                "direction": "in",
            },
            "sample": 0.1,
        },
    }
    entries["rules"].append({"slot": 3, "name": "all", "epochs": [1, 1], "rule": rule | {"mode": "aggregate"}})
    session = Session(bulk(300), entries)
    assert session.rules().to_dict("records") == [
        {
            "slot": 0,
            "name": "web",
            "mode": "capture",
            "expression": "tcp port 80",
            "containers": "name web-* or db, to them",
            "sample": 0.1,
            "sample_min": 0.1,
            "max_overhead": "",
            "first_epoch": 2,
            "last_epoch": 3,
        },
        {
            "slot": 3,
            "name": "all",
            "mode": "aggregate",
            "expression": "",
            "containers": "",
            "sample": 1.0,
            "sample_min": 1.0,
            "max_overhead": "",
            "first_epoch": 1,
            "last_epoch": 1,
        },
    ]
    assert "tcp port 80 of containers name web-* or db, to them (sampled 10%); all IP packets (aggregate)" in repr(
        session
    )
    assert session.sampled == "sampled 10%"
    assert session.sampled in repr(session).splitlines()[1]
    assert session.sampled in session.caption()


def test_a_budget_is_reported_with_the_range_of_shares():
    entries, columns = manifest(), bulk(300)
    entries["rules"][0]["rule"] |= {"max_overhead": "3%"}
    at = columns["ts_ns"][[100, 200]].tolist()
    step = {"rule": "all", "epoch": 1, "mode_before": "capture", "mode": "capture", "why": "there is room: 1%"}
    entries["budget"] = {
        "error": "",
        "changes": [
            step | {"start_ns": 1, "end_ns": 2, "sample_before": 0.01, "sample": 0.01},
            step | {"start_ns": at[0], "end_ns": at[1], "sample_before": 0.01, "sample": 0.02},
        ],
        "kept": [{"rule": "all", "measurements": 9, "over": 1, "highest": 0.0312, "mean": 0.012}],
    }
    session = Session(columns, entries)
    assert session.sampled == "sampled 1% to 2%"
    assert session.rules()[["sample_min", "sample", "max_overhead"]].to_numpy().tolist() == [[0.01, 0.02, "3%"]]
    assert session.budget()["sample"].tolist() == [0.01, 0.02]
    assert "budget of all, 3%: 1.2% on average, 3.12% at most; over it in 1 of 9 measurements" in repr(session)
    # Packets in flight at a change may have been recorded in part.
    assert Manifest(entries).breaks(columns["epoch"], columns["ts_ns"]).tolist() == at


def test_reads_of_a_sample_are_not_guessed():
    entries = manifest()
    entries["ledger"][0]["sampled_out"] = 1
    outcomes = Session(bulk(300), entries).journeys().groupby("proto", observed=True)["outcome"].agg(lambda o: set(o))
    assert outcomes.to_dict() == {"tcp": {"delivered"}, "udp": {"arrived"}}


def test_changes_of_rules_are_breaks():
    columns = bulk(300)
    half = len(columns["ts_ns"]) // 2
    columns["epoch"][half:] += 1
    breaks = Manifest(manifest(trace_gap_ns=70)).breaks(columns["epoch"], columns["ts_ns"])
    assert breaks.tolist() == [0, 70, columns["ts_ns"][half]]


def test_trace_gaps_are_reported():
    session = Session(bulk(300), manifest(trace_gap_ns=2_500_000))
    assert session.trace_gap_ns == 2_500_000
    assert "trace gaps: 2.5 ms in total" in repr(session)
    assert (session.journeys()["outcome"] == "delivered").all()


def test_unknown_trace_gaps_of_an_agent_are_reported():
    def summary_of(**changes):
        return repr(Session(bulk(20), manifest() | {"recording": {"ended": "finished", "started_ns": 10**9}} | changes))

    assert "trace gaps of the first 2.5 s are not known" in summary_of(blind_from_ns=3_500_000_000)
    assert "not known when" not in summary_of(blind_from_ns=10**9) and "not known when" not in summary_of()


def test_a_saved_session_opens_unchanged(session, tmp_path):
    again = cmonlab.open(session.save(tmp_path / "run"))
    assert again.events.equals(session.events)
    for name in ("breakdown", "journeys", "drops", "throughput", "ledger", "hops"):
        assert again.table(name).equals(session.table(name)), name
    assert repr(again) == repr(session)


def test_memory_is_bounded():
    """Tables need less memory than the events themselves."""
    import tracemalloc

    columns = bulk(60_000)
    size = 56 * len(columns["ts_ns"])
    Session(bulk(100), manifest()).breakdown()  # modules that are imported late
    tracemalloc.start()
    try:
        Session(columns, manifest()).breakdown()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * size


def test_breakdown_is_by_segment_or_by_kind(session):
    with pytest.raises(UnknownName, match="kind, segment"):
        session.breakdown(by="hop")
    drawn = session.plot.breakdown(by="kind")
    assert sum(bar.x[0] for bar in drawn.data) * 1e3 == pytest.approx(session.journeys()["one_way_delay_ns"].mean())


def test_a_session_has_a_section_in_the_report():
    entries = manifest()
    entries["recording"] |= {"seconds": 1.0}
    entries["host"] = {"kernel": "6.18", "clocksource": "tsc", "cpu": "x", "cpus": 2}
    entries |= {"created": "now", "missing": ["sched_waking"]}
    entries["rules"][0]["rule"]["sample"] = 0.25
    part = run_report(Session(bulk(300), entries), "one")
    assert ("rules", "all IP packets (sampled 25%)") in part.summary
    assert ("sampling", "sampled 25%") in part.summary
    assert {"breakdown", "breakdown_by_kind", "paths", "loss", "rules", "ledger"} == set(part.tables)
    assert "What the time is spent on" in part.figures
    assert any("sampled 25%" in note for note in part.notes)
    assert any("lacked sched_waking" in note for note in part.notes)


def test_no_events_give_no_journeys():
    session = Session(directory.empty_columns(), manifest())
    assert len(session) == 0
    assert session.duration_s == 0
    with pytest.raises(SessionError):
        session.typical()


def test_tracing_overhead_is_reported_if_measured(tmp_path):
    session = Session(bulk(300), _whole())
    assert "tracing overhead: not measured" in repr(session) and session.overhead().empty
    assert "tracing overhead: not measured" in session.caption()
    found = {
        "samples": {"untraced": {"p50": [1000.0] * 5}, "traced": {"p50": [1800.0, 1700.0, 1800.0, 1900.0, 1800.0]}},
        "units": {"p50": "ns"},
    }
    saved = Session(bulk(300), _whole() | {"overhead": found}).save(tmp_path / "run")
    measured = cmonlab.open(saved)
    line = "tracing overhead: p50 +0.80 µs (95% +0.70…+0.90)"
    assert line in repr(measured) and line in measured.caption()
    assert measured.overhead()["difference"].tolist() == [800.0]
    assert measured.plot.overhead().data[0].x[0] == pytest.approx(80)
    section = run_report(measured, "made")
    assert dict(section.summary)["tracing overhead"] == line.removeprefix("tracing overhead: ")
    assert "overhead" in section.tables and "Tracing overhead" in section.figures
    assert any("95% bootstrap" in note for note in section.notes)
    bare = run_report(session, "made")
    assert dict(bare.summary)["tracing overhead"] == "not measured" and "overhead" not in bare.tables


def _whole() -> dict:
    return manifest() | {
        "recording": {"ended": "finished", "seconds": 1.0},
        "host": {"kernel": "6.1", "clocksource": "tsc", "cpu": "x", "cpus": 2, "machine": "x86_64"},
        "created": "2026-01-01T00:00:00+00:00",
    }
