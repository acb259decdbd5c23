"""Artifacts: packing, checking, reports of changes, and refusal of unsafe archives."""

import gzip
import hashlib
import io
import json
import tarfile

import nbformat
import pandas as pd
import pytest
from nbformat import v4

from cmonlab.errors import ArtifactError, ExportError
from cmonlab.session.session import Session
from cmonlab.study import artifact
from cmonlab.study.artifact import archive, environment
from cmonlab.study.artifact.frozen import freeze
from cmonlab.study.artifact.results import MIME
from tests.support.archives import content_of, written, wrong
from tests.support.command import cmonlab
from tests.support.events import bulk, manifest

__all__ = ["cmonlab"]


def make(folder):
    """Make a project: a session in a subfolder, data, and a notebook that was saved with a result."""
    packages = manifest() | {"packages": {"python3-bpfcc": "0.26.0+ds-1"}}
    Session(bulk(150), packages).save(folder / "runs" / "first")
    (folder / "data.csv").write_text("a,b\n1,2\n")
    (folder / ".git").mkdir()
    (folder / ".git" / "secret").write_text("no")
    content = {"name": "table-1", **freeze(pd.DataFrame({"segment": ["x", "y"], "p99_ns": [1500.0, 2.5]}))}
    output = v4.new_output("display_data", data={MIME: content, "text/plain": "…"})
    (folder / "notebooks").mkdir()
    notebook = v4.new_notebook(cells=[v4.new_code_cell("1 + 1", outputs=[output])])
    nbformat.write(notebook, folder / "notebooks" / "a.ipynb")
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project's folder."""
    return make(tmp_path_factory.mktemp("projects") / "paper")


@pytest.fixture(scope="module")
def packed(project, tmp_path_factory):
    """The artifact of the project."""
    return artifact.pack(project, tmp_path_factory.mktemp("packed") / "paper.tar.gz")


def test_archive_holds_all_but_hidden_files(packed):
    content = content_of(packed)
    names = sorted(name.removeprefix("paper/") for name in content)
    assert names == sorted(
        [
            "README.md",
            "artifact.json",
            "environment.json",
            "expected.json",
            "requirements.txt",
            "project/data.csv",
            "project/notebooks/a.ipynb",
            "project/runs/first/events.parquet",
            "project/runs/first/manifest.json",
        ]
    )
    assert b"cmonlab artifact reproduce paper.tar.gz" in content["paper/README.md"]
    expected = json.loads(content["paper/expected.json"])
    assert expected["sessions"].keys() == {"runs/first"} and "breakdown" in expected["sessions"]["runs/first"]
    assert expected["results"]["table-1"]["notebook"] == "notebooks/a.ipynb"
    locked = json.loads(content["paper/environment.json"])
    assert locked["packages"] == {"python3-bpfcc": ["0.26.0+ds-1"]}
    assert locked["distributions"]["numpy"]["version"] and len(locked["distributions"]["numpy"]["sha256"]) == 64
    assert f"numpy=={locked['distributions']['numpy']['version']}\n".encode() in content["paper/requirements.txt"]


def test_archive_of_the_same_content_has_the_same_bytes(project, packed, tmp_path):
    again = artifact.pack(project, tmp_path / "other-name.tar.gz")
    assert again.read_bytes() == packed.read_bytes()
    with tarfile.open(packed) as tar:
        assert {(entry.uid, entry.gid, entry.mtime, entry.uname, entry.mode) for entry in tar} == {(0, 0, 0, "", 0o644)}


def test_check_of_an_unchanged_artifact_agrees(packed):
    report = artifact.check(packed, notebooks=False)
    assert report.ok and not wrong(report)
    sessions = [finding for finding in report.findings if finding.part == "session"]
    assert {finding.name for finding in sessions} >= {"runs/first breakdown", "runs/first one_way_delay"}
    assert "files: 8 agree\nsessions: 9 agree\n" in report.text() and report.text().endswith("all 17 checks agree")
    assert "not run: left out" in report.text()
    assert hashlib.sha256(packed.read_bytes()).hexdigest() in report.text()
    data = json.loads(report.to_json())
    assert data["ok"] is True and len(data["findings"]) == len(report.findings)


