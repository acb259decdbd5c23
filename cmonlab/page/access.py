"""The token check for every request: only the address with the token, and only from this machine's own page."""

from __future__ import annotations

import hmac
from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.httputil import HTTPServerRequest
from tornado.routing import AnyMatches, Matcher, Rule, RuleRouter
from tornado.web import Application, RequestHandler

#: Headers of every answer. The browser does not send the address, which has the token, to other servers; it loads
#: nothing from elsewhere; and no other page may show this one in a frame.
HEADERS = {
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "worker-src 'self' blob:; frame-ancestors 'none'; form-action 'self'; base-uri 'none'"
    ),
}
_REFUSED = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>cmonlab: access denied</title>
<style>
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
main { max-width: 38rem; margin: 15vh auto 0; padding: 0 1rem }
code { font-size: 1.05em }
</style></head><body><main>
<h1>This dashboard is private</h1>
<p>The address does not have the right token. Each start of <code>cmonlab dashboard</code> has a new one.</p>
<p>Open the address that the command printed, complete as it stands in the terminal. If the terminal is gone, end the
command and start it again.</p>
</main></body></html>
"""


class TokenMatcher(Matcher):
    """Matches the requests that are allowed, for pages, files and websockets alike.

    The token is the first part of the path. A cookie would not be safe: browsers send the cookies of one port of
    127.0.0.1 to all other ports there.

    Parameters
    ----------
    token : str
        What an allowed request has.
    """

    def __init__(self, token: str):
        self._token = token.encode()

    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        """Return {} for an allowed request, else None."""
        return {} if self._has_token(request) and _is_local(request) and _is_same_origin(request) else None

    def _has_token(self, request: HTTPServerRequest) -> bool:
        first = request.path.encode(errors="replace").split(b"/", 2)[1:2]
        return hmac.compare_digest(first[0] if first else b"", self._token)


def _port(request: HTTPServerRequest) -> int:
    # The port of the socket, because a client could lie in its headers.
    connection = request.connection
    assert isinstance(connection, HTTP1Connection)
    return connection.stream.socket.getsockname()[1]


def _is_local(request: HTTPServerRequest) -> bool:
    """Return whether the header Host is this machine's; another name that leads here is DNS rebinding."""
    return request.headers.get_list("Host") in ([f"{name}:{_port(request)}"] for name in ("127.0.0.1", "localhost"))


def _is_same_origin(request: HTTPServerRequest) -> bool:
    """Return whether a request comes from our own page, or from the address bar."""
    return request.headers.get_list("Origin") in ([], [f"http://{request.host}"])


class _Refuse(RequestHandler):
    """Answers every method with 403 and says what to do."""

    def set_default_headers(self) -> None:
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.set_header("Cache-Control", "no-store")

    def prepare(self) -> None:
        self.set_status(403)
        self.finish(_REFUSED)


def check_token(token: str, application: Application) -> RuleRouter:
    """Return a router that passes allowed requests to an application and refuses all others.

    Parameters
    ----------
    token : str
        First part of the path of an allowed request.
    application : tornado.web.Application
        Handles allowed requests.
    """
    refusal = Application([(r".*", _Refuse)], log_function=lambda handler: None)
    return RuleRouter([Rule(TokenMatcher(token), application), Rule(AnyMatches(), refusal)])
