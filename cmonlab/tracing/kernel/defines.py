"""Numbers that the C code of ``bpf/`` defines.

Code that shares a number with the programs reads it from the header here. Where that is not possible,
``tests/unit/tracing/test_shared_constants.py`` compares the number with the header.
"""

from __future__ import annotations

import re
from functools import cache

from cmonlab.system.packaged import packaged

#: The directory of the C files.
SOURCES = packaged("bpf")

_NUMBER = re.compile(r"^#define (\w+)\s+(0x[0-9a-f]+|\d+)\s*(?:/\*.*)?$", re.MULTILINE)
_CONSTANT = re.compile(r"^#define (\w+)\s+CONSTANT\(([0-9a-f]{2})\)", re.MULTILINE)


@cache
def defines(header: str) -> dict[str, int]:
    """Return the numbers that a file defines by ``#define NAME number``, by name.

    Parameters
    ----------
    header : str
        A file of ``bpf/``, for instance ``"records.h"``.

    Returns
    -------
    dict of str to int
    """
    return {name: int(number, 0) for name, number in _NUMBER.findall((SOURCES / header).read_text())}


@cache
def splice_constants() -> dict[str, int]:
    """Return the numbers of the constants that ``splice.h`` declares, by name."""
    return {name: int(number, 16) for name, number in _CONSTANT.findall((SOURCES / "splice.h").read_text())}
