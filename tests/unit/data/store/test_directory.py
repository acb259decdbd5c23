"""Session directories: written atomically and loaded unchanged."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmonlab.data.store import directory
from cmonlab.errors import SessionError
from cmonlab.rules.model import Rule
from tests.support.events import bulk, manifest

RECORD = np.dtype([(name, dtype) for name, dtype in directory.DTYPES.items() if name != "cpu"])


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 20), max_size=8)), max_size=8))
def test_columns_are_in_order_of_time(chunks):
    """Events of one time and processor stay in order."""
    made, number = [], 0
    for cpu, times in chunks:
        records = np.zeros(len(times), RECORD)
        records["ts_ns"] = sorted(times)
        records["seq"] = np.arange(number, number + len(times))
        number += len(times)
        made.append((cpu, records))
    handed = list(made)
    columns = directory.columns_of(handed)
    assert not handed  # their memory was freed
    assert list(columns) == list(directory.DTYPES)
    assert (np.diff(columns["ts_ns"]) >= 0).all()
    assert sorted(columns["seq"].tolist()) == list(range(number))
    owner = {int(seq): cpu for cpu, records in made for seq in records["seq"]}
    assert [owner[seq] for seq in columns["seq"].tolist()] == columns["cpu"].tolist()
    ties = np.flatnonzero((np.diff(columns["ts_ns"]) == 0) & (np.diff(columns["cpu"].astype(int)) == 0))
    assert (columns["seq"][ties] < columns["seq"][ties + 1]).all()


@pytest.mark.parametrize("packets", [0, 3000])
def test_saved_columns_load_unchanged(tmp_path, packets):
    columns = bulk(packets) if packets else directory.empty_columns()
    directory.save(tmp_path / "run", columns, manifest())
    loaded, entries, *_ = directory.load(tmp_path / "run")
    assert list(loaded) == list(columns)
    for name, values in columns.items():
        assert loaded[name].dtype == values.dtype
        assert (loaded[name] == values).all()
    assert entries == {"format": directory.FORMAT, **json.loads(json.dumps(manifest()))}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run"]


def test_events_take_few_bytes(tmp_path):
    columns = bulk(50_000)
    directory.write_events(tmp_path / "events.parquet", columns)
    assert (tmp_path / "events.parquet").stat().st_size / len(columns["ts_ns"]) < 16


def test_an_existing_directory_is_not_changed(tmp_path):
    (tmp_path / "note").write_text("mine")
    with pytest.raises(SessionError, match="not an empty directory"):
        directory.save(tmp_path, bulk(10), manifest())
    assert [file.name for file in tmp_path.iterdir()] == ["note"]


def test_a_failing_write_leaves_nothing(tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(directory, "write_events", full)
    with pytest.raises(SessionError, match="No space left"):
        directory.save(tmp_path / "new" / "run", bulk(10), manifest())
    assert not list(tmp_path.rglob("*.parquet"))
    assert not (tmp_path / "new" / "run").exists()


def test_a_directory_without_a_session_is_refused(tmp_path):
    with pytest.raises(SessionError, match="holds no session"):
        directory.load(tmp_path)


@pytest.mark.parametrize("damage", ["no events", "cut events", "no json", "newer", "lacks points"])
def test_a_damaged_session_is_refused(tmp_path, damage):
    directory.save(tmp_path / "run", bulk(100), manifest())
    events, entries = tmp_path / "run" / directory.EVENTS, tmp_path / "run" / directory.MANIFEST
    if damage == "no events":
        events.unlink()
    elif damage == "cut events":
        events.write_bytes(events.read_bytes()[:-100])
    elif damage == "no json":
        entries.write_text("{")
    elif damage == "newer":
        entries.write_text(json.dumps({**manifest(), "format": directory.FORMAT + 1}))
    else:
        entries.write_text(
            json.dumps({name: value for name, value in manifest().items() if name != "points"} | {"format": 2})
        )
    with pytest.raises(SessionError, match="newer" if damage == "newer" else "damaged"):
        directory.load(tmp_path / "run")


def test_a_session_of_format_1_opens(tmp_path):
    """It has whole addresses of buffers, one rule and no epochs; saving it writes the current format."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    skb = np.array([0xFFFF888100000040, 0xFFFFC90000001FC0, 0xFFFF888100000040], np.uint64)
    old = {
        name: np.arange(3).astype(dtype) for name, dtype in directory.DTYPES.items() if name not in ("epoch", "rules")
    }
    (tmp_path / "old").mkdir()
    pq.write_table(pa.table(old | {"skb": skb}), tmp_path / "old" / directory.EVENTS)
    row = {"point": "net_dev_queue", "seen": 5, "unmatched": 1, "sampled_out": 0, "recorded": 3, "lost": 1}
    entries = {name: value for name, value in manifest().items() if name not in ("rules", "missing")} | {
        "format": 1,
        "points": [{"id": 0, "name": "net_dev_queue", "label": "queue", "stage": "transmit"}],
        "rule": {"expression": "udp port 53", "points": ["net_dev_queue"], "missing": ["sock_recv_length"]},
        "ledger": [row],
    }
    (tmp_path / "old" / directory.MANIFEST).write_text(json.dumps(entries))
    columns, upgraded, *_ = directory.load(tmp_path / "old")
    assert {name: values.dtype for name, values in columns.items()} == directory.DTYPES
    assert columns["skb"].tolist() == [0x04000001, 0x7F, 0x04000001]
    assert (columns["epoch"].tolist(), columns["rules"].tolist()) == ([1, 1, 1], [1, 1, 1])
    assert columns["seq"].tolist() == [0, 1, 2]
    assert "rule" not in upgraded
    assert upgraded["missing"] == ["sock_recv_length"]
    assert upgraded["ledger"] == [row | {"counted": 0, "aggregated": 0, "overflowed": 0}]
    [rule] = upgraded["rules"]
    assert (rule["slot"], rule["name"], rule["epochs"]) == (0, "packets", [1, 1])
    assert Rule.model_validate(rule["rule"]).model_dump(mode="json") == rule["rule"]
    assert rule["rule"]["match"]["packets"] == "udp port 53"
    directory.save(tmp_path / "new", columns, upgraded)
    again, entries, *_ = directory.load(tmp_path / "new")
    assert entries["format"] == directory.FORMAT == 2
    assert all((again[name] == values).all() for name, values in columns.items())
