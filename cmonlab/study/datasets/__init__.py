"""Sessions that cmonlab recorded itself: small, checked before they are read, and there without root or Docker.

>>> import cmonlab as cm
>>> cm.datasets.names()
>>> session = cm.datasets.load("memcached-bridge")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cmonlab.errors import SessionError
from cmonlab.session.session import Session
from cmonlab.session.session import open as _open

from .registry import entries, verified

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["card", "load", "load_runs", "names"]


def names() -> pd.DataFrame:
    """Return the datasets, one row each.

    Returns
    -------
    pandas.DataFrame
        ``name`` (object), ``what`` (object: what is in it), ``sessions`` (int64), ``journeys``
        (int64, how many there were when it was recorded), ``bytes`` (int64, of all its files).

    Raises
    ------
    SessionError
        The registry is missing or damaged.
    """
    import pandas as pd

    rows = [
        {
            "name": name,
            "what": entry["what"],
            "sessions": sum(map(len, entry["runs"].values())),
            "journeys": entry["journeys"],
            "bytes": sum(file["bytes"] for file in entry["files"].values()),
        }
        for name, entry in entries().items()
    ]
    return pd.DataFrame(rows, columns=["name", "what", "sessions", "journeys", "bytes"])


def load(name: str) -> Session:
    """Return the session of a dataset that holds one.

    Parameters
    ----------
    name : str
        From `names`.

    Raises
    ------
    UnknownName
        There is no such dataset.
    SessionError
        A file of it is missing or is not what was recorded; or it holds several sessions.
    """
    runs = load_runs(name)
    sessions = [session for repetitions in runs.values() for session in repetitions]
    if len(sessions) != 1:
        raise SessionError(
            f"dataset {name} holds {len(sessions)} sessions",
            why=f"they are runs of {', '.join(runs)}",
            fix=f"use cm.datasets.load_runs({name!r})",
        )
    return sessions[0]


def load_runs(name: str) -> dict[str, list[Session]]:
    """Return all sessions of a dataset, as `cmonlab.compare` takes them.

    Parameters
    ----------
    name : str
        From `names`.

    Returns
    -------
    dict of str to list of Session
        What was run → its repetitions, in order of time.

    Raises
    ------
    UnknownName
        There is no such dataset.
    SessionError
        A file of it is missing or is not what was recorded.
    """
    folder, entry = verified(name)
    return {run: [_open(folder / part) for part in parts] for run, parts in entry["runs"].items()}


def card(name: str) -> str:
    """Return a dataset's card: what it is, how and where it was recorded, its limits, its licence (Markdown).

    Raises
    ------
    UnknownName
        There is no such dataset.
    SessionError
        A file of it is missing or is not what was recorded.
    """
    folder, _ = verified(name)
    return (folder / "card.md").read_text(encoding="utf-8")
