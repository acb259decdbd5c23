"""Create the maps of compiled code, load its programs and attach them."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from cmonlab.errors import NotTraceable

from . import bpf, headers
from .btf import FUNC, vmlinux
from .build import build
from .compiler import MapLayout
from .defines import SOURCES, defines
from .maps import Map, create
from .modules import module_of, types_of

_LOAD_64, _MAP = 0x18, 1  # BPF_LD_IMM64, and its source register if it loads a map (BPF_PSEUDO_MAP_FD)


def abi() -> int:
    """Return the version of the records' layout: ``CMONLAB_ABI`` of ``records.h``."""
    return defines("records.h")["CMONLAB_ABI"]


def expand(source: Path) -> str:
    """Return a source file with the files of ``bpf/`` that it includes inserted.

    bcc rewrites map operations in the main file only, but they are in several files. Lines keep their file and number
    for messages of the compiler.

    Parameters
    ----------
    source : Path
        A C file of ``bpf/``.

    Returns
    -------
    str
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
        C code, as `expand` returns it.
    macros : mapping of str to int
        Given to the compiler as ``-D``.
    members : mapping of str to sequence of Member
        By struct: members of kernel structs besides `headers.STRUCTS`.
    entries : mapping of str to int
        By name: maps that get another number of entries than the code says.

    Attributes
    ----------
    maps : dict of str to Map
        By name.

    Raises
    ------
    NotTraceable
        bcc is missing, the code does not compile, or the kernel refuses the maps.
    """

    def __init__(
        self,
        source: str,
        macros: Mapping[str, int],
        members: headers.Members = headers.NO_MEMBERS,
        entries: Mapping[str, int] = MappingProxyType({}),
    ):
        built = build(source, macros, members)
        layouts: dict[str, MapLayout] = built["maps"]
        for name, count in entries.items():
            layouts[name]["entries"] = count
        self.maps = _create_all(layouts)
        numbers = {layout["fd"]: self.maps[name].fd for name, layout in layouts.items()}
        self._code = {name: _with_maps(bytes.fromhex(code), numbers) for name, code in built["code"].items()}
        self._programs: list[int] = []

    def instructions(self, function: str) -> bytes:
        """Return a function's compiled instructions, with the fds of the maps filled in."""
        return self._code[function]

    def load(self, instructions: bytes, name: str, target: Target) -> int:
        """Load a program.

        Parameters
        ----------
        instructions : bytes
            eBPF instructions, 8 bytes each.
        name : str
            Shown by ``bpftool prog``; cut to 15 characters.
        target : Target
            The tracepoint or function that it is for.

        Returns
        -------
        int
            The program's fd; `unload` and `close` close it.

        Raises
        ------
        NotTraceable
            The kernel refuses the program.
        """
        try:
            program = _load(instructions, name, target)
        except OSError as error:
            raise NotTraceable(
                f"the kernel refuses the program {name}", why=_reason(error), fix=_advice(error)
            ) from error
        self._programs.append(program)
        return program

    def unload(self, program: int) -> None:
        """Unload a program that `load` returned and that is no longer attached."""
        self._programs.remove(program)
        os.close(program)

    def close(self) -> None:
        """Unload all programs and close all maps; idempotent."""
        _close_all(self._programs)
        for each in self.maps.values():
            each.close()


def _create_all(layouts: Mapping[str, MapLayout]) -> dict[str, Map]:
    """Create maps; an array of maps holds ring buffers."""
    created: dict[str, Map] = {}
    try:
        for name, layout in sorted(layouts.items(), key=lambda item: item[1]["type"] in bpf.MAPS_OF_MAPS):
            inner = next((m.fd for n, m in created.items() if layouts[n]["type"] == bpf.MAP_TYPE_RINGBUF), 0)
            created[name] = create(name, layout, inner)
    except OSError as error:
        for one in created.values():
            one.close()
        raise NotTraceable("the kernel refuses the maps", why=_reason(error), fix=_advice(error)) from error
    return created


def _with_maps(code: bytes, ours: Mapping[int, int]) -> bytes:
    """Return instructions with the compiler's file descriptors of maps replaced by ours."""
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
        Name of the tracepoint or the function.
    btf_id : int
        Id of its type in the BTF of the kernel or the module.
    attach_type : int
        `bpf.TRACE_RAW_TP` or `bpf.TRACE_FENTRY`.
    module : str
        Module that the function is in, empty for the kernel itself.
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
        The kernel has no tracepoint of that name.
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
        The kernel has no function of that name, or has inlined it.
    """
    module = module_of(name)
    btf_id = None if module is None else types_of(module).id_of(FUNC, name)
    if module is None or btf_id is None:
        raise NotTraceable(
            f"this kernel has no function {name} whose entry can be traced",
            why="its type information does not name it: it is in no loaded module, or inlined",
            fix="load the module that it is in, or leave the point out of the rule",
        )
    return Target(name, btf_id, bpf.TRACE_FENTRY, module)


def try_attach(target: Target) -> None:
    """Load and attach a program that does nothing, and remove it.

    Raises
    ------
    NotTraceable
        The kernel refuses to load or attach it.
    """
    nothing = bytes.fromhex("b7000000000000009500000000000000")  # r0 = 0; exit
    try:
        program = _load(nothing, "cmonlab_probe", target)
    except OSError as error:
        raise NotTraceable(f"{target.name} cannot be traced", why=_reason(error), fix=_advice(error)) from error
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
    """Attach a program.

    Parameters
    ----------
    program : int
        The program's fd.
    target : Target
        What it was loaded for.

    Returns
    -------
    int
        The link's fd; closing it detaches the program.

    Raises
    ------
    NotTraceable
        The kernel refuses.
    """
    try:
        return bpf.attach_tracing(program)
    except OSError as error:
        raise NotTraceable(
            f"the point {target.name} cannot be attached", why=_reason(error), fix=_advice(error)
        ) from error


def _close_all(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _advice(error: OSError) -> str:
    if error.errno == errno.EPERM:
        return "run as root (sudo), outside an unprivileged container"
    return "run `cmonlab doctor`, and report the message with the kernel version"
