"""Datasets: complete, small, without private data, and clear errors."""

import json
import shutil
import socket

import pytest

import cmonlab as cm
from cmonlab.errors import SessionError, UnknownName
from cmonlab.study.datasets import record, registry
from cmonlab.study.datasets.recipes import RECIPES, Recipe

NAMES = list(registry.entries())


def test_every_recipe_has_a_dataset():
    assert sorted(NAMES) == sorted(RECIPES)


@pytest.mark.parametrize("name", NAMES)
def test_dataset_has_the_files_and_journeys_of_the_registry(name):
    folder, entry = registry.verified(name)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there == set(entry["files"])
    assert {path.rpartition(".")[2] for path in there} <= {"parquet", "json", "md"}  # no pickle, no code
    assert sum(file["bytes"] for file in entry["files"].values()) <= record.MOST_BYTES
    runs = cm.datasets.load_runs(name)
    assert sum(len(session.journeys()) for sessions in runs.values() for session in sessions) == entry["journeys"] > 0
    assert all(session.lost_events == 0 for sessions in runs.values() for session in sessions)


@pytest.mark.parametrize("name", NAMES)
def test_card_says_how_where_and_under_what_licence(name):
    card = cm.datasets.card(name)
    assert card.startswith(f"# {name}\n")
    for heading in ("## Sessions", "## How it was recorded", "## Limits", "## Licence"):
        assert heading in card
    assert record._source(RECIPES[name].make) in card  # the code that recorded it is the code that is here


@pytest.mark.parametrize("name", NAMES)
def test_manifests_contain_nothing_private(name):
    for sessions in cm.datasets.load_runs(name).values():
        for session in sessions:
            manifest = session.manifest
            assert "output" not in manifest["workload"] and manifest["host"]["git_revision"] is None
            assert manifest["host"]["kernel"].replace(".", "").isdigit()
            containers = {container["name"] for container in manifest["lab"]["containers"]}
            passed = set(session.events["netns"])
            assert all(row["namespace"] in containers or row["netns"] in passed for row in manifest["links"])


def test_names_lists_all_datasets():
    table = cm.datasets.names()
    assert table.columns.tolist() == ["name", "what", "sessions", "journeys", "bytes"]
    assert table["name"].tolist() == NAMES
    runs = cm.datasets.load_runs("network-modes")
    assert table.set_index("name").loc["network-modes", "sessions"] == sum(map(len, runs.values()))
    assert {len(repetitions) for repetitions in runs.values()} == {5}


def test_load_returns_one_session_or_names_load_runs():
    assert len(cm.datasets.load("loss-places")) > 0
    with pytest.raises(SessionError, match=r"20 sessions(.|\n)*load_runs\('network-modes'\)"):
        cm.datasets.load("network-modes")
    with pytest.raises(UnknownName, match="did you mean 'memcached-bridge'"):
        cm.datasets.load("memcached-brige")


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Return a folder with a copy of one dataset, from which `cm.datasets` loads."""
    shutil.copytree(registry.FOLDER / "loss-places", tmp_path / "loss-places")
    shutil.copy(registry.FOLDER / registry.REGISTRY, tmp_path)
    monkeypatch.setattr(registry.verified, "__defaults__", (tmp_path,))
    return tmp_path


def test_load_refuses_a_changed_byte(copy):
    file = copy / "loss-places" / "iperf-udp" / "events.parquet"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(SessionError, match=r"iperf-udp/events.parquet is not what was recorded"):
        cm.datasets.load("loss-places")


def test_load_reports_a_missing_file(copy):
    (copy / "loss-places" / "iperf-udp" / "manifest.json").unlink()
    with pytest.raises(SessionError, match=r"manifest.json cannot be read(.|\n)*git checkout datasets"):
        cm.datasets.load("loss-places")


@pytest.mark.parametrize("text", ["", "{}", '{"format": 1, "datasets": []}', '{"format": 1, "datasets": {"a": {}}}'])
def test_entries_reports_a_damaged_registry(tmp_path, text):
    (tmp_path / registry.REGISTRY).write_text(text)
    with pytest.raises(SessionError, match="registry of datasets cannot be read"):
        registry.entries(tmp_path)


def test_entries_refuses_a_registry_of_another_version(tmp_path):
    (tmp_path / registry.REGISTRY).write_text(json.dumps({"format": 99, "datasets": {}}))
    with pytest.raises(SessionError, match="another version"):
        registry.entries(tmp_path)


def _recipe(session) -> Recipe:
    return Recipe("made for a test", "none", lambda: {"A run": [session]})


def test_record_leaves_out_data_of_the_machine(tmp_path):
    session = cm.datasets.load("memcached-bridge")
    links = session.manifest["links"]
    uplink = {
        **links[0],
        "ifindex": 2,
        "name": "eth0",
        "kind": "",
        "mac": "02:00:5e:00:53:01",
        "addresses": ["198.51.100.7"],
        "namespace": "host",
    }
    other = {**uplink, "netns": 1, "namespace": "cmonlab-other-c0"}
    session.manifest["links"] = [*links, uplink, other]
    session.manifest["host"] |= {"kernel": "6.18.1-of-mine", "git_revision": "0" * 40}
    session.manifest["workload"]["output"] = "Linux c1 6.18.1-of-mine"
    record.write("made", _recipe(session), tmp_path)
    text = (tmp_path / "made" / "a-run" / "manifest.json").read_text()
    assert "198.51.100.7" not in text and "of-mine" not in text and "cmonlab-other" not in text
    assert cm.open(tmp_path / "made" / "a-run").manifest["links"] == links
    assert registry.verified("made", tmp_path)[1]["journeys"] == len(session.journeys())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", registry.REGISTRY]


def test_record_refuses_private_large_and_incomplete_sessions(tmp_path, monkeypatch):
    session = cm.datasets.load("loss-places")
    session.manifest["recording"] |= {"ended": "interrupted"}
    with pytest.raises(SessionError, match="not complete"):
        record.write("made", _recipe(session), tmp_path)
    session = cm.datasets.load("loss-places")
    session.manifest["lab"]["containers"].pop()
    with pytest.raises(SessionError, match="packets of others"):
        record.write("made", _recipe(session), tmp_path)
    session = cm.datasets.load("loss-places")
    monkeypatch.setattr(record, "MOST_BYTES", 1000)
    with pytest.raises(SessionError, match="at most 1,000"):
        record.write("made", _recipe(session), tmp_path)
    session.manifest["created"] = f"on {socket.gethostname()}"
    with pytest.raises(SessionError, match="identifies this machine"):
        record.write("made", _recipe(session), tmp_path)
    assert not list(tmp_path.iterdir())
