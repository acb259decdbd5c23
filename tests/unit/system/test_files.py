"""Files and directories appear atomically, and never over what is to stay."""

import errno
import os
import stat

import pytest

from cmonlab.errors import ExportError
from cmonlab.system import files
from cmonlab.system.files import atomic_directory, atomic_file, check_absent, export_file, write_text


def test_a_file_gets_its_name_when_the_block_has_succeeded(tmp_path):
    path = tmp_path / "result.bin"
    with atomic_file(path) as file:
        file.write(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content" and os.listdir(tmp_path) == ["result.bin"]


def test_an_older_file_stays_where_the_block_fails(tmp_path):
    path = tmp_path / "result.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["result.txt"]
    write_text(path, "new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["result.txt"]


def test_permissions_follow_the_umask_unless_a_file_is_private(tmp_path):
    before = os.umask(0o022)
    try:
        write_text(tmp_path / "public", "text")
        write_text(tmp_path / "private", "secret", private=True)
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("public", "private")]
    assert modes == [0o644, 0o600]


def test_a_replaced_file_keeps_its_permissions_and_a_link_to_it(tmp_path):
    (tmp_path / "figure.svg").write_text("old")
    (tmp_path / "figure.svg").chmod(0o640)
    (tmp_path / "link.svg").symlink_to("figure.svg")
    write_text(tmp_path / "link.svg", "new")
    assert (tmp_path / "link.svg").is_symlink() and (tmp_path / "figure.svg").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "figure.svg").stat().st_mode) == 0o640


def test_a_private_file_follows_no_link_and_takes_no_older_permissions(tmp_path):
    (tmp_path / "public").write_text("public")
    (tmp_path / "secret").symlink_to("public")
    write_text(tmp_path / "secret", "secret", private=True)
    assert (tmp_path / "public").read_text() == "public" and not (tmp_path / "secret").is_symlink()
    (tmp_path / "secret").chmod(0o644)
    write_text(tmp_path / "secret", "newer", private=True)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_a_file_that_is_there_is_not_replaced_unless_asked(tmp_path):
    path = tmp_path / "taken"
    path.write_text("mine")
    with pytest.raises(FileExistsError), atomic_file(path, replace=False) as file:
        file.write(b"other")
    assert path.read_text() == "mine" and os.listdir(tmp_path) == ["taken"]


def test_a_dangling_link_counts_as_there_for_an_export(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ExportError, match="exists"):
        check_absent(tmp_path / "link")
    with pytest.raises(ExportError, match="exists"), export_file(tmp_path / "link"):
        pytest.fail("an export must not begin")
    assert not (tmp_path / "nowhere").exists()


def test_any_error_of_the_system_within_an_export_is_an_export_error(tmp_path):
    with pytest.raises(ExportError, match="cannot be written"), export_file(tmp_path / "new.csv"):
        raise FileExistsError("another file")
    assert os.listdir(tmp_path) == []


def test_an_export_that_cannot_be_written_says_why(tmp_path):
    with pytest.raises(ExportError, match="cannot be written"), export_file(tmp_path / "absent" / "file.csv") as file:
        file.write(b"text")


def test_a_directory_gets_its_name_when_it_is_complete_and_missing_parents_are_made(tmp_path):
    path = tmp_path / "deep" / "deeper" / "run"
    with atomic_directory(path) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "part").write_text("content")
        assert not path.exists()
    assert (path / "inner" / "part").read_text() == "content" and os.listdir(path.parent) == ["run"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o755


@pytest.mark.parametrize("failing", ["block", "flush"])
def test_a_directory_that_fails_leaves_nothing_not_even_its_parents(tmp_path, monkeypatch, failing):
    def full(_file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if failing == "flush":
        monkeypatch.setattr(files, "_sync", full)
    with pytest.raises(OSError, match="No space left"), atomic_directory(tmp_path / "deep" / "run") as folder:
        (folder / "part").write_text("content")
        if failing == "block":
            full(folder)
    assert os.listdir(tmp_path) == []


def test_only_a_directory_with_the_mark_is_replaced(tmp_path):
    path = tmp_path / "result"
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    with pytest.raises(OSError, match="not empty"), atomic_directory(path, "result.json") as folder:
        (folder / "result.json").write_text("{}")
    assert os.listdir(path) == ["notes.txt"] and os.listdir(tmp_path) == ["result"]
    (path / "result.json").write_text("old")
    with atomic_directory(path, "result.json") as folder:
        (folder / "result.json").write_text("new")
    assert os.listdir(path) == ["result.json"] and (path / "result.json").read_text() == "new"
    assert os.listdir(tmp_path) == ["result"]


def test_an_older_result_comes_back_where_the_new_one_fails(tmp_path):
    path = tmp_path / "result"
    with atomic_directory(path, "mark") as folder:
        (folder / "mark").write_text("old")
    with pytest.raises(ValueError), atomic_directory(path, "mark") as folder:
        (folder / "mark").write_text("new")
        raise ValueError
    assert (path / "mark").read_text() == "old" and os.listdir(tmp_path) == ["result"]
