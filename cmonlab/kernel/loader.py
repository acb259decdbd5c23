"""Compile with bcc, load and attach. The only importer of bcc.

``bcc`` comes with the distribution (``python3-bpfcc``) for its own interpreter; it
is plain Python over a C library, so any interpreter can import it from there.  The
project named ``bcc`` on PyPI is something else.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from .. import scratch
from ..errors import NotTraceable
from . import bpf, btf, headers
from .btf import FUNC, vmlinux

_DIST_PACKAGES = Path("/usr/lib/python3/dist-packages")
_PACKAGED = Path(__file__).parent.parent / "_bpf"
SOURCES = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "bpf"

_FIX = "apt install python3-bpfcc (not `pip install bcc`, which is another project)"


def abi() -> int:
    """Return the version of the records' layout, from ``records.h``."""
    found = re.search(r"^#define CMONLAB_ABI (\d+)$", (SOURCES / "records.h").read_text(), re.MULTILINE)
    assert found, "records.h tells its version"
    return int(found[1])


@lru_cache(maxsize=1)
def bcc():
    """Return the distribution's bcc module.

    Raises
    ------
    NotTraceable
        It is not installed, or its library does not load.
    """
    spec = importlib.util.spec_from_file_location(
        "bcc", _DIST_PACKAGES / "bcc/__init__.py", submodule_search_locations=[str(_DIST_PACKAGES / "bcc")]
    )
    try:
        if not (_DIST_PACKAGES / "bcc/__init__.py").exists():
            spec = importlib.util.find_spec("bcc")
        if spec is None or spec.loader is None:
            raise ImportError("no module named bcc")
        module = importlib.util.module_from_spec(spec)
        sys.modules["bcc"] = module
        spec.loader.exec_module(module)
        module.BPF  # noqa: B018  the PyPI project of that name has none
    except (ImportError, OSError, AttributeError) as error:
        sys.modules.pop("bcc", None)
        raise NotTraceable("bcc cannot be imported", why=str(error), fix=_FIX) from error
    return module


@contextmanager
def _kernel_source(tree: Path) -> Iterator[None]:
    before = os.environ.get("BCC_KERNEL_SOURCE")
    os.environ["BCC_KERNEL_SOURCE"] = str(tree)
    try:
        yield
    finally:
        if before is None:
            del os.environ["BCC_KERNEL_SOURCE"]
        else:
            os.environ["BCC_KERNEL_SOURCE"] = before


_COMPILING = threading.Lock()
#: Of what C lets pass, what never works in a program: calls of what is no helper, text as a number.
_MISTAKES = ("-Werror=implicit-function-declaration", "-Werror=int-conversion")


@contextmanager
def stderr_into(said: list[str]) -> Iterator[None]:
    """Collect what is written to the process's standard error, whoever writes it: libbcc knows no other place.

    Parameters
    ----------
    said : list of str
        Gets the text in the end.
    """
    with _COMPILING, tempfile.TemporaryFile(prefix=scratch.prefix()) as file:
        kept = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            file.seek(0)
            said.append(file.read().decode(errors="replace"))


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

    Raises
    ------
    NotTraceable
        bcc is missing or the compiler refuses; what it said is in `why`.
    """

    def __init__(
        self, source: str, macros: dict[str, int], members: Mapping[str, Sequence[headers.Member]] = MappingProxyType({})
    ):
        library = bcc()
        with tempfile.TemporaryDirectory(prefix=scratch.prefix()) as folder:
            tree, own = Path(folder, "tree"), Path(folder, "own")
            own.mkdir()
            headers.write_tree(tree)
            (own / "kernel.h").write_text(headers.kernel_header(vmlinux(), members))
            flags = [f"-I{own}", "-Wno-macro-redefined", "-Wno-address-of-packed-member", *_MISTAKES]
            flags += [f"-D{name}={value}" for name, value in macros.items()]
            said: list[str] = []
            with _kernel_source(tree):
                try:
                    with stderr_into(said):
                        self._bpf = library.BPF(text=source.encode(), cflags=flags)
                except Exception as error:  # bcc raises bare Exception
                    raise NotTraceable(
                        "the eBPF programs do not compile",
                        why=said[0].strip() or f"bcc: {error}",
                        fix="report it with the kernel version (uname -r) and the version of bcc",
                    ) from error
            if said[0]:
                os.write(2, said[0].encode())  # warnings, and what others wrote meanwhile
        self._programs: list[int] = []

    def table(self, name: str):
        """Return bcc's object for a map."""
        return self._bpf[name.encode()]

    def map_fd(self, name: str) -> int:
        """Return a map's file descriptor."""
        return self._bpf[name.encode()].map_fd

    def layout(self, name: str) -> np.dtype:
        """Return the numpy dtype of a map's values, as the compiler laid them out."""
        return np.dtype(self._bpf[name.encode()].Leaf)

    def key_layout(self, name: str) -> np.dtype:
        """Return the numpy dtype of a map's keys."""
        return np.dtype(self._bpf[name.encode()].Key)

    def instructions(self, function: str) -> bytes:
        """Return a function's compiled instructions, its maps filled in."""
        return self._bpf.dump_func(function.encode())

    def load(self, instructions: bytes, name: str, target: Target) -> int:
        """Load a program for a tracepoint or function, and return its fd.

        Raises
        ------
        NotTraceable
            The kernel refuses the program.
        """
        try:
            program = bpf.load_tracing(instructions, name, target.btf_id, target.attach_type)
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
        self._bpf.cleanup()


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
