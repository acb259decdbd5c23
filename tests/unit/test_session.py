"""A session's tables belong together."""

import pytest

import cmonlab
from cmonlab import schema, store
from cmonlab.errors import SessionError, UnknownName
from cmonlab.session import Session

from .events import bulk, manifest


@pytest.fixture(scope="module")
def session():
    return Session(bulk(300), manifest())


def test_events_are_those_of_the_schema(session):
    assert [(name, str(dtype)) for name, dtype in session.events.dtypes.items()] == [
        (c.name, c.dtype) for c in schema.TABLES["events"]
    ]
    assert session.events["place"].iloc[0] == "c1:eth0"
    assert len(session) == len(session.events)


@pytest.mark.parametrize("name", ["breakdown", "journeys", "drops", "throughput", "ledger", "links", "hops", "blind"])
def test_tables_by_name(session, name):
    assert session.table(name).columns.tolist() == schema.columns(name)


def test_an_unknown_table_or_journey(session):
    with pytest.raises(UnknownName, match="breakdown"):
        session.table("breakdwon")
    with pytest.raises(UnknownName, match="0 to 299"):
        session.hops(300)


def test_typical_and_slowest(session):
    delays = session.journeys()["one_way_delay_ns"].sort_values(kind="stable").to_numpy()
    journeys = session.journeys().set_index("journey")["one_way_delay_ns"]
    assert journeys[session.slowest()] == delays[-1]
    assert journeys[session.typical()] == delays[149]
    assert session.typical("c1 → c0") == session.typical()
    with pytest.raises(SessionError, match="no journey is complete"):
        session.typical("c0 → c1")


def test_what_a_table_is_changed_to_stays_out(session):
    table = session.journeys()
    table["outcome"] = "mine"
    assert (session.journeys()["outcome"] == "delivered").all()


def test_lost_events_are_told_and_no_reads_are_guessed():
    """UDP reads are joined by their order, which is not known any more; TCP's by their bytes."""
    session = Session(bulk(300), manifest(lost=7))
    assert session.lost_events == 7 * len(session.ledger())
    assert f"{session.lost_events} lost events" in repr(session)
    assert (session.journeys()["outcome"] == "arrived").all()
    entries = manifest()
    next(row for row in entries["ledger"] if row["point"] == "sock_recv_length")["lost"] = 1
    outcome = Session(bulk(300), entries).journeys().groupby("proto", observed=True)["outcome"].agg(lambda o: set(o))
    assert outcome.to_dict() == {"tcp": {"delivered"}, "udp": {"arrived"}}


def test_blind_times_are_told():
    session = Session(bulk(300), manifest(blind_ns=2_500_000))
    assert session.blind_ns == 2_500_000
    assert "blind for 2.5 ms" in repr(session)
    assert (session.journeys()["outcome"] == "delivered").all()


def test_saved_and_opened(session, tmp_path):
    again = cmonlab.open(session.save(tmp_path / "run"))
    assert again.events.equals(session.events)
    for name in ("breakdown", "journeys", "drops", "throughput", "ledger", "hops"):
        assert again.table(name).equals(session.table(name)), name
    assert repr(again) == repr(session)


def test_memory_stays_small():
    """Beside the events, tables need less than the events themselves."""
    import tracemalloc

    columns = bulk(60_000)
    size = 56 * len(columns["ts_ns"])
    Session(bulk(100), manifest()).breakdown()  # what is imported late
    tracemalloc.start()
    try:
        Session(columns, manifest()).breakdown()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * size


def test_no_events():
    session = Session(store.empty_columns(), manifest())
    assert len(session) == 0
    assert session.duration_s == 0
    with pytest.raises(SessionError):
        session.slowest()
