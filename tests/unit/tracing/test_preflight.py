"""Hosts that lack something: each refusal says what, why and how to fix it."""

import platform

import pytest

from cmonlab.errors import DockerError, NotTraceable
from cmonlab.filters import pcapfilter
from cmonlab.lab.docker import engine, recipe
from cmonlab.points.catalogue import CATALOGUE
from cmonlab.tracing import preflight
from cmonlab.tracing.kernel import btf, build, compiler, headers, programs


@pytest.fixture
def host(monkeypatch):
    """A host on which the checks before the tested one succeed; caches start and end empty."""
    caches = (btf.vmlinux, build.check_bcc, pcapfilter._libpcap)
    for cache in caches:
        cache.cache_clear()
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 0)
    yield monkeypatch
    for cache in caches:
        cache.cache_clear()


def _refusal(check) -> NotTraceable:
    with pytest.raises(NotTraceable) as caught:
        check()
    assert caught.value.what and caught.value.why and caught.value.fix
    return caught.value


def test_missing_root_is_refused(host):
    host.setattr(preflight.os, "geteuid", lambda: 1000)
    assert "sudo" in _refusal(preflight.require).fix
    assert not any(check.name == "points" for check in preflight.checks())


@pytest.mark.parametrize("release", ["5.4.0-150-generic", "4.19.0+"])
def test_old_kernel_is_refused(host, release):
    host.setattr(platform, "release", lambda: release)
    assert "newer kernel" in _refusal(preflight.require).fix


@pytest.mark.parametrize("release", ["6.8.0-31-generic", "6.12+deb13-amd64", "7.0-rc1", "6.18.44-fc-v595"])
def test_release_names_are_parsed(host, release):
    host.setattr(platform, "release", lambda: release)
    assert preflight._kernel() == f"Linux {release}"


def test_missing_or_damaged_btf_is_refused(host, tmp_path):
    host.setattr(btf, "VMLINUX", tmp_path / "none")
    assert "CONFIG_DEBUG_INFO_BTF" in _refusal(preflight._btf).fix
    (tmp_path / "none").write_bytes(b"no such thing" * 9)
    _refusal(preflight._btf)


def test_missing_bcc_or_another_project_of_that_name_is_refused(host, tmp_path):
    host.setattr(compiler, "_DIST_PACKAGES", tmp_path)
    host.setattr(compiler.importlib.util, "find_spec", lambda name: None)
    host.delitem(compiler.sys.modules, "bcc", raising=False)
    with pytest.raises(ImportError, match="no module named bcc"):
        compiler.bcc()
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc" / "__init__.py").write_text("# has no BPF\n")
    with pytest.raises(ImportError, match="another project"):
        compiler.bcc()
    assert "bcc" not in compiler.sys.modules


def test_refusal_says_what_the_compiler_lacks(host, tmp_path):
    (tmp_path / "compiler.py").write_text("""print('{"missing": "no module named bcc"}')""")
    host.setattr(build, "_COMPILER", tmp_path / "compiler.py")
    refused = _refusal(preflight._bcc)
    assert "apt install python3-bpfcc" in refused.fix and "pip install bcc" in refused.fix
    assert refused.why == "no module named bcc"


def test_missing_user_space_headers_are_refused(host, tmp_path):
    host.setattr(headers, "Path", lambda _: tmp_path)
    assert "linux-libc-dev" in _refusal(preflight._headers).fix


def test_missing_libpcap_is_refused(host):
    host.setattr(pcapfilter, "_SONAMES", ("libno-such-thing.so.9",))
    assert "apt install libpcap0.8" in _refusal(preflight._libpcap).fix


def test_missing_engine_is_refused(host):
    host.setattr(engine, "connect", lambda *_: None)
    host.setattr(engine.os, "geteuid", lambda: 0)
    host.delenv("DOCKER_HOST", raising=False)
    host.setattr(engine.shutil, "which", lambda *_, **__: None)
    with pytest.raises(DockerError) as caught:
        engine.probe()
    assert "apt install docker.io" in caught.value.fix
    host.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(DockerError) as caught:
        engine.probe()
    assert "127.0.0.1:9" in caught.value.why and "unset DOCKER_HOST" in caught.value.fix


def test_missing_workload_package_is_refused(host):
    host.setattr(recipe, "installed", lambda packages: {})
    with pytest.raises(DockerError) as caught:
        recipe.check_programs(recipe.read_recipe())
    assert caught.value.fix.startswith("apt install ") and "memcached" in caught.value.fix


def test_failing_check_becomes_a_result():
    def fails():
        raise NotTraceable("what", why="why", fix="fix")

    assert preflight.attempt("x", fails) == preflight.Check("x", False, True, "what", "why", "fix")
    assert preflight.attempt("x", lambda: "found", required=False) == preflight.Check("x", True, False, "found")


FUNCTIONS = [point.name for point in CATALOGUE if point.is_function]


@pytest.mark.parametrize("locked", [True, False])
def test_refusal_of_all_functions_gives_the_reason(host, tmp_path, locked):
    why = "Operation not permitted" if locked else "Function not implemented"
    (tmp_path / "lockdown").write_text("none [integrity] confidentiality" if locked else "[none] integrity")
    host.setattr(preflight, "_LOCKDOWN", tmp_path / "lockdown")
    host.setattr(programs, "functions_traceable", lambda: why)
    host.setattr(programs, "why_missing", lambda point: why)
    refused = _refusal(preflight._functions)
    assert all(name in refused.what for name in FUNCTIONS)
    assert refused.why.startswith(why) and ("without lockdown" in refused.fix) == locked


def test_missing_functions_are_listed_with_the_reason(host):
    reasons = {"vxlan_rcv": "the module vxlan is not loaded", "vxlan_xmit": "the module vxlan is not loaded"}
    host.setattr(programs, "why_missing", lambda point: reasons.get(point.name, ""))
    text = preflight._functions()
    assert text.startswith(f"{len(FUNCTIONS) - 2} of {len(FUNCTIONS)} kernel functions are points: ip_rcv, ")
    assert text.endswith("; not vxlan_xmit, vxlan_rcv: the module vxlan is not loaded")
