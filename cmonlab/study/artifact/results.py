"""Results that a notebook declares: what an artifact of it promises."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from cmonlab.errors import ArtifactError

from .frozen import freeze

#: A declared result stands in the notebook's outputs under this type.
MIME = "application/vnd.cmonlab.table+json"
#: Where a notebook that is run again saves the sessions that it declares.
RUN = "CMONLAB_ARTIFACT_RUN"
_NAME = re.compile(r"[\w.-]{1,80}")

_declared: dict[str, dict[str, Any]] = {}


def result(name: str, table: Any) -> None:
    """Declare a result: the numbers that whoever runs this again is to find.

    In a notebook the table is shown, and stored in the notebook's outputs so that ``cmonlab artifact check`` can
    compare it with that of another run. A name that is declared again replaces the former.

    Parameters
    ----------
    name : str
        Letters, digits, ``_``, ``-`` and ``.``; unique within the artifact.
    table : pandas.DataFrame, pandas.Series, Session, or what has a method ``table``
        The numbers, at most 10,000 rows. Of a Session its one-way delays: a check that records anew then compares
        the two sessions with `cmonlab.compare`.

    Raises
    ------
    ArtifactError
        The name or the table is not usable.
    """
    from cmonlab.session.session import Session

    if not _NAME.fullmatch(name) or name.startswith("."):
        fix = "use letters, digits, _ - and ., at most 80, the first no dot"
        raise ArtifactError(f"{name!r} cannot be the name of a result", fix=fix)
    if isinstance(table, Session):
        if where := os.environ.get(RUN):
            _save(table, Path(where) / name)
        table = table.one_way_delay()
    frame = _frame(table)
    content = {"name": name, **freeze(frame)}
    _declared[name] = content
    _show(content, frame)


def _frame(table: Any) -> pd.DataFrame:
    if not isinstance(table, (pd.DataFrame, pd.Series)) and callable(getattr(table, "table", None)):
        table = table.table()
    if isinstance(table, pd.Series):
        table = table.to_frame(table.name or "value")
    if not isinstance(table, pd.DataFrame):
        why = f"it is a {type(table).__name__}"
        raise ArtifactError("this cannot be a result", why=why, fix="give a DataFrame, a Series, or a Session")
    return table


def _save(session, path: Path) -> None:
    if not path.exists():  # a cell that is run twice declares the same session
        session.save(path)


def _show(content: Mapping[str, Any], frame: pd.DataFrame) -> None:
    try:
        from IPython import get_ipython
    except ImportError:
        return
    if get_ipython() is None:
        return
    from IPython.display import display

    display({MIME: dict(content), "text/plain": repr(frame), "text/html": frame.to_html()}, raw=True)


def declared() -> dict[str, dict[str, Any]]:
    """Return what this process has declared, by name."""
    return dict(_declared)


def stored(notebook: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what the outputs of a notebook declare, by name.

    Parameters
    ----------
    notebook : mapping
        As read from its JSON (nbformat 4).
    """
    found = {}
    for cell in notebook.get("cells", []):
        for output in cell.get("outputs", []):
            content = output.get("data", {}).get(MIME)
            if isinstance(content, Mapping) and isinstance(content.get("name"), str):
                found[content["name"]] = dict(content)
    return found
