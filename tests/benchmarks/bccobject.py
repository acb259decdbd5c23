"""An object of bcc for a C file, in this process: bcc's callbacks need one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cmonlab.tracing.kernel import headers, loader
from cmonlab.tracing.kernel.btf import vmlinux
from cmonlab.tracing.kernel.compiler import bcc


def compiled(source: Path, macros: Mapping[str, int]):
    """Return the object, compiled against this kernel without its headers."""
    with tempfile.TemporaryDirectory(prefix="cmonlab-bench-") as folder:
        tree = Path(folder, "tree")
        headers.write_tree(tree)
        Path(folder, "kernel.h").write_text(headers.kernel_header(vmlinux()))
        os.environ["BCC_KERNEL_SOURCE"] = str(tree)
        flags = [f"-I{folder}", "-Wno-macro-redefined", *(f"-D{name}={value}" for name, value in macros.items())]
        return bcc().BPF(text=loader.expand(source).encode(), cflags=flags)
