"""Types of loaded kernel modules, and the module that a function is in."""

from __future__ import annotations

from functools import lru_cache

from . import btf


def module(name: str) -> btf.Btf:
    """Return the types of a loaded module.

    Raises
    ------
    OSError
        The module is not loaded, or has no type information.
    """
    return _module(name, (btf.VMLINUX.parent / name).read_bytes())


@lru_cache(maxsize=16)
def _module(_name: str, raw: bytes) -> btf.Btf:
    return btf.Btf(raw, btf.vmlinux())


def module_of(function: str) -> str | None:
    """Return the name of the loaded module that has a function, empty for the kernel itself, None if none has it."""
    if btf.vmlinux().id_of(btf.FUNC, function) is not None:
        return ""
    word = b"\0" + function.encode() + b"\0"
    for path in sorted(btf.VMLINUX.parent.iterdir()):
        if path.name == btf.VMLINUX.name:
            continue
        # Most modules end here: indexing their types would take longer than reading the file.
        if word in path.read_bytes() and module(path.name).id_of(btf.FUNC, function) is not None:
            return path.name
    return None


def types_of(module_name: str) -> btf.Btf:
    """Return the types of a loaded module, or of the kernel itself if the name is empty."""
    return module(module_name) if module_name else btf.vmlinux()
