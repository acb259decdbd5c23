"""Endpoint of the agent: address and token of its server, in a private file for other processes of this user."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from cmonlab.errors import TransportError
from cmonlab.system import ownership
from cmonlab.system.files import write_text

URL_VARIABLE, TOKEN_VARIABLE = "CMONLAB_NATS_URL", "CMONLAB_NATS_TOKEN"


@dataclass(frozen=True)
class Endpoint:
    """Address and token of a server.

    Attributes
    ----------
    url : str
        URL of the server.
    token : str or None
        Token that the server requires.
    pid : int
        Process that started the server, 0 if it is not known.
    owner : str
        Owner label of this process, see `cmonlab.system.ownership`.
    """

    url: str
    token: str | None = field(repr=False)
    pid: int = 0
    owner: str = ""


def run_directory() -> Path:
    """Return the directory for files of this user's running processes."""
    if os.geteuid() == 0:
        return Path("/run/cmonlab")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "cmonlab" if runtime else Path.home() / ".local/state/cmonlab"


def _file() -> Path:
    return run_directory() / "agent.json"


def write_endpoint(url: str, token: str | None) -> Path:
    """Publish a server of this process to other processes of this user.

    Parameters
    ----------
    url : str
        URL of the server.
    token : str or None
        Token that the server requires.

    Returns
    -------
    Path
        The written file; only this user can read it.

    Raises
    ------
    TransportError
        Another process, which still runs, has published its server; or the file cannot be written.
    """
    file = _file()
    other = _load(file)
    if other and other.owner != ownership.me() and ownership.alive(other.owner):
        raise TransportError(f"an agent runs already, as process {other.pid}", fix=f"stop it: kill {other.pid}")
    entry = {"url": url, "token": token, "pid": os.getpid(), "owner": ownership.me()}
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_text(file, json.dumps(entry), private=True)
    except OSError as error:
        raise TransportError(f"{file} cannot be written", why=str(error)) from error
    return file


def read_endpoint() -> Endpoint:
    """Return the endpoint from the environment, or else from the agent's file.

    ``CMONLAB_NATS_URL`` and ``CMONLAB_NATS_TOKEN`` name any NATS server, for instance ``tls://nats.example.org``.

    Raises
    ------
    TransportError
        Neither exists, the agent has ended, or other users may read or write the file.
    """
    if url := os.environ.get(URL_VARIABLE):
        return Endpoint(url, os.environ.get(TOKEN_VARIABLE))
    file = _file()
    found = _load(file)
    start = f"start `cmonlab agent`, or set {URL_VARIABLE} and {TOKEN_VARIABLE}"
    if found is None:
        raise TransportError("no agent of this user runs here", why=f"there is no {file}", fix=start)
    if not ownership.alive(found.owner):
        why = f"process {found.pid}, which wrote {file}, has ended"
        raise TransportError("no agent of this user runs here", why=why, fix=f"cmonlab clean; then {start}")
    return found


def _load(file: Path) -> Endpoint | None:
    try:
        with file.open() as stream:
            state = os.fstat(stream.fileno())
            if state.st_uid != os.geteuid() or state.st_mode & 0o077:
                raise TransportError(
                    f"{file} cannot be trusted", why="other users may read or write it", fix=f"rm {file}"
                )
            entry = json.load(stream)
        return Endpoint(str(entry["url"]), entry["token"], int(entry["pid"]), str(entry["owner"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TransportError(f"{file} cannot be read", why=str(error), fix=f"rm {file}") from error


def remove_endpoint() -> None:
    """Remove the file if this process wrote it. Idempotent."""
    with contextlib.suppress(TransportError, OSError):
        found = _load(_file())
        if found and found.owner == ownership.me():
            _file().unlink()


def remove_stale_endpoint() -> list[str]:
    """Remove the file if the process that wrote it has ended; return what was removed, for messages.

    Raises
    ------
    TransportError
        The file cannot be removed.
    """
    file = _file()
    try:
        found = _load(file)
    except TransportError:
        # Damaged, or accessible to other users: nobody can use it.
        found = Endpoint("", None)
    if found is None or ownership.alive(found.owner):
        return []
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise TransportError(f"{file} cannot be removed", why=str(error)) from error
    return [f"file {file}"]
