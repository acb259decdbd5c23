"""Location of the data files that come with the package."""

from __future__ import annotations

from pathlib import Path

import cmonlab

_PACKAGE = Path(cmonlab.__file__).parent
#: Checkout that the package is part of; None for an installed package.
CHECKOUT = None if (_PACKAGE / "_bpf").is_dir() else _PACKAGE.parent


def packaged(name: str) -> Path:
    """Return the path of the directory ``bpf``, ``datasets`` or ``workloads``.

    In a wheel it is part of the package, with an underscore before its name; in a checkout it is next to the package.
    """
    return CHECKOUT / name if CHECKOUT else _PACKAGE / f"_{name}"
