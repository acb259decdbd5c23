"""The connection to a Docker engine. The only importer of docker-py."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cmonlab.errors import DockerError

_UNUSED_S = 10.0


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


@contextmanager
def unless_gone() -> Iterator[None]:
    """Leave the block when what it asks for is gone, or is going by another hand."""
    import docker

    try:
        yield
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as error:
        if "already in progress" not in str(error):
            raise


def once_unused(remove: Callable[[], object]) -> None:
    """Remove a network; the engine may take a while to notice that the last container has left it.

    Raises
    ------
    docker.errors.APIError
        It refuses for another reason, or still after some seconds.
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
    # Deployment and the collection of output use several connections at a time.
    options = {"timeout": 60, "max_pool_size": 32}
    try:
        client = docker.DockerClient(base_url, **options) if base_url else docker.from_env(**options)
        client.ping()
    except (docker.errors.DockerException, requests.RequestException, OSError):
        if client is not None:
            client.close()
        return None
    return client
