"""Why a NATS server could not be reached, in words."""

from __future__ import annotations

import ssl

from nats.errors import SecureConnRequiredError, StaleConnectionError

from cmonlab.errors import TransportError


def explained(error: BaseException, url: str, timeout_s: float) -> TransportError:
    """Return the error to raise for the first attempt to connect.

    Parameters
    ----------
    error : BaseException
        What the client library met.
    url : str
        Without secrets.
    timeout_s : float
        How long was waited.
    """
    what, text = f"cannot connect to {url}", str(error)
    if "authorization" in text.lower() or "authentication" in text.lower():
        fix = "give the token that server was started with; CMONLAB_NATS_TOKEN holds it where CMONLAB_NATS_URL is set"
        return TransportError(what, why="the server does not accept the token", fix=fix)
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"its certificate is not trusted: {error.verify_message or text}"
        return TransportError(what, why=why, fix="name the file of its authority in SSL_CERT_FILE")
    if isinstance(error, SecureConnRequiredError):
        fix = "switch TLS on there, or say nats:// where the way is safe"
        return TransportError(what, why="the server offers no TLS; nothing was sent", fix=fix)
    if isinstance(error, ssl.SSLError):
        return TransportError(what, why=f"TLS failed: {text}", fix="compare the server's TLS settings")
    if isinstance(error, ConnectionResetError | BrokenPipeError | StaleConnectionError):
        return TransportError(what, why="the server hangs up", fix="check that a NATS server listens there")
    if isinstance(error, TimeoutError):
        return TransportError(what, why=f"nothing answered in {timeout_s:g} s", fix="check address, port and firewall")
    if isinstance(error, OSError):
        return TransportError(what, why=text, fix="start `cmonlab agent`, or check address and port")
    return TransportError(what, why=text or type(error).__name__, fix="check that a NATS server listens there")
