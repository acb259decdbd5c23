"""Load what `build` compiled, and attach it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from cmonlab.errors import NotTraceable
from cmonlab.system.packaged import packaged

from . import bpf, btf, headers
from .btf import FUNC, vmlinux
from .build import build
from .maps import Map, create

SOURCES = packaged("bpf")

_LOAD_64, _MAP = 0x18, 1  # an instruction that loads 64 bits; its source register where that is a map


def abi() -> int:
    """Return the version of the records' layout, from ``records.h``."""
    found = re.search(r"^#define CMONLAB_ABI (\d+)$", (SOURCES / "records.h").read_text(), re.MULTILINE)
    assert found, "records.h tells its version"
    return int(found[1])


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
    source, macros, members
        See `build`.
    entries : mapping of str to int
        Maps that have another size than the code says.

    Attributes
    ----------
    maps : dict of str to Map

    Raises
    ------
    NotTraceable
        bcc is missing, the compiler refuses, or the kernel refuses the maps.
    """

    def __init__(
        self,
        source: str,
        macros: dict[str, int],
        members: headers.Members = headers.NO_MEMBERS,
        entries: Mapping[str, int] = MappingProxyType({}),
    ):
        built = build(source, macros, members)
        self.maps = _made(
            {name: {**told, "entries": entries.get(name, told["entries"])} for name, told in built["maps"].items()}
        )
        numbers = {told["fd"]: self.maps[name].fd for name, told in built["maps"].items()}
        self._code = {name: _with_maps(bytes.fromhex(code), numbers) for name, code in built["code"].items()}
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


def _made(told: Mapping[str, Mapping[str, Any]]) -> dict[str, Map]:
    """Make maps; an array of maps is one of ring buffers."""
    made: dict[str, Map] = {}
    try:
        for name, each in sorted(told.items(), key=lambda item: item[1]["type"] in bpf.MAPS_OF_MAPS):
            inner = next((m.fd for n, m in made.items() if told[n]["type"] == bpf.MAP_TYPE_RINGBUF), 0)
            made[name] = create(name, each, inner)
    except OSError as error:
        for each in made.values():
            each.close()
        raise NotTraceable("the kernel refuses the maps", why=error.strerror, fix=_refusal(error)) from error
    return made


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
