"""Messages between threads, processes and hosts.

`LocalTransport` carries them within a process. `connect` returns a transport over a NATS server, which `NatsServer` can
start.
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
    """Connect to a NATS server; a broken connection is restored automatically.

    Parameters
    ----------
    url : str, optional
        ``nats://host:port``, or ``tls://host:port`` for a server with TLS whose certificate is trusted. By default the
        URL of `read_endpoint`.
    token : str, optional
        Token that the server requires. By default that of `read_endpoint`, if `url` is not given.
    timeout_s : float
        Longest time to wait for the connection, in seconds.

    Returns
    -------
    Transport
        A connected transport; close it after use.

    Raises
    ------
    TransportError
        No server listens there or answers in time, the token is refused, or TLS fails.
    """
    # The client library is loaded only if it is needed.
    from .nats import NatsTransport

    if url is None:
        found = read_endpoint()
        url, token = found.url, token or found.token
    return NatsTransport(url, token, timeout_s)
