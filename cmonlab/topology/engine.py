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
from dataclasses import dataclass
from pathlib import Path

from ..errors import CmonlabError, DockerError
from . import dockerd

Notify = Callable[[str], None]
DEFAULT_SOCKET = Path("/var/run/docker.sock")
START_DEADLINE_S = 60


@dataclass(frozen=True)
class Place:
    """Directories of our own engine.

    Attributes
    ----------
    run : Path
        Socket, pid files, log and locks.
    data : Path
        Images and layers; kept, so that the workload image is built once.
    """

    run: Path = Path("/run/cmonlab")
    data: Path = Path("/var/lib/cmonlab/docker")

    @property
    def socket(self) -> Path:
        return self.run / "docker.sock"

    @property
    def log(self) -> Path:
        return self.run / "dockerd.log"


HERE = Place()


@contextmanager
def docker_errors(what: str) -> Iterator[None]:
    """Turn the exceptions of docker-py and its HTTP library into DockerError."""
    import docker
    import requests

    try:
        yield
    except docker.errors.DockerException as error:
        raise DockerError(what, why=str(getattr(error, "explanation", None) or error)) from error
    except (requests.RequestException, OSError) as error:
        raise DockerError(what, why=f"the engine does not answer: {error}") from error


def connect(base_url: str | None = None):
    """Return a docker-py client of an engine that answers, or None.

    Parameters
    ----------
    base_url : str, optional
        For instance ``"unix:///run/docker.sock"``; by default what DOCKER_HOST says,
        else the usual socket.
    """
    import docker
    import requests

    client = None
    try:
        options = {"timeout": 60, "max_pool_size": 32}
        client = docker.DockerClient(base_url, **options) if base_url else docker.from_env(**options)
        client.ping()
    except (docker.errors.DockerException, requests.RequestException, OSError):
        if client is not None:
            client.close()
        return None
    return client


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
    with _use(place, notify or (lambda _: None)):
        client = connect(f"unix://{place.socket}")
        if client is None:
            raise DockerError(
                "our Docker engine stopped answering", why=dockerd.log_tail(place.log), fix="cmonlab clean"
            )
        try:
            yield client
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
    if len(os.fsencode(place.socket)) > 100:
        raise DockerError(what, why=f"the path of a socket is too long: {place.socket}", fix="use a shorter directory")


@contextmanager
def _locked(path: Path, operation: int = fcntl.LOCK_EX) -> Iterator[int]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, operation)
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _use(place: Place, notify: Notify) -> Iterator[None]:
    """Hold the shared lock of our engine, which runs meanwhile."""
    _make_directories(place)
    users = os.open(place.run / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with _locked(place.run / "start.lock"):
            fcntl.flock(users, fcntl.LOCK_SH)
            if dockerd.running(place) is None or connect_within(place, 5) is None:
                notify("starting a Docker engine")
                dockerd.start(place, lambda: connect_within(place, 0) is not None, START_DEADLINE_S)
        yield
    finally:
        with _locked(place.run / "start.lock"):
            os.close(users)
            stop_if_unused(place, notify)


def _make_directories(place: Place) -> None:
    try:
        place.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.data.mkdir(mode=0o710, parents=True, exist_ok=True)
    except OSError as error:
        raise DockerError("cannot make the engine's directories", why=str(error)) from error


def connect_within(place: Place, seconds: float) -> bool | None:
    """Return True once our engine answers, None if it does not in time."""
    deadline = time.monotonic() + seconds
    while True:
        client = connect(f"unix://{place.socket}")
        if client is not None:
            client.close()
            return True
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.05)


def stop_if_unused(place: Place, notify: Notify) -> bool:
    """Stop our engine unless a process still uses it; the start lock must be held."""
    pid = dockerd.running(place)
    if pid is None:
        return False
    handle = os.open(place.run / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        notify("stopping the Docker engine")
        dockerd.stop(pid, place)
        return True
    finally:
        os.close(handle)


def stop_left_over(place: Place = HERE, notify: Notify | None = None) -> list[str]:
    """Stop an engine of ours that nobody uses any more; return what was stopped."""
    if not place.run.is_dir():
        return []
    try:
        with _locked(place.run / "start.lock"):
            stopped = stop_if_unused(place, notify or (lambda _: None))
            return [f"engine {place.socket}"] * stopped + dockerd.sweep(place)
    except PermissionError as error:
        raise CmonlabError("cannot look for an engine of ours", why=str(error), fix="run as root (sudo)") from error
