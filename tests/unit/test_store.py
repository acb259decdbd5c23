"""Session directories: whole or not at all, and the same again."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmonlab import store
from cmonlab.errors import SessionError

from .events import bulk, manifest

RECORD = np.dtype([(name, dtype) for name, dtype in store._DTYPES.items() if name != "cpu"])


@given(st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 20), max_size=8)), max_size=8))
def test_columns_are_in_order_of_time(chunks):
    """Events of one time stay in order within their processor."""
    made, number = [], 0
    for cpu, times in chunks:
        records = np.zeros(len(times), RECORD)
        records["ts_ns"] = sorted(times)
        records["seq"] = np.arange(number, number + len(times))
        number += len(times)
        made.append((cpu, records))
    columns = store.columns_of(made)
    assert list(columns) == list(store._DTYPES)
    assert (np.diff(columns["ts_ns"]) >= 0).all()
    assert sorted(columns["seq"].tolist()) == list(range(number))
    owner = {int(seq): cpu for cpu, records in made for seq in records["seq"]}
    assert [owner[seq] for seq in columns["seq"].tolist()] == columns["cpu"].tolist()
    ties = np.flatnonzero((np.diff(columns["ts_ns"]) == 0) & (np.diff(columns["cpu"].astype(int)) == 0))
    assert (columns["seq"][ties] < columns["seq"][ties + 1]).all()


@pytest.mark.parametrize("packets", [0, 3000])
def test_saved_and_loaded(tmp_path, packets):
    columns = bulk(packets) if packets else store.empty_columns()
    store.save(tmp_path / "run", columns, manifest())
    loaded, entries = store.load(tmp_path / "run")
    assert list(loaded) == list(columns)
    for name, values in columns.items():
        assert loaded[name].dtype == values.dtype
        assert (loaded[name] == values).all()
    assert entries == {"format": store.FORMAT, **json.loads(json.dumps(manifest()))}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["run"]


def test_few_bytes_an_event(tmp_path):
    columns = bulk(50_000)
    store.write_events(tmp_path / "events.parquet", columns)
    assert (tmp_path / "events.parquet").stat().st_size / len(columns["ts_ns"]) < 16


def test_a_taken_directory_stays_as_it_is(tmp_path):
    (tmp_path / "note").write_text("mine")
    with pytest.raises(SessionError, match="not an empty directory"):
        store.save(tmp_path, bulk(10), manifest())
    assert [file.name for file in tmp_path.iterdir()] == ["note"]


def test_a_failing_write_leaves_nothing(tmp_path, monkeypatch):
    def full(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_events", full)
    with pytest.raises(SessionError, match="No space left"):
        store.save(tmp_path / "new" / "run", bulk(10), manifest())
    assert not list(tmp_path.rglob("*.parquet"))
    assert not (tmp_path / "new" / "run").exists()


def test_nothing_there(tmp_path):
    with pytest.raises(SessionError, match="holds no session"):
        store.load(tmp_path)


@pytest.mark.parametrize("damage", ["no events", "cut events", "no json", "newer", "lacks points"])
def test_damaged(tmp_path, damage):
    store.save(tmp_path / "run", bulk(100), manifest())
    events, entries = tmp_path / "run" / store.EVENTS, tmp_path / "run" / store.MANIFEST
    if damage == "no events":
        events.unlink()
    elif damage == "cut events":
        events.write_bytes(events.read_bytes()[:-100])
    elif damage == "no json":
        entries.write_text("{")
    elif damage == "newer":
        entries.write_text(json.dumps({**manifest(), "format": store.FORMAT + 1}))
    else:
        entries.write_text(
            json.dumps({name: value for name, value in manifest().items() if name != "points"} | {"format": 1})
        )
    with pytest.raises(SessionError, match="newer" if damage == "newer" else "damaged"):
        store.load(tmp_path / "run")
