"""The tracing agent of one host, and how to talk to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["connect", "start"]


def connect(host: str = "", url: str | None = None, token: str | None = None):
    """Return a client of a running agent (``cmonlab agent``).

    Parameters
    ----------
    host : str
        Which host's; by default the one that answers first.
    url, token : str, optional
        The NATS server; by default that of this machine's agent, or what
        ``CMONLAB_NATS_URL`` and ``CMONLAB_NATS_TOKEN`` say.

    Returns
    -------
    cmonlab.live.agent.client.Client

    Raises
    ------
    TransportError
        No server, or no agent, answers.
    """
    from ..transport import connect as connect_transport
    from .client import Client

    return Client(connect_transport(url, token), host)


def start(client: Any = None, names: Mapping[str, str] | None = None):
    """Start an agent in this process, and return a client of it; closing that stops it.

    Parameters
    ----------
    client : docker.DockerClient or Lab, optional
        Whose containers are followed; by default those of the Docker engine that
        answers, if one does.
    names : mapping of str to str, optional
        Short names of containers by id.

    Returns
    -------
    cmonlab.live.agent.client.Client

    Raises
    ------
    NotTraceable, DockerError
        This host is not usable.
    """
    from cmonlab.lab.docker.client import connect as connect_docker
    from cmonlab.lab.docker.place import HERE

    from ..transport import LocalTransport
    from .client import Client
    from .service import Service

    if hasattr(client, "containers") and hasattr(client, "topology"):
        names = client.names | dict(names or {})
        client = client.client
    client = client or connect_docker() or HERE.connect()
    transport = LocalTransport()
    service = Service(transport, client, names)
    return Client(transport, service.host, close=service.close)
