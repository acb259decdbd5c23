"""Who is let in: whoever has the address with the token, and comes from this machine's own page."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from tornado.httputil import HTTPServerRequest
from tornado.routing import AnyMatches, Matcher, Rule, RuleRouter
from tornado.web import Application, RequestHandler

#: Sent with every answer: the address, which holds the token, is told to nobody, nothing is fetched from elsewhere,
#: and no other page shows this one in a frame.
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
<html lang="en"><head><meta charset="utf-8"><title>cmonlab: not let in</title>
<style>
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif }
main { max-width: 38rem; margin: 15vh auto 0; padding: 0 1rem }
code { font-size: 1.05em }
</style></head><body><main>
<h1>This dashboard is private</h1>
<p>The address lacks the right token. Each start of <code>cmonlab dashboard</code> has another one.</p>
<p>Open the address that the command printed, whole, as it stands in the terminal. If the terminal is gone, end the
command and start it again.</p>
</main></body></html>
"""


class Admitted(Matcher):
    """Matches requests that may pass: pages, files and websockets alike.

    The token is the first part of the path, so that no cookie is needed: cookies of one
    port of 127.0.0.1 are sent to all others, whoever listens there.

    Parameters
    ----------
    token : str
    """

    def __init__(self, token: str):
        self._token = token.encode()

    def match(self, request: HTTPServerRequest) -> Mapping[str, object] | None:
        """Return {} for a request that may pass, else None."""
        return {} if self._has_token(request) and _is_local(request) and _is_own(request) else None

    def _has_token(self, request: HTTPServerRequest) -> bool:
        first = request.path.encode(errors="replace").split(b"/", 2)[1:2]
        return hmac.compare_digest(first[0] if first else b"", self._token)


def _port(request: HTTPServerRequest) -> int:
    # The socket's own: what a client says of its port proves nothing.
    return request.connection.stream.socket.getsockname()[1]


def _is_local(request: HTTPServerRequest) -> bool:
    """Tell whether the name asked for is this machine's: another one that leads here is DNS rebinding."""
    return request.headers.get_list("Host") in ([f"{name}:{_port(request)}"] for name in ("127.0.0.1", "localhost"))


def _is_own(request: HTTPServerRequest) -> bool:
    """Tell whether a request comes from our own page, or from the address bar."""
    return request.headers.get_list("Origin") in ([], [f"http://{request.host}"])


class _Refuse(RequestHandler):
    """Answers every method with 403, and what to do."""

    def set_default_headers(self) -> None:
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.set_header("Cache-Control", "no-store")

    def prepare(self) -> None:
        self.set_status(403)
        self.finish(_REFUSED)


def gated(token: str, application: Application) -> RuleRouter:
    """Return a router that hands admitted requests on, and refuses all others."""
    refusal = Application([(r".*", _Refuse)], log_function=lambda handler: None)
    return RuleRouter([Rule(Admitted(token), application), Rule(AnyMatches(), refusal)])
