"""Compile C with bcc, in a process of its own. The only importer of bcc.

The compiler needs a quarter of a gigabyte of memory, writes its messages to standard error, and may crash. Therefore
`build` starts this file as a program. It reads a job as JSON from standard input, and writes an answer to standard
output: the instructions, and the maps that they use. `loader` creates these maps again in its own process.

``bcc`` comes with the distribution (package ``python3-bpfcc``) for the distribution's interpreter. It is plain Python
on top of a C library, so any interpreter can import it from there. The project named ``bcc`` on PyPI is another one.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, TypedDict

_DIST_PACKAGES = Path("/usr/lib/python3/dist-packages")


class Layout(TypedDict):
    """The layout of a C type.

    Attributes
    ----------
    size : int
        Bytes.
    fields : list of (str, Layout, int, int)
        Of a struct, its members: name, layout, number of elements of an array or 0, and offset in bytes.
    number : str
        Of a number, its numpy dtype.
    """

    size: int
    fields: list[tuple[str, Layout, int, int]]
    number: str


class MapLayout(TypedDict):
    """A map that the instructions use.

    Attributes
    ----------
    fd : int
        The number that the instructions have for it: a file descriptor of the compiler's process.
    type, entries, flags : int
        As in ``union bpf_attr``.
    key, value : Layout
        Of a map with values per CPU, the value of one CPU.
    """

    fd: int
    type: int
    entries: int
    flags: int
    key: Layout
    value: Layout


def bcc() -> ModuleType:
    """Return the distribution's bcc module.

    Raises
    ------
    ImportError
        bcc is not installed, or its library does not load.
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
        if not hasattr(module, "BPF"):
            raise ImportError("the module named bcc is another project's")
    except (ImportError, OSError) as error:
        sys.modules.pop("bcc", None)
        raise ImportError(str(error)) from error
    return module


def _layout(kind: Any) -> Layout:
    """Return the layout of a ctypes type."""
    size = ctypes.sizeof(kind)
    fields: list[tuple[str, Layout, int, int]] = []
    for name, member, *_ in getattr(kind, "_fields_", ()):
        count = getattr(member, "_length_", 0)
        fields.append((name, _layout(member._type_ if count else member), count, getattr(kind, name).offset))
    return {"size": size, "fields": fields, "number": "" if fields else _number(kind)}


def _number(kind: Any) -> str:
    sign = "i" if kind in (ctypes.c_int8, ctypes.c_int16, ctypes.c_int32, ctypes.c_int64) else "u"
    return f"{sign}{ctypes.sizeof(kind)}"


def _maps(library: ModuleType, module: Any) -> dict[str, MapLayout]:
    found: dict[str, MapLayout] = {}
    # The library exports these functions, but bcc does not declare them.
    library.lib.bpf_num_tables.restype, library.lib.bpf_num_tables.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    library.lib.bpf_table_name.restype = ctypes.c_char_p
    library.lib.bpf_table_name.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    for at in range(library.lib.bpf_num_tables(module.module)):
        name = library.lib.bpf_table_name(module.module, at)
        table = module[name]
        found[name.decode()] = {
            "fd": table.map_fd,
            "type": table.ttype,
            "entries": table.max_entries,
            "flags": table.flags,
            "key": _layout(table.Key),
            "value": _layout(getattr(table, "sLeaf", table.Leaf)),  # sLeaf: the value of one CPU
        }
    return found


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Compile, or return the version of bcc.

    Parameters
    ----------
    job : dict
        ``source``: C code, empty to ask for the version; ``flags``: of the compiler; ``tree``: a directory for
        ``BCC_KERNEL_SOURCE``.

    Returns
    -------
    dict
        ``maps`` (`MapLayout` by name) and ``code`` (hexadecimal instructions by function), or ``version``; ``missing``
        if bcc cannot be imported, ``refused`` if the code does not compile, with the reason.
    """
    try:
        library = bcc()
    except ImportError as error:
        return {"missing": str(error)}
    if not job["source"]:
        return {"version": getattr(library, "__version__", "of unknown version")}
    os.environ["BCC_KERNEL_SOURCE"] = job["tree"]
    try:
        module = library.BPF(text=job["source"].encode(), cflags=job["flags"])
        count = library.lib.bpf_num_functions(module.module)
        names = [library.lib.bpf_function_name(module.module, at) for at in range(count)]
        return {
            "maps": _maps(library, module),
            "code": {name.decode(): module.dump_func(name).hex() for name in names},
        }
    except Exception as error:  # bcc raises bare Exception
        return {"refused": str(error)}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
