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
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np

from .. import scratch
from ..errors import NotTraceable
from . import bpf, headers
from .btf import vmlinux

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


class Module:
    """One compiled C file: its maps, and its functions ready to be loaded.

    Parameters
    ----------
    source : Path
        A file of ``bpf/``.
    macros : dict of str to int
        Handed to the compiler as ``-D``.
    generated : dict of str to str
        Text of generated headers by file name.

    Raises
    ------
    NotTraceable
        bcc is missing or the compiler refuses.
    """

    def __init__(self, source: Path, macros: dict[str, int], generated: dict[str, str]):
        library = bcc()
        with tempfile.TemporaryDirectory(prefix=scratch.prefix()) as folder:
            tree, own = Path(folder, "tree"), Path(folder, "own")
            own.mkdir()
            headers.write_tree(tree)
            for name, text in {"kernel.h": headers.kernel_header(vmlinux()), **generated}.items():
                (own / name).write_text(text)
            flags = [f"-I{own}", f"-I{SOURCES}", "-Wno-macro-redefined", "-Wno-address-of-packed-member"]
            flags += [f"-D{name}={value}" for name, value in macros.items()]
            with _kernel_source(tree):
                try:
                    self._bpf = library.BPF(text=source.read_bytes(), cflags=flags)
                except Exception as error:  # bcc raises bare Exception
                    raise NotTraceable(
                        "the eBPF programs do not compile", why=f"bcc: {error}", fix="see the compiler's messages above"
                    ) from error
        self._programs: list[int] = []
        self._links: list[int] = []

    def table(self, name: str):
        """Return bcc's object for a map."""
        return self._bpf[name.encode()]

    def map_fd(self, name: str) -> int:
        """Return a map's file descriptor."""
        return self._bpf[name.encode()].map_fd

    def layout(self, name: str) -> np.dtype:
        """Return the numpy dtype of a map's values, as the compiler laid them out."""
        return np.dtype(self._bpf[name.encode()].Leaf)

    def attach(self, function: str, tracepoint: str) -> int:
        """Load a function, attach it to a tracepoint and return the program's fd.

        Raises
        ------
        NotTraceable
            The kernel has no such tracepoint, or refuses the program.
        """
        program = self.load(function, tracepoint)
        try:
            self._links.append(bpf.attach_tracing(program))
        except OSError as error:
            raise NotTraceable(
                f"the point {tracepoint} cannot be attached", why=error.strerror, fix=_refusal(error)
            ) from error
        return program

    def load(self, function: str, tracepoint: str) -> int:
        """Load a function as a program of a tracepoint, without attaching it."""
        btf_id = vmlinux().tracepoint(tracepoint)
        if btf_id is None:
            raise NotTraceable(
                f"this kernel has no tracepoint {tracepoint}",
                why="its type information does not name it",
                fix="leave the point out of the rule",
            )
        try:
            program = bpf.load_tracing(self._bpf.dump_func(function.encode()), function, btf_id)
        except OSError as error:
            raise NotTraceable(
                f"the kernel refuses the program {function}", why=error.strerror, fix=_refusal(error)
            ) from error
        self._programs.append(program)
        return program

    def unload(self, program: int) -> None:
        """Unload one program that `load` returned, and is attached nowhere any more."""
        self._programs.remove(program)
        os.close(program)

    def detach(self) -> None:
        """Detach every program; its maps and counters stay. May be called twice."""
        _close_all(self._links)

    def close(self) -> None:
        """Detach and unload everything; may be called twice."""
        self.detach()
        _close_all(self._programs)
        self._bpf.cleanup()


def _close_all(fds: list[int]) -> None:
    while fds:
        os.close(fds.pop())


def _refusal(error: OSError) -> str:
    if error.errno == 1:
        return "run as root (sudo), outside an unprivileged container"
    return "run `cmonlab doctor`, and report the message with the kernel version"
