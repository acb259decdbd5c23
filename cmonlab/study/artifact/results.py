"""Results that a notebook declares, for later checks of an artifact."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cmonlab.errors import ArtifactError

from .frozen import freeze

if TYPE_CHECKING:
    from cmonlab.session.session import Session

#: MIME type of a declared result in the outputs of a notebook.
MIME = "application/vnd.cmonlab.table+json"
#: Environment variable: directory where a notebook that is run again saves the sessions that it declares.
RUN = "CMONLAB_ARTIFACT_RUN"
_NAME = re.compile(r"[\w.-]{1,80}")

_declared: dict[str, dict[str, Any]] = {}


def result(name: str, table: Any) -> None:
    """Declare a result: numbers that a later run of the notebook must find again.

    In a notebook the table is shown, and stored in the notebook's outputs so that ``cmonlab artifact check`` can
    compare it with the table of another run. Declaring a name again replaces the former result.

    Parameters
    ----------
    name : str
        Letters, digits, ``_``, ``-`` and ``.``; unique within the artifact.
    table : pandas.DataFrame, pandas.Series, Session, or an object with a method ``table``
        The numbers, at most 10,000 rows. For a Session, its one-way delays; a live check also compares the packed and
        the new session with `cmonlab.compare`.

    Raises
    ------
    ArtifactError
        The name or the table is not usable.
    """
    from cmonlab.session.session import Session

    if not _NAME.fullmatch(name) or name.startswith("."):
        fix = "use at most 80 letters, digits, _ - and ., and do not begin with a dot"
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


def _save(session: Session, path: Path) -> None:
    if not path.exists():  # a cell that runs twice declares the same session
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
    """Return the results that this process has declared, by name."""
    return dict(_declared)


def stored(notebook: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the results in the outputs of a notebook, by name.

    Parameters
    ----------
    notebook : mapping
        Parsed JSON of the notebook (nbformat 4).
    """
    found = {}
    for cell in notebook.get("cells", []):
        for output in cell.get("outputs", []):
            content = output.get("data", {}).get(MIME)
            if isinstance(content, Mapping) and isinstance(content.get("name"), str):
                found[content["name"]] = dict(content)
    return found
