"""The Docker engine: the one that answers, else one of our own.

Our own ``dockerd`` lives in directories of its own, beside any other engine.  Every
process that uses it holds a shared lock; the last one out stops it, so one process
never stops the engine under another, and a crash leaves no lock behind.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cmonlab.errors import DockerError
from cmonlab.system.signals import defer_signals

from . import dockerd
from .cleanup import clean
from .client import connect
from .place import HERE, Place

Notify = Callable[[str], None]
DEFAULT_SOCKET = Path("/var/run/docker.sock")
_START_DEADLINE_S = 60
# The kernel takes 107 bytes; containerd appends a suffix to its own below `run`.
_LONGEST_SOCKET = 60


@contextmanager
def docker_engine(notify: Notify | None = None, place: Place = HERE) -> Iterator:
    """Yield a client of a Docker engine; start an engine where none answers.

    Parameters
    ----------
    notify : callable, optional
        Is told in a sentence what takes time: that an engine is started or stopped.
    place : Place, optional
        Directories of an engine of our own.

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
    """Say which engine would be used; starts nothing.

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
def own_engine(notify: Notify | None = None, place: Place = HERE) -> Iterator:
    """Yield a client of our own engine, started unless it runs; see `docker_engine`."""
    tell = notify or (lambda _: None)
    _make_directories(place)
    users = _open(place.run / "users.lock")
    try:
        with _start_lock(place):
            fcntl.flock(users, fcntl.LOCK_SH)
            if dockerd.running(place) is None:
                tell("starting a Docker engine")
                dockerd.start(place, lambda: _answers(place), _START_DEADLINE_S)
        client = _wait_for_client(place)
        try:
            yield client
        finally:
            client.close()
    finally:
        with defer_signals(), _start_lock(place):
            os.close(users)
            _stop_if_unused(place, tell)


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
    """Let one process at a time decide whether the engine starts or stops."""
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


def _wait_for_client(place: Place, seconds: float = 10.0):
    deadline = time.monotonic() + seconds
    while (client := place.connect()) is None:
        if time.monotonic() > deadline:
            raise DockerError("our Docker engine does not answer", why=dockerd.log_tail(place.log), fix="cmonlab clean")
        time.sleep(0.05)
    return client


def _stop_if_unused(place: Place, tell: Notify) -> list[str]:
    """Stop our engine unless a process uses it; the start lock must be held.

    Runs that crashed are removed first: a stopped engine would leave their bridges.
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
        tell("stopping the Docker engine")
        try:
            removed = _clean_own(place)
        except DockerError:
            # An engine may take a network for busy whose containers are gone; that it forgets when it starts again.
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
    """Remove whatever crashed runs left on this host, in every engine we use.

    That is `clean` on the engine that answers and on our own, which is then stopped
    unless a process uses it. An engine of ours that died before its containers is
    started once more, because only it knows its networks.

    Parameters
    ----------
    all : bool
        Remove what running processes use, too.
    notify : callable, optional
        Is told in a sentence what takes time.
    place : Place, optional
        Directories of our own engine.

    Returns
    -------
    list of str
        What was removed or stopped.

    Raises
    ------
    DockerError
        An engine refused, or this user may not look for ours.
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
        raise DockerError("cannot look for an engine of ours", why=f"no permission for {place.run}", fix="run as root")
    tell = notify or (lambda _: None)
    with defer_signals(), _start_lock(place):
        if dockerd.left_behind(place):
            tell("starting a Docker engine to clean up after one that died")
            dockerd.start(place, lambda: _answers(place), _START_DEADLINE_S)
        removed += _stop_if_unused(place, tell)
        if refused and dockerd.running(place) is not None:  # in use, so it was not started again
            raise refused
        return removed
