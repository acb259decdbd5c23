"""Datasets: small recorded sessions that come with cmonlab. Reading them needs neither root nor Docker.

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
    """Return the datasets, one row per dataset.

    Returns
    -------
    pandas.DataFrame
        ``name`` (object), ``what`` (object: its content), ``sessions`` (int64), ``journeys`` (int64: their number when
        it was recorded), ``bytes`` (int64: size of all its files).

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
    """Return the session of a dataset with one session.

    Parameters
    ----------
    name : str
        From `names`.

    Raises
    ------
    UnknownName
        There is no such dataset.
    SessionError
        A file is missing or has changed, or the dataset has several sessions.
    """
    runs = load_runs(name)
    sessions = [session for repetitions in runs.values() for session in repetitions]
    if len(sessions) != 1:
        raise SessionError(
            f"dataset {name} has {len(sessions)} sessions",
            why=f"its runs are {', '.join(runs)}",
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
        Name of a run → its repetitions, in order of time.

    Raises
    ------
    UnknownName
        There is no such dataset.
    SessionError
        A file is missing or has changed.
    """
    folder, entry = verified(name)
    return {run: [_open(folder / part) for part in parts] for run, parts in entry["runs"].items()}


def card(name: str) -> str:
    """Return the card of a dataset (Markdown): content, how and where it was recorded, limits, licence.

    Raises
    ------
    UnknownName
        There is no such dataset.
    SessionError
        A file is missing or has changed.
    """
    folder, _ = verified(name)
    return (folder / "card.md").read_text(encoding="utf-8")
