"""A recording must not be lost because its directory turns out to be full."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from cmonlab.errors import SessionError

from .session import Session


def save_somewhere(session: Session, path: Path) -> Path:
    """Save a session to `path`, or where there is room when there is none.

    Raises
    ------
    SessionError
        There is no room anywhere; or, with its ``saved`` set to another directory,
        none at `path`.
    """
    try:
        return session.save(path)
    except SessionError as error:
        rescue = _rescue(session)
        if rescue is None:
            raise
        moved = SessionError(
            error.what, why=error.why, fix=f"the recording was saved to {rescue} instead: move it from there"
        )
        moved.saved = rescue
        raise moved from error


def _rescue(session: Session) -> Path | None:
    """Save a session to the first place that takes it, for this user alone."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    for parent in (state, tempfile.gettempdir(), "/var/tmp", "/dev/shm"):
        try:
            rescue = Path(tempfile.mkdtemp(prefix="cmonlab-rescued-", dir=parent))
        except OSError:
            continue
        try:
            session.save(rescue / "session")
            return rescue / "session"
        except SessionError:
            shutil.rmtree(rescue, ignore_errors=True)
    return None
