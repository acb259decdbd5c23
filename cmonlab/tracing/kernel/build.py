"""Compile C code in another process, once per kernel, and keep the result in a cache.

The cache is a directory that only this user can write to; files that others could have written are not read. The
kernel's verifier checks every program that is loaded in any case.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from cmonlab.errors import NotTraceable
from cmonlab.system import tempdirs
from cmonlab.system.files import write_text

from . import headers
from .btf import vmlinux

_COMPILER = Path(__file__).with_name("compiler.py")
_BCC = Path("/usr/lib/python3/dist-packages/bcc")
_FIX = "apt install python3-bpfcc (not `pip install bcc`, which is another project)"
#: Errors, although C allows them: calls of undeclared functions, which are no helpers, and pointers as numbers.
_FLAGS = (
    "-Wno-macro-redefined",
    "-Wno-address-of-packed-member",
    "-Werror=implicit-function-declaration",
    "-Werror=int-conversion",
)
_COMPILE_S = 120.0
_MOST_FILES = 16


@lru_cache(maxsize=1)
def check_bcc() -> str:
    """Return bcc's version.

    Raises
    ------
    NotTraceable
        bcc is not installed, or its library does not load.
    """
    return _compile({"source": "", "flags": [], "tree": ""})["version"]


def build(source: str, macros: Mapping[str, int], members: headers.Members = headers.NO_MEMBERS) -> dict[str, Any]:
    """Compile C against this kernel, or return what an earlier compilation gave.

    Parameters
    ----------
    source : str
        C code, with the include files of ``bpf/`` inserted (`cmonlab.tracing.kernel.loader.expand`).
    macros : mapping of str to int
        Given to the compiler as ``-D``.
    members : mapping of str to sequence of Member
        By struct: members of kernel structs for ``kernel.h``, besides `cmonlab.tracing.kernel.headers.STRUCTS`.

    Returns
    -------
    dict
        ``code``: hexadecimal instructions by function; ``maps``: the maps that they use
        (`cmonlab.tracing.kernel.compiler.MapLayout`) by name.

    Raises
    ------
    NotTraceable
        bcc is missing, or the code does not compile; the compiler's messages are in `why`.
    """
    header = headers.kernel_header(vmlinux(), members)
    flags = [*_FLAGS, *(f"-D{name}={value}" for name, value in sorted(macros.items()))]
    kept = _cache() / f"{_digest(source, header, *flags)}.json"
    with contextlib.suppress(OSError, ValueError):
        if _is_ours(kept):
            return json.loads(kept.read_text())
    with tempfile.TemporaryDirectory(prefix=tempdirs.prefix()) as folder:
        tree, own = Path(folder, "tree"), Path(folder, "own")
        own.mkdir()
        headers.write_tree(tree)
        (own / "kernel.h").write_text(header)
        built = _compile({"source": source, "flags": [f"-I{own}", *flags], "tree": str(tree)})
    with contextlib.suppress(OSError):
        _keep(kept, json.dumps(built))
    return built


def _digest(*texts: str) -> str:
    """Return a hash that differs for other code, and for another compiler."""
    with contextlib.suppress(OSError):
        state = (_BCC / "__init__.py").stat()
        texts += (f"{state.st_mtime_ns} {state.st_size}",)
    digest = hashlib.sha256(_COMPILER.read_bytes())
    for text in texts:
        digest.update(f"{len(text)} {text}".encode())
    return digest.hexdigest()[:32]


def _cache() -> Path:
    if os.geteuid() == 0:
        return Path("/var/cache/cmonlab")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cmonlab"


def _is_ours(file: Path) -> bool:
    """Return whether only this user can have written a file."""
    return all(
        state.st_uid == os.geteuid() and not state.st_mode & 0o022 for state in (file.lstat(), file.parent.lstat())
    )


def _keep(file: Path, text: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_text(file, text, private=True)
    old = sorted(file.parent.glob("*.json"), key=lambda each: each.stat().st_mtime)[:-_MOST_FILES]
    for each in old:
        each.unlink(missing_ok=True)


def _compile(job: dict[str, Any]) -> dict[str, Any]:
    """Return what `compiler.answer` returns, from another process."""
    try:
        done = subprocess.run(
            [sys.executable, str(_COMPILER)],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMPILE_S,
        )
        answer, said = json.loads(done.stdout or "{}"), done.stderr.strip()
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise NotTraceable(
            "the compiler cannot be run", why=str(error), fix=f"make sure that this user can run {sys.executable}"
        ) from error
    if "missing" in answer:
        raise NotTraceable("bcc cannot be imported", why=answer["missing"], fix=_FIX)
    if done.returncode or "refused" in answer:
        raise NotTraceable(
            "the eBPF programs do not compile",
            why=said or answer.get("refused") or f"the compiler ended with code {done.returncode}",
            fix="report it with the kernel version (uname -r) and the version of bcc",
        )
    if said:
        os.write(2, f"{said}\n".encode())  # warnings
    return answer
