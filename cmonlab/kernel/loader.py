"""Compile (`compiler` does it, in a process of its own), load and attach."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .. import scratch
from ..errors import NotTraceable
from . import bpf, btf, headers
from .btf import FUNC, vmlinux
from .maps import Map, dtype_of

_PACKAGED = Path(__file__).parent.parent / "_bpf"
SOURCES = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "bpf"

_FIX = "apt install python3-bpfcc (not `pip install bcc`, which is another project)"


def abi() -> int:
    """Return the version of the records' layout, from ``records.h``."""
    found = re.search(r"^#define CMONLAB_ABI (\d+)$", (SOURCES / "records.h").read_text(), re.MULTILINE)
    assert found, "records.h tells its version"
    return int(found[1])


#: Of what C lets pass, what never works in a program: calls of what is no helper, text as a number.
_MISTAKES = ("-Werror=implicit-function-declaration", "-Werror=int-conversion")
_COMPILE_S = 120.0
_LOAD_64, _MAP = 0x18, 1  # an instruction that loads 64 bits; its source register where that is a map


@lru_cache(maxsize=1)
def check_bcc() -> str:
    """Return bcc's version.

    Raises
    ------
    NotTraceable
        It is not installed, or its library does not load.
    """
    return _compiled({"source": "", "flags": [], "tree": ""})[0]["version"]


def _compiled(job: dict[str, Any]) -> tuple[dict[str, Any], list[int], str]:
    """Have a job done by `compiler`; return its answer, the maps' file descriptors, and what the compiler said."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, str(Path(__file__).with_name("compiler.py")), str(theirs.fileno())]
    with ours, tempfile.TemporaryFile(prefix=scratch.prefix()) as said:
        with theirs:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said, pass_fds=[theirs.fileno()])
        try:
            process.stdin.write(json.dumps(job).encode())
            process.stdin.close()
            ours.settimeout(_COMPILE_S)
            answer, fds = _received(ours)
        except OSError:
            process.kill()
            answer, fds = {}, []
        code = process.wait()
        said.seek(0)
        text = said.read().decode(errors="replace").strip()
    if "missing" in answer:
        raise NotTraceable("bcc cannot be imported", why=answer["missing"], fix=_FIX)
    if code or "refused" in answer:
        raise NotTraceable(
            "the eBPF programs do not compile",
            why=text or answer.get("refused", f"the compiler ended with code {code}"),
            fix="report it with the kernel version (uname -r) and the version of bcc",
        )
    return answer, fds, text


def _received(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    fds: list[int] = []
    text = b""
    while True:
        data, more, *_ = socket.recv_fds(channel, 1 << 16 if text else 1, 253)
        fds += more
        if not data:
            return json.loads(text[1:] or b"{}"), fds
        text += data.removeprefix(b"m") if not text else data


def expand(source: Path) -> str:
    """Return a source file with the files of ``bpf/`` that it includes in their places.

    bcc rewrites map operations in the main file only, and they are in several.
    """
    taken: set[str] = set()

    def text_of(path: Path) -> str:
        lines = [f'#line 1 "{path.name}"']
        for number, line in enumerate(path.read_text().splitlines(), 1):
            included = re.fullmatch(r'#include "(\w+\.h)"', line)
            if not included or not (SOURCES / included[1]).exists():
                lines.append(line)
                continue
            if included[1] not in taken:
                taken.add(included[1])
                lines.append(text_of(SOURCES / included[1]))
            lines.append(f'#line {number + 1} "{path.name}"')
        return "\n".join(lines)

    return text_of(source) + "\n"


class Module:
    """One compiled C file: its maps, and its functions ready to be loaded.

    Parameters
    ----------
    source : str
        C, with the include files that `expand` puts in.
    macros : dict of str to int
        Handed to the compiler as ``-D``.
    members : mapping of str to sequence of Member
        More members of kernel structs for ``kernel.h``.

    Attributes
    ----------
    maps : dict of str to Map

    Raises
    ------
    NotTraceable
        bcc is missing or the compiler refuses; what it said is in `why`.
    """

    def __init__(self, source: str, macros: dict[str, int], members: headers.Members = headers.NO_MEMBERS):
        with tempfile.TemporaryDirectory(prefix=scratch.prefix()) as folder:
            tree, own = Path(folder, "tree"), Path(folder, "own")
            own.mkdir()
            headers.write_tree(tree)
            (own / "kernel.h").write_text(headers.kernel_header(vmlinux(), members))
            flags = [f"-I{own}", "-Wno-macro-redefined", "-Wno-address-of-packed-member", *_MISTAKES]
            flags += [f"-D{name}={value}" for name, value in macros.items()]
            answer, fds, said = _compiled({"source": source, "flags": flags, "tree": str(tree)})
        if said:
            os.write(2, f"{said}\n".encode())  # warnings
        self.maps: dict[str, Map] = {}
        ours: dict[int, int] = {}
        for (name, told), fd in zip(answer["maps"].items(), fds, strict=True):
            key, value = dtype_of(told["key"]), dtype_of(told["value"])
            self.maps[name] = Map(fd, key, value, told["entries"], told["per_cpu"])
            ours[told["fd"]] = fd
        self._code = {name: _with_maps(bytes.fromhex(code), ours) for name, code in answer["code"].items()}
        self._programs: list[int] = []

    def instructions(self, function: str) -> bytes:
        """Return a function's compiled instructions, its maps filled in."""
        return self._code[function]

    def load(self, instructions: bytes, name: str, target: Target) -> int:
        """Load a program for a tracepoint or function, and return its fd.

        Raises
        ------
        NotTraceable
            The kernel refuses the program.
        """
        try:
            program = _load(instructions, name, target)
        except OSError as error:
            raise NotTraceable(
                f"the kernel refuses the program {name}", why=error.strerror, fix=_refusal(error)
            ) from error
        self._programs.append(program)
        return program

    def unload(self, program: int) -> None:
        """Unload one program that `load` returned, and is attached nowhere any more."""
        self._programs.remove(program)
        os.close(program)

    def close(self) -> None:
        """Unload everything; may be called twice."""
        _close_all(self._programs)
        for each in self.maps.values():
            each.close()


