"""What a session says about the software that made it."""

import subprocess

from cmonlab.system import host, packaged


def _git(folder, *words):
    who = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


def test_the_revision_is_that_of_a_checkout_and_says_when_files_differ(tmp_path):
    assert host.git_revision(tmp_path) is None
    _git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("one")
    _git(tmp_path, "add", "file")
    _git(tmp_path, "commit", "-qm", "first")
    revision = host.git_revision(tmp_path)
    assert len(revision) == 40
    (tmp_path / "file").write_text("two")
    assert host.git_revision(tmp_path) == f"{revision}-dirty"


def test_an_installed_package_does_not_report_the_revision_of_a_repository_around_it(monkeypatch):
    """An environment often lies in the checkout of somebody's own project."""
    assert packaged.CHECKOUT is not None and host.host()["git_revision"] == host.git_revision(packaged.CHECKOUT)
    monkeypatch.setattr(host, "CHECKOUT", None)
    assert host.host()["git_revision"] is None


def test_packaged_directories_are_those_of_the_checkout():
    for name, file in (("bpf", "points.c"), ("datasets", "registry.json"), ("workloads", "image.toml")):
        assert (packaged.packaged(name) / file).is_file()
