"""Messages between threads, processes and hosts.

`LocalTransport` carries them within a process, `connect` gives the same over a NATS
server: a user's own, or one that `NatsServer` starts.
"""

from __future__ import annotations

from .base import Message, Replay, Transport
from .endpoint import Endpoint, read_endpoint, remove_endpoint, run_directory, write_endpoint
from .local import LocalTransport
from .mailbox import Subscription
from .server import NatsServer
from .stale import remove_stale
from .subject import MAX_BYTES

__all__ = [
    "MAX_BYTES",
    "Endpoint",
    "LocalTransport",
    "Message",
    "NatsServer",
    "Replay",
    "Subscription",
    "Transport",
    "connect",
    "read_endpoint",
    "remove_endpoint",
    "remove_stale",
    "run_directory",
    "write_endpoint",
]


def connect(url: str | None = None, token: str | None = None, timeout_s: float = 5.0) -> Transport:
    """Connect to a NATS server; the connection is made again by itself when it breaks.

    Parameters
    ----------
    url : str, optional
        ``nats://host:port``, or ``tls://host:port`` where the server has TLS and its
        certificate is trusted. By default that of `read_endpoint`.
    token : str, optional
        What the server asks for.
    timeout_s : float

    Raises
    ------
    TransportError
        No server there, no answer in time, the token is refused, or TLS fails.
    """
    # The client library is loaded where it is needed.
    from .nats import NatsTransport

    if url is None:
        found = read_endpoint()
        url, token = found.url, token or found.token
    return NatsTransport(url, token, timeout_s)
