"""Compile C with bcc, in a process of its own. The only importer of bcc.

The compiler needs a quarter of a gigabyte, writes its messages to standard error, and
may die of a bug: so the loader starts this file as a program.  It reads a job as JSON
from standard input, and writes to standard output the instructions and what maps they
are for; the loader makes the maps.

``bcc`` comes with the distribution (``python3-bpfcc``) for its own interpreter; it is
plain Python over a C library, so any interpreter can import it from there.  The
project named ``bcc`` on PyPI is something else.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import sys
from pathlib import Path

_DIST_PACKAGES = Path("/usr/lib/python3/dist-packages")


def bcc():
    """Return the distribution's bcc module.

    Raises
    ------
    ImportError
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
        if not hasattr(module, "BPF"):
            raise ImportError("the module named bcc is another project's")
    except (ImportError, OSError) as error:
        sys.modules.pop("bcc", None)
        raise ImportError(str(error)) from error
    return module


def _layout(kind: type) -> dict:
    """Describe a C type so that numpy can be told: fields, or one number, and the size."""
    size = ctypes.sizeof(kind)
    fields = []
    for name, member, *_ in getattr(kind, "_fields_", ()):
        count = getattr(member, "_length_", 0)
        fields.append([name, _layout(member._type_ if count else member), count, getattr(kind, name).offset])
    return {"size": size, "fields": fields, "number": "" if fields else _number(kind)}


def _number(kind: type) -> str:
    sign = "i" if kind in (ctypes.c_int8, ctypes.c_int16, ctypes.c_int32, ctypes.c_int64) else "u"
    return f"{sign}{ctypes.sizeof(kind)}"


def _maps(library, module) -> dict[str, dict]:
    found = {}
    # Exported by the library, and not declared by bcc.
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
            "value": _layout(getattr(table, "sLeaf", table.Leaf)),  # of one CPU, where each has its own
        }
    return found


def answer(job: dict) -> dict:
    """Do a job: ``version``, or ``maps`` and ``code``; ``missing`` or ``refused`` where that failed."""
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
