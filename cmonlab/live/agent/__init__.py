"""The tracing agent of one host, its service on a transport, and the client that controls it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cmonlab.lab.docker.client import DockerClient
    from cmonlab.lab.topology.deploy import Lab

    from .client import Client

__all__ = ["connect", "start"]


def connect(host: str = "", url: str | None = None, token: str | None = None) -> Client:
    """Return a client of a running agent (``cmonlab agent``).

    Parameters
    ----------
    host : str
        Name of the host whose agent is wanted; by default the agent that answers first.
    url : str, optional
        Address of the NATS server, ``nats://host:port``; by default ``CMONLAB_NATS_URL``, or the
        server of this machine's agent.
    token : str, optional
        The server's token; by default ``CMONLAB_NATS_TOKEN``, or the one of this machine's agent.

    Returns
    -------
    cmonlab.live.agent.client.Client

    Raises
    ------
    TransportError
        Neither a server nor an agent answers.
    """
    from ..transport import connect as connect_transport
    from .client import Client

    return Client(connect_transport(url, token), host)


def start(client: DockerClient | Lab | None = None, names: Mapping[str, str] | None = None) -> Client:
    """Start an agent in this process and return its client; closing the client stops the agent.

    Parameters
    ----------
    client : docker.DockerClient or Lab, optional
        The Docker engine, or the lab, whose containers are followed; by default the Docker engine
        that answers, if any.
    names : mapping of str to str, optional
        Container id → short name.

    Returns
    -------
    cmonlab.live.agent.client.Client

    Raises
    ------
    NotTraceable
        This host cannot trace.
    DockerError
        The Docker engine does not work.
    """
    from cmonlab.lab.docker.client import connect as connect_docker
    from cmonlab.lab.docker.place import HERE
    from cmonlab.lab.topology.deploy import Lab

    from ..transport import LocalTransport
    from .client import Client
    from .service import Service

    if isinstance(client, Lab):
        names = client.names | dict(names or {})
        client = client.client
    transport = LocalTransport()
    service = Service(transport, client or connect_docker() or HERE.connect(), names)
    return Client(transport, service.host, close=service.close)
