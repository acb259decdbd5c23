"""Save a recording elsewhere when its directory cannot take it, so that it is not lost."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from cmonlab.errors import SessionError

from .session import Session


class SavedElsewhere(SessionError):
    """A session could not be saved where it should be, and was saved to another directory.

    Parameters
    ----------
    error : SessionError
        Why it could not be saved.
    saved : Path
        The directory that has it.
    """

    def __init__(self, error: SessionError, saved: Path):
        super().__init__(
            error.what, why=error.why, fix=f"the recording was saved to {saved} instead: move it from there"
        )
        self.saved = saved


def save_somewhere(session: Session, path: Path) -> Path:
    """Save a session to `path`, or to another directory if that fails.

    The other directories are, in this order: ``$XDG_STATE_HOME`` (``~/.local/state``), the directory for temporary
    files, ``/var/tmp`` and ``/dev/shm``. Only this user can read what is saved there.

    Parameters
    ----------
    session : Session
        The recording.
    path : Path
        A new directory.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    SavedElsewhere
        The session could not be saved to `path`; the attribute ``saved`` is the directory that has it.
    SessionError
        The session could not be saved anywhere.
    """
    try:
        return session.save(path)
    except SessionError as error:
        rescue = _rescue(session)
        if rescue is None:
            raise
        raise SavedElsewhere(error, rescue) from error


def _rescue(session: Session) -> Path | None:
    """Save a session to the first directory that takes it; return the directory, None if none does."""
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
