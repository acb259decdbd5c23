"""The kernel's type information, against another reader of it."""

import json
import shutil
import struct
import subprocess

import pytest

from cmonlab.errors import NotTraceable
from cmonlab.tracing.kernel import btf


@pytest.fixture(scope="module")
def vmlinux():
    if not btf.VMLINUX.exists():
        pytest.skip("optional: this kernel has no BTF")
    return btf.vmlinux()


def test_btf_has_the_structs_that_tracing_reads(vmlinux):
    skb = vmlinux.fields("sk_buff")
    assert {"head", "data", "len", "network_header", "protocol", "dev"} <= skb.keys()
    assert (skb["len"].size_bytes, skb["head"].size_bytes, skb["protocol"].size_bytes) == (4, 8, 2)
    assert skb["data"].offset_bytes == skb["head"].offset_bytes + 8


def test_btf_has_tracepoints_and_their_arguments(vmlinux):
    assert vmlinux.tracepoint("net_dev_queue") is not None
    assert vmlinux.tracepoint("no_such_tracepoint") is None
    assert vmlinux.arguments("net_dev_queue") == ["sk_buff"]
    assert vmlinux.arguments("kfree_skb")[:2] == ["sk_buff", None]
    assert vmlinux.arguments("no_such_tracepoint") == []


def test_btf_has_enums(vmlinux):
    assert vmlinux.enum("skb_drop_reason").get(2) is not None
    assert vmlinux.enum("no_such_enum") == {}


def test_unknown_struct_is_refused(vmlinux):
    with pytest.raises(NotTraceable, match="no struct no_such_struct"):
        vmlinux.fields("no_such_struct")


def test_offsets_agree_with_bpftool(vmlinux):
    if not shutil.which("bpftool"):
        pytest.skip("optional: there is no bpftool")
    dump = subprocess.run(["bpftool", "-j", "btf", "dump", "file", str(btf.VMLINUX)], capture_output=True)
    if dump.returncode:
        pytest.skip("optional: bpftool cannot read this kernel's BTF")
    theirs = next(t for t in json.loads(dump.stdout)["types"] if t["kind"] == "STRUCT" and t["name"] == "net_device")
    named = {
        m["name"]: m["bits_offset"] // 8
        for m in theirs["members"]
        if m["name"] != "(anon)" and not m.get("bitfield_size")
    }
    ours = vmlinux.fields("net_device")
    assert {name: ours[name].offset_bytes for name in named} == named


@pytest.mark.parametrize("raw", [b"", b"\0" * 24, struct.pack("<HBBI", 0x9FEB, 1, 0, 24)])
def test_bytes_that_are_no_btf_are_refused(raw):
    """No silent nonsense."""
    with pytest.raises((NotTraceable, ValueError, struct.error, IndexError)):
        btf.Btf(raw).fields("sk_buff")
