"""Where other processes of this user find the agent's server: address and token in a private file."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from cmonlab.errors import TransportError
from cmonlab.system import ownership as owner
from cmonlab.system.files import write_text

URL_VARIABLE, TOKEN_VARIABLE = "CMONLAB_NATS_URL", "CMONLAB_NATS_TOKEN"


@dataclass(frozen=True)
class Endpoint:
    """Address of a server, and what it takes to be let in.

    Attributes
    ----------
    url : str
    token : str or None
    pid : int
        The process that started the server; 0 when that is not known.
    owner : str
        Its owner label, see `cmonlab.owner`.
    """

    url: str
    token: str | None = field(repr=False)
    pid: int = 0
    owner: str = ""


def run_directory() -> Path:
    """Return the directory of files that live as long as a process of this user does."""
    if os.geteuid() == 0:
        return Path("/run/cmonlab")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "cmonlab" if runtime else Path.home() / ".local/state/cmonlab"


def _file() -> Path:
    return run_directory() / "agent.json"


def write_endpoint(url: str, token: str | None) -> Path:
    """Let other processes of this user find a server; this process is its owner.

    Returns
    -------
    Path
        The file, readable by this user alone.

    Raises
    ------
    TransportError
        Another process has written one and still lives, or the file cannot be written.
    """
    file = _file()
    other = _load(file)
    if other and other.owner != owner.me() and owner.alive(other.owner):
        raise TransportError(f"an agent runs already, as process {other.pid}", fix=f"stop it: kill {other.pid}")
    entry = {"url": url, "token": token, "pid": os.getpid(), "owner": owner.me()}
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_text(file, json.dumps(entry), mode=0o600)
    except OSError as error:
        raise TransportError(f"{file} cannot be written", why=str(error)) from error
    return file


def read_endpoint() -> Endpoint:
    """Return where the server is: from the environment, else from the agent's file.

    ``CMONLAB_NATS_URL`` and ``CMONLAB_NATS_TOKEN`` name any NATS server, for instance
    ``tls://nats.example.org``.

    Raises
    ------
    TransportError
        Neither is there, the agent is gone, or others may write to the file.
    """
    if url := os.environ.get(URL_VARIABLE):
        return Endpoint(url, os.environ.get(TOKEN_VARIABLE))
    file = _file()
    found = _load(file)
    start = f"start `cmonlab agent`, or set {URL_VARIABLE} and {TOKEN_VARIABLE}"
    if found is None:
        raise TransportError("no agent of this user runs here", why=f"there is no {file}", fix=start)
    if not owner.alive(found.owner):
        why = f"process {found.pid}, which wrote {file}, is gone"
        raise TransportError("no agent of this user runs here", why=why, fix=f"cmonlab clean; then {start}")
    return found


def _load(file: Path) -> Endpoint | None:
    try:
        with file.open() as stream:
            state = os.fstat(stream.fileno())
            if state.st_uid != os.geteuid() or state.st_mode & 0o077:
                raise TransportError(
                    f"{file} is not to be trusted", why="others may read or write it", fix=f"rm {file}"
                )
            entry = json.load(stream)
        return Endpoint(str(entry["url"]), entry["token"], int(entry["pid"]), str(entry["owner"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TransportError(f"{file} cannot be read", why=str(error), fix=f"rm {file}") from error


def remove_endpoint() -> None:
    """Remove the file, if this process wrote it; may be called twice."""
    with contextlib.suppress(TransportError, OSError):
        found = _load(_file())
        if found and found.owner == owner.me():
            _file().unlink()


def remove_stale_endpoint() -> list[str]:
    """Remove the file, if the process that wrote it is gone; return what was removed."""
    file = _file()
    try:
        found = _load(file)
    except TransportError:
        # Broken, or open to others: of no use to anybody.
        found = Endpoint("", None)
    if found is None or owner.alive(found.owner):
        return []
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise TransportError(f"{file} cannot be removed", why=str(error)) from error
    return [f"file {file}"]
