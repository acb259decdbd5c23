"""Errors of connecting to a NATS server, with causes and fixes."""

from __future__ import annotations

import ssl

from nats.errors import SecureConnRequiredError, StaleConnectionError

from cmonlab.errors import TransportError


def connect_error(error: BaseException, url: str, timeout_s: float) -> TransportError:
    """Return the error to raise after the first attempt to connect.

    Parameters
    ----------
    error : BaseException
        Error of the client library.
    url : str
        URL of the server, without secrets.
    timeout_s : float
        Time waited, in seconds.
    """
    what, text = f"cannot connect to {url}", str(error)
    if "authorization" in text.lower() or "authentication" in text.lower():
        fix = "give the token of that server; set CMONLAB_NATS_TOKEN to it if CMONLAB_NATS_URL is set"
        return TransportError(what, why="the server does not accept the token", fix=fix)
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"its certificate is not trusted: {error.verify_message or text}"
        return TransportError(what, why=why, fix="set SSL_CERT_FILE to the certificate file of its authority")
    if isinstance(error, SecureConnRequiredError):
        fix = "enable TLS on that server, or use nats:// on a trusted network"
        return TransportError(what, why="the server offers no TLS; nothing was sent", fix=fix)
    if isinstance(error, ssl.SSLError):
        return TransportError(what, why=f"TLS failed: {text}", fix="check the server's TLS settings")
    if isinstance(error, ConnectionResetError | BrokenPipeError | StaleConnectionError):
        return TransportError(
            what, why="the server closed the connection", fix="check that a NATS server listens there"
        )
    if isinstance(error, TimeoutError):
        return TransportError(what, why=f"nothing answered in {timeout_s:g} s", fix="check address, port and firewall")
    if isinstance(error, OSError):
        return TransportError(what, why=text, fix="start `cmonlab agent`, or check address and port")
    return TransportError(what, why=text or type(error).__name__, fix="check that a NATS server listens there")