def _with_maps(code: bytes, ours: Mapping[int, int]) -> bytes:
    """Return instructions that name maps by this process's file descriptors."""
    words = np.frombuffer(code, [("code", "u1"), ("registers", "u1"), ("offset", "<i2"), ("immediate", "<i4")]).copy()
    for at in np.flatnonzero((words["code"] == _LOAD_64) & (words["registers"] >> 4 == _MAP)):
        words["immediate"][at] = ours[int(words["immediate"][at])]
    return words.tobytes()


@dataclass(frozen=True)
class Target:
    """What a program is attached to.

    Attributes
    ----------
    name : str
        Of the tracepoint or the function.
    btf_id : int
        Of its type in the kernel's BTF, or the module's.
    attach_type : int
        `bpf.TRACE_RAW_TP` or `bpf.TRACE_FENTRY`.
    module : str
        The module that the function is in, empty for the kernel itself.
    """

    name: str
    btf_id: int
    attach_type: int
    module: str = ""


def tracepoint(name: str) -> Target:
    """Return a tracepoint as a target.

    Raises
    ------
    NotTraceable
        The kernel has none of that name.
    """
    btf_id = vmlinux().tracepoint(name)
    if btf_id is None:
        raise NotTraceable(
            f"this kernel has no tracepoint {name}",
            why="its type information does not name it",
            fix="leave the point out of the rule",
        )
    return Target(name, btf_id, bpf.TRACE_RAW_TP)


def function(name: str) -> Target:
    """Return a kernel function's entry as a target.

    Raises
    ------
    NotTraceable
        The kernel has none of that name, or has it inlined.
    """
    module = btf.module_of(name)
    if module is None:
        raise NotTraceable(
            f"this kernel has no function {name} whose entry can be traced",
            why="its type information does not name it: it is in no loaded code, or inlined",
            fix="load the module that it is in, or leave the point out of the rule",
        )
    return Target(name, btf.types_of(module).id_of(FUNC, name), bpf.TRACE_FENTRY, module)


def probe(target: Target) -> None:
    """Load and attach a program that does nothing, and remove it.

    Raises
    ------
    NotTraceable
        The kernel refuses.
    """
    nothing = bytes.fromhex("b7000000000000009500000000000000")  # r0 = 0; exit
    try:
        program = _load(nothing, "cmonlab_probe", target)
    except OSError as error:
        raise NotTraceable(f"{target.name} cannot be traced", why=error.strerror, fix=_refusal(error)) from error
    try:
        os.close(attach(program, target))
    finally:
        os.close(program)


def _load(instructions: bytes, name: str, target: Target) -> int:
    types = bpf.module_btf(target.module) if target.module else 0
    try:
        return bpf.load_tracing(instructions, name, target.btf_id, target.attach_type, types)
    finally:
        if types:
            os.close(types)


def attach(program: int, target: Target) -> int:
    """Attach a program; the returned fd holds the link.

    Raises
    ------
    NotTraceable
        The kernel refuses.
    """
    try:
        return bpf.attach_tracing(program)
    except OSError as error:
        raise NotTraceable(
            f"the point {target.name} cannot be attached", why=error.strerror, fix=_refusal(error)
        ) from error


def _close_all(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def _refusal(error: OSError) -> str:
    if error.errno == 1:
        return "run as root (sudo), outside an unprivileged container"
    return "run `cmonlab doctor`, and report the message with the kernel version"