def test_check_accepts_an_unpacked_folder(packed, tmp_path):
    with tarfile.open(packed) as tar:
        tar.extractall(tmp_path)  # this test made it
    assert artifact.check(tmp_path / "paper", notebooks=False).ok
    (tmp_path / "paper" / "project" / "data.csv").unlink()
    assert wrong(artifact.check(tmp_path / "paper", notebooks=False)).keys() == {"project/data.csv"}


@pytest.mark.parametrize("name", ["project/data.csv", "project/notebooks/a.ipynb", "expected.json"])
def test_check_reports_a_changed_byte_and_executes_nothing(packed, tmp_path, name):
    content = content_of(packed)
    data = bytearray(content[f"paper/{name}"])
    data[len(data) // 2] ^= 1
    content[f"paper/{name}"] = bytes(data)
    report = artifact.check(written(tmp_path / "changed.tar.gz", content))
    assert not report.ok and "its content has changed" in wrong(report)[name].note
    assert "not run: packed files have changed" in report.text()


def test_check_reports_a_changed_session_as_file_and_as_damaged(packed, tmp_path):
    content = content_of(packed)
    data = bytearray(content["paper/project/runs/first/events.parquet"])
    data[len(data) // 2] ^= 255
    content["paper/project/runs/first/events.parquet"] = bytes(data)
    found = wrong(artifact.check(written(tmp_path / "changed.tar.gz", content), notebooks=False))
    assert "its content has changed" in found["project/runs/first/events.parquet"].note
    assert "is damaged" in found["runs/first"].note


def test_check_reports_by_how_much_a_table_differs(packed, tmp_path):
    content = content_of(packed)
    expected = json.loads(content["paper/expected.json"])
    table = expected["sessions"]["runs/first"]["breakdown"]
    column = next(column for column in table["columns"] if column["name"] == "p99_ns")
    column["values"][2] /= 1.25
    content["paper/expected.json"] = json.dumps(expected).encode()
    listed = json.loads(content["paper/artifact.json"])
    listed["files"]["expected.json"] = {
        "bytes": len(content["paper/expected.json"]),
        "sha256": archive.sha256_of(io.BytesIO(content["paper/expected.json"])),
    }
    content["paper/artifact.json"] = json.dumps(listed).encode()
    report = artifact.check(written(tmp_path / "other.tar.gz", content), notebooks=False)
    [one] = wrong(report)["runs/first breakdown"].differences
    assert (one.column, one.rows, one.unit) == ("p99_ns", 1, "ns") and one.relative == pytest.approx(0.25)
    assert "+25%" in report.text() and wrong(report).keys() == {"runs/first breakdown"}
    assert "1 of " in report.verdict()


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("paper/../../evil", {}, "does not list"),
        ("/tmp/evil", {}, "does not list"),
        ("evil", {}, "does not list"),
        ("paper/project/more.csv", {}, "does not list"),
        (
            "paper/project/data.csv",
            {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd", "size": 0},
            "not a regular file",
        ),
        ("paper/project/data.csv", {"type": tarfile.LNKTYPE, "linkname": "../../x", "size": 0}, "not a regular file"),
        ("paper/project/data.csv", {"type": tarfile.CHRTYPE, "size": 0}, "not a regular file"),
    ],
)
def test_check_refuses_unsafe_members(packed, tmp_path, name, changes, message):
    content = content_of(packed)
    content.pop(name, None)
    path = written(tmp_path / "evil.tar.gz", {**content, name: b"evil"}, **{name: changes})
    with pytest.raises(ArtifactError, match=message):
        artifact.check(path)
    with pytest.raises(ArtifactError, match="unsafe"):
        artifact.reproduce(path, tmp_path / "out")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["evil.tar.gz"]


@pytest.mark.parametrize("name", ["../evil", "/etc/x", "a/../../b", "", "artifact.json", "a\\..\\b"])
def test_check_refuses_a_manifest_with_unsafe_paths(packed, tmp_path, name):
    content = content_of(packed)
    listed = json.loads(content["paper/artifact.json"])
    listed["files"][name] = {"bytes": 4, "sha256": "0" * 64}
    content["paper/artifact.json"] = json.dumps(listed).encode()
    content.setdefault(f"paper/{name}", b"evil")
    with pytest.raises(ArtifactError, match="unsafe"):
        artifact.check(written(tmp_path / "evil.tar.gz", content))


def test_check_does_not_unpack_a_member_larger_than_listed(packed, tmp_path):
    content = content_of(packed)
    content["paper/project/data.csv"] = b"0" * 10_000_000
    report = artifact.check(written(tmp_path / "bomb.tar.gz", content), notebooks=False)
    assert "missing, or of another size" in wrong(report)["project/data.csv"].note


def test_check_refuses_files_that_are_not_artifacts(packed, tmp_path):
    (tmp_path / "text.tar.gz").write_text("hello")
    with pytest.raises(ArtifactError, match="is damaged"):
        artifact.check(tmp_path / "text.tar.gz")
    (tmp_path / "half.tar.gz").write_bytes(packed.read_bytes()[: packed.stat().st_size // 2])
    with pytest.raises(ArtifactError, match="is damaged"):
        artifact.check(tmp_path / "half.tar.gz")
    with pytest.raises(ArtifactError, match="does not begin with"):
        artifact.check(written(tmp_path / "other.tar.gz", {"x": b"y"}))
    with pytest.raises(ArtifactError, match="No such file"):
        artifact.check(tmp_path / "absent.tar.gz")
    with pytest.raises(ArtifactError, match=r"artifact\.json"):
        artifact.check(tmp_path)
    (tmp_path / "empty.tar.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(ArtifactError, match=r"is damaged|is not an artifact"):
        artifact.check(tmp_path / "empty.tar.gz")
    with pytest.raises(ArtifactError, match="newer cmonlab"):
        archive.read_manifest(json.dumps({"format": 99, "name": "x", "files": {}}).encode())


def test_pack_refuses_unusable_folders(project, tmp_path):
    with pytest.raises(ArtifactError, match="holds no session and no notebook"):
        artifact.pack(tmp_path, tmp_path / "x.tar.gz")
    with pytest.raises(ArtifactError, match="is not a folder"):
        artifact.pack(tmp_path / "absent", tmp_path / "x.tar.gz")
    with pytest.raises(ArtifactError, match=r"ends in \.tar\.gz"):
        artifact.pack(project, tmp_path / "x.zip")
    (tmp_path / "taken.tar.gz").write_text("mine")
    with pytest.raises(ExportError, match="exists"):
        artifact.pack(project, tmp_path / "taken.tar.gz")
    folder = make(tmp_path / "linked")
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(ArtifactError, match="link cannot be packed"):
        artifact.pack(folder, tmp_path / "x.tar.gz")
    (folder / "link").unlink()
    (folder / "bad.ipynb").write_text("{}")
    with pytest.raises(ArtifactError, match="is not a notebook"):
        artifact.pack(folder, tmp_path / "x.tar.gz")
    assert not (tmp_path / "x.tar.gz").exists()


def test_pack_refuses_two_notebooks_that_declare_one_name(tmp_path):
    folder = make(tmp_path / "twice")
    (folder / "b.ipynb").write_text((folder / "notebooks" / "a.ipynb").read_text())
    with pytest.raises(ArtifactError, match="both declare 'table-1'"):
        artifact.pack(folder)


def test_changes_names_what_differs_between_environments():
    packed = environment.lock()
    here = json.loads(json.dumps(packed))
    assert environment.changes(packed, here) == []
    here["distributions"]["numpy"]["version"] = "0.1"
    here["distributions"]["pandas"]["sha256"] = "0" * 64
    del here["distributions"]["scapy"]
    here["machine"]["kernel"] = "9.9"
    found = {name: (then, now) for name, then, now in environment.changes(packed, here)}
    assert found.keys() == {"kernel", "numpy", "pandas", "scapy"}
    assert found["numpy"] == (packed["distributions"]["numpy"]["version"], "0.1") and found["scapy"][1] == "absent"


def test_command_packs_and_checks(cmonlab, project, tmp_path):
    out = tmp_path / "it.tar.gz"
    assert cmonlab("artifact", "pack", project, "--out", out)[:2] == (0, f"{out}\n")
    code, text, err = cmonlab("artifact", "check", out, "--no-notebooks")
    assert code == 0 and text.endswith("checks agree\n") and "session runs/first" in err
    content = content_of(out)
    content["paper/project/data.csv"] = b"a,b\n1,3\n"
    changed = written(tmp_path / "changed.tar.gz", content)
    code, text, _ = cmonlab("artifact", "check", changed, "--no-notebooks", "--json")
    assert code == 1 and json.loads(text)["ok"] is False
