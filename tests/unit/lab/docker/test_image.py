"""The recipe of the workload image, and the archive made from it."""

import io
import re
import shutil
import tarfile

import pytest

from cmonlab.errors import DockerError
from cmonlab.lab.docker import image, recipe

dpkg = pytest.mark.skipif(not shutil.which("dpkg-query"), reason="no dpkg: not a Debian or Ubuntu system")


def _recipe(programs, packages=("one",)):
    user = {"name": "nobody", "uid": 65534, "gid": 65534}
    return recipe.Recipe("text", "repo/x", {name: list(programs) for name in packages}, ["sh", "cat"], user)


def _tar(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {entry.name: entry for entry in tar}


def test_recipe_and_dockerfile_agree():
    dockerfile = (recipe.WORKLOADS / "Dockerfile").read_text()
    install = re.search(r"--no-install-recommends \\\n(.*?)&&", dockerfile, re.DOTALL)[1]
    assert set(install.replace("\\", "").split()) == set(recipe.read_recipe().packages)
    assert 'base = "debian:stable-slim"' in recipe.read_recipe().text
    assert re.search(r"^FROM debian:stable-slim$", dockerfile, re.MULTILINE)


def test_archive_is_reproducible_and_has_programs_links_and_directories(tmp_path):
    program = tmp_path / "program"
    program.write_bytes(b"#!")
    program.chmod(0o600)
    wanted = _recipe([str(program)])
    first = image.archive(wanted, [])
    program.touch()
    assert image.archive(wanted, []) == first
    entries = _tar(first)
    assert entries[str(program)[1:]].mode == 0o755
    assert entries["bin/sh"].linkname == entries["bin/cat"].linkname == "/bin/busybox"
    assert entries["tmp"].isdir() and entries["tmp"].mode == 0o1777
    assert {(entry.mtime, entry.uid, entry.gid) for entry in entries.values()} == {(0, 0, 0)}
    # A directory stands before what it holds.
    names = list(entries)
    assert all(names.index(name.rpartition("/")[0]) < names.index(name) for name in names if "/" in name)


def test_libraries_are_found_with_their_loader():
    found = recipe.libraries([shutil.which("ls")])
    assert any("/libc.so" in path for path in found)
    assert any("/ld-" in path for path in found)
    assert not any(".." in path for path in found)


@dpkg
def test_owners_are_the_packages_of_programs_and_libraries():
    ls = shutil.which("ls")
    owners = recipe.owners([ls, *recipe.libraries([ls])])
    assert {"coreutils", "libc6"} <= set(owners)
    assert owners["libc6"] == recipe.installed(["libc6"])["libc6"]


@dpkg
def test_missing_package_or_program_is_named_with_its_install_command():
    with pytest.raises(DockerError) as caught:
        recipe.check_programs(_recipe(["/bin/none"], packages=("no-such-package", "coreutils")))
    assert caught.value.fix == "apt install no-such-package coreutils"


@dpkg
def test_versions_leave_out_packages_that_are_not_installed():
    assert set(recipe.versions()) <= {*recipe.read_recipe().packages, *recipe.HOST_PACKAGES}


def test_host_without_dpkg_gets_an_error_that_names_the_dockerfile(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DockerError, match="Dockerfile"):
        recipe.installed(["memcached"])
    assert recipe.versions() == {}
