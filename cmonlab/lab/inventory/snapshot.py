"""The interfaces of some namespaces at this moment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

from ..netns import GONE, namespace


def links(namespaces: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return the interfaces of several network namespaces as they are now.

    Parameters
    ----------
    namespaces : mapping of str to int
        Name → pid of a process in the namespace, for instance ``{"host": os.getpid(), "c0": 4711}``. If two names
        mean the same namespace, the first counts; a process that has ended is left out.

    Returns
    -------
    list of dict
        Rows of the table ``links``, by namespace in the order given, then by ifindex; columns of
        ``schema.describe("links")``.

    Raises
    ------
    NotTraceable
        This user may not enter the namespaces.
    """
    from .follow import Followed
    from .nsid import resolve_peer_namespaces

    found: dict[int, tuple[str, Followed]] = {}
    with ExitStack() as stack:
        for name, pid in namespaces.items():
            with suppress(*GONE), namespace(pid) as handle:
                netns = os.fstat(handle).st_ino
                if netns not in found:
                    followed = Followed(handle, since_ns=0)
                    stack.callback(followed.close)
                    found[netns] = name, followed
        resolve_peer_namespaces([followed for _, followed in found.values()])
    return [row for name, followed in found.values() for row in followed.interfaces.rows(name)]
