"""The connection to a Docker engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cmonlab.errors import DockerError

if TYPE_CHECKING:
    from docker import APIClient as APIClient
    from docker import DockerClient

_UNUSED_S = 10.0


@contextmanager
def docker_errors(what: str) -> Iterator[None]:
    """Turn the exceptions of docker-py and its HTTP library into DockerError with this text."""
    import docker
    import requests

    try:
        yield
    except docker.errors.DockerException as error:
        raise DockerError(what, why=str(getattr(error, "explanation", None) or error)) from error
    except (requests.RequestException, OSError) as error:
        raise DockerError(what, why=f"the engine does not answer: {error}") from error


@contextmanager
def unless_gone() -> Iterator[None]:
    """End the block silently if the container or network it uses is gone, or is being removed by another process."""
    import docker

    try:
        yield
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as error:
        if "already in progress" not in str(error):
            raise


def once_unused(remove: Callable[[], object]) -> None:
    """Call a function that removes a network, again until the engine has noticed that its last container is gone.

    Raises
    ------
    docker.errors.APIError
        The engine refuses for another reason, or still after 10 s.
    """
    import docker

    deadline = time.monotonic() + _UNUSED_S
    while True:
        try:
            remove()
            return
        except docker.errors.APIError as error:
            if "active endpoints" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.1)


def connect(base_url: str | None = None) -> DockerClient | None:
    """Return a client of the engine if it answers, else None.

    Parameters
    ----------
    base_url : str, optional
        For instance ``"unix:///run/docker.sock"``; by default the value of DOCKER_HOST, else the usual socket.

    Returns
    -------
    docker.DockerClient or None
    """
    import docker
    import requests

    client = None
    try:
        # Deployment and the collection of output use several connections at a time.
        if base_url:
            client = docker.DockerClient(base_url, timeout=60, max_pool_size=32)
        else:
            client = docker.from_env(timeout=60, max_pool_size=32)
        client.ping()
    except (docker.errors.DockerException, requests.RequestException, OSError):
        if client is not None:
            client.close()
        return None
    return client
