"""Temporary directories of processes that have ended are removed, and nothing else."""

import os
import subprocess
import sys
import tempfile

import pytest

from cmonlab.system import tempdirs

#: Above the greatest process id.
GONE = 2**22 + 1


def _of(pid: int | str, start: int | str | None = None, boot: str | None = None, namespace: str | None = None) -> str:
    """Return a prefix like this process's, with other parts."""
    _, _, own_start, own_boot, own_namespace, _ = tempdirs.prefix().split("-")
    return f"cmonlab-{pid}-{start or own_start}-{boot or own_boot}-{namespace or own_namespace}-"


def test_the_directory_of_a_killed_process_is_found(tmp_path):
    code = "from cmonlab.system.tempdirs import prefix; import tempfile, sys, os\n"
    code += "print(tempfile.mkdtemp(prefix='.' + prefix(), dir=sys.argv[1]), flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    made = child.stdout.readline().strip()
    assert tempdirs.remove_scratch(tmp_path) == [] and os.path.isdir(made)
    child.kill()
    child.communicate()
    assert tempdirs.remove_scratch(tmp_path) == [f"directory {made}"] and os.listdir(tmp_path) == []


def test_the_name_leaves_room_for_the_path_of_a_unix_socket():
    """A kernel's socket takes 50 of the 107 characters; in a directory with a longer name it would be a TCP port."""
    name = tempfile.mkdtemp(prefix=tempdirs.prefix(9_999_999), dir="/tmp")
    os.rmdir(name)
    assert len(name) + 50 < 107


def test_a_reused_process_id_does_not_keep_a_directory(tmp_path):
    (tmp_path / f"{_of(os.getpid(), start=1)}ab").mkdir()
    assert len(tempdirs.remove_scratch(tmp_path)) == 1


@pytest.mark.parametrize(
    "name",
    [
        "cmonlab-2024-results",  # a user's own
        f"cmonlab-{GONE}-ab",
        "cmonlab-rescued-gh",
        "cmonlab-results",
    ],
)
def test_folders_of_the_user_stay(tmp_path, name):
    (tmp_path / name / "deep").mkdir(parents=True)
    assert tempdirs.remove_scratch(tmp_path) == [] and (tmp_path / name / "deep").is_dir()


def test_directories_of_processes_that_run_or_cannot_be_seen_stay(tmp_path):
    other_boot, other_namespace = "0" * 8, "17"
    names = [f"{tempdirs.prefix()}ab", f"{_of(GONE, boot=other_boot)}cd", f"{_of(GONE, namespace=other_namespace)}ef"]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / f"{_of(GONE)}link").symlink_to(tmp_path / names[0])
    (tmp_path / f"{_of(GONE)}file").write_text("text")
    assert tempdirs.remove_scratch(tmp_path) == [] and len(list(tmp_path.iterdir())) == 5


def test_in_the_systems_directory_those_of_an_earlier_boot_go_too(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"{_of(GONE, boot='0' * 8)}ab").mkdir()
    (tmp_path / f"{_of(GONE, namespace='17')}cd").mkdir()  # the same boot: another pid namespace cannot be seen
    assert len(tempdirs.remove_scratch()) == 1 and [p.name for p in tmp_path.iterdir()] == [
        f"{_of(GONE, namespace='17')}cd"
    ]
