"""The Docker engine: the one that answers, else cmonlab's own.

Our own ``dockerd`` has its own directories, next to any other engine. Every process that uses it holds a shared lock
(flock(2)), and the last one stops it. So no process stops the engine while another one uses it, and a crash leaves no
lock behind.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cmonlab.errors import DockerError
from cmonlab.system.signals import defer_signals

from . import dockerd
from .cleanup import clean
from .client import connect
from .place import HERE, Place

if TYPE_CHECKING:
    from .client import DockerClient

#: Called with a sentence before something that takes time.
Notify = Callable[[str], None]
DEFAULT_SOCKET = Path("/var/run/docker.sock")
_START_DEADLINE_S = 60
# The kernel takes 107 bytes (unix(7)); containerd's sockets are below `run` and have longer names.
_LONGEST_SOCKET = 60


@contextmanager
def docker_engine(notify: Notify | None = None, place: Place = HERE) -> Iterator[DockerClient]:
    """Yield a client of a Docker engine; start cmonlab's own engine if none answers.

    Parameters
    ----------
    notify : callable, optional
        Called with a sentence before an engine is started or stopped.
    place : Place, optional
        Directories of cmonlab's own engine.

    Yields
    ------
    docker.DockerClient

    Raises
    ------
    DockerError
        No engine answers and none can be started.
    """
    client = connect()
    if client is not None:
        try:
            yield client
        finally:
            client.close()
        return
    _refuse_unless_startable(place)
    with own_engine(notify, place) as client:
        yield client


def probe(place: Place = HERE) -> str:
    """Return a sentence that says which engine would be used; start nothing.

    Raises
    ------
    DockerError
        No engine answers and none can be started.
    """
    client = connect()
    if client is None:
        _refuse_unless_startable(place)
        return "no engine answers; cmonlab starts one when it needs it"
    try:
        return f"Docker {client.version()['Version']} answers"
    finally:
        client.close()


def _refuse_unless_startable(place: Place) -> None:
    what = "no Docker engine answers"
    if os.environ.get("DOCKER_HOST"):
        raise DockerError(
            what,
            why=f"DOCKER_HOST is {os.environ['DOCKER_HOST']!r} and nothing answers there",
            fix="start that engine, or unset DOCKER_HOST so that cmonlab can use or start a local one",
        )
    if os.geteuid() != 0:
        denied = DEFAULT_SOCKET.exists() and not os.access(DEFAULT_SOCKET, os.R_OK | os.W_OK)
        why = f"no permission for {DEFAULT_SOCKET}" if denied else "and only root can start one"
        raise DockerError(what, why=why, fix="run as root (sudo); cmonlab then starts an engine if it needs one")
    if shutil.which("dockerd", path=dockerd.PATH) is None:
        raise DockerError(what, why="dockerd is not installed", fix="apt install docker.io iptables")
    if len(os.fsencode(place.run)) > _LONGEST_SOCKET:
        raise DockerError(what, why=f"the path of its sockets is too long: {place.run}", fix="use a shorter directory")


@contextmanager
def own_engine(notify: Notify | None = None, place: Place = HERE) -> Iterator[DockerClient]:
    """Yield a client of cmonlab's own engine; start it if it does not run.

    Parameters
    ----------
    notify : callable, optional
        Called with a sentence before the engine is started or stopped.
    place : Place, optional
        Directories of the engine.

    Yields
    ------
    docker.DockerClient

    Raises
    ------
    DockerError
        The engine does not start.
    """
    notify = notify or (lambda _: None)
    _make_directories(place)
    users = _open(place.run / "users.lock")
    try:
        with _start_lock(place):
            fcntl.flock(users, fcntl.LOCK_SH)
            if dockerd.running(place) is None:
                notify("starting a Docker engine")
                dockerd.start(place, lambda: _answers(place), _START_DEADLINE_S)
        client = _wait_for_client(place)
        try:
            yield client
        finally:
            client.close()
    finally:
        with defer_signals(), _start_lock(place):
            os.close(users)
            _stop_if_unused(place, notify)


def _make_directories(place: Place) -> None:
    try:
        place.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.data.mkdir(mode=0o710, parents=True, exist_ok=True)
    except OSError as error:
        raise DockerError("cannot make the engine's directories", why=str(error)) from error


def _open(lock: Path) -> int:
    return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextmanager
def _start_lock(place: Place) -> Iterator[None]:
    """Hold the lock under which one process at a time starts or stops the engine."""
    handle = _open(place.run / "start.lock")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _answers(place: Place) -> bool:
    client = place.connect()
    if client is not None:
        client.close()
    return client is not None


def _wait_for_client(place: Place, seconds: float = 10.0) -> DockerClient:
    deadline = time.monotonic() + seconds
    while (client := place.connect()) is None:
        if time.monotonic() > deadline:
            raise DockerError("our Docker engine does not answer", why=dockerd.log_tail(place.log), fix="cmonlab clean")
        time.sleep(0.05)
    return client


def _stop_if_unused(place: Place, notify: Notify) -> list[str]:
    """Stop our engine unless a process uses it; the caller must hold the start lock.

    The containers and networks of crashed runs are removed first: a stopped engine would leave their bridges.
    """
    pid = dockerd.running(place)
    if pid is None:
        return []
    users = _open(place.run / "users.lock")
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return []
    else:
        notify("stopping the Docker engine")
        try:
            removed = _clean_own(place)
        except DockerError:
            # An engine may believe that a network without containers is in use; after a restart it does not.
            dockerd.stop(pid, place)
            dockerd.start(place, lambda: _answers(place), _START_DEADLINE_S)
            pid, removed = dockerd.running(place) or pid, _clean_own(place)
        dockerd.stop(pid, place)
        return [*removed, f"engine {place.socket}"]
    finally:
        os.close(users)


def _clean_own(place: Place, all: bool = False) -> list[str]:
    """Remove what crashed runs left in our engine, if it answers."""
    client = place.connect()
    if client is None:
        return []
    try:
        return clean(client, all)
    finally:
        client.close()


def clean_host(all: bool = False, notify: Notify | None = None, place: Place = HERE) -> list[str]:
    """Remove everything that crashed runs left on this host, in every engine that cmonlab uses.

    That is `clean` on the engine that answers and on cmonlab's own, which is then stopped unless a process uses it.
    If cmonlab's own engine died before its containers were removed, it is started once more, because only it knows
    its networks.

    Parameters
    ----------
    all : bool
        Remove what running processes use, too.
    notify : callable, optional
        Called with a sentence before an engine is started or stopped.
    place : Place, optional
        Directories of cmonlab's own engine.

    Returns
    -------
    list of str
        What was removed or stopped.

    Raises
    ------
    DockerError
        An engine refused, or this user may not read the directories of cmonlab's own.
    """
    removed: list[str] = []
    client = connect()
    if client is not None:
        try:
            removed += clean(client, all)
        finally:
            client.close()
    refused = None
    try:
        removed += _clean_own(place, all)
    except DockerError as error:
        refused = error
    if not place.run.is_dir():
        return removed
    if not os.access(place.run, os.R_OK | os.W_OK | os.X_OK):
        raise DockerError(
            "the directories of cmonlab's own engine cannot be read",
            why=f"no permission for {place.run}",
            fix="run as root",
        )
    notify = notify or (lambda _: None)
    with defer_signals(), _start_lock(place):
        if dockerd.left_behind(place):
            notify("starting a Docker engine to clean up after one that died")
            dockerd.start(place, lambda: _answers(place), _START_DEADLINE_S)
        removed += _stop_if_unused(place, notify)
        if refused and dockerd.running(place) is not None:  # in use, so it was not restarted
            raise refused
        return removed
