"""Errors that every transport can raise."""

from __future__ import annotations

from cmonlab.errors import TransportError


def transport_closed() -> TransportError:
    """Return the error of a call after `close`."""
    return TransportError("this transport is closed")


def no_responder(subject: str) -> TransportError:
    """Return the error of a request for a subject that nobody serves."""
    return TransportError(
        f"nobody answers requests for {subject!r}", why="nothing serves it", fix="start `cmonlab agent`"
    )


def no_reply_in_time(subject: str, timeout_s: float) -> TransportError:
    """Return the error of a request without a reply.

    Parameters
    ----------
    subject : str
        Subject of the request.
    timeout_s : float
        Time waited, in seconds.
    """
    return TransportError(f"no answer from {subject!r} in {timeout_s:g} s", why="the other side is busy or hangs")


def no_stream(subject: str) -> TransportError:
    """Return the error of a subject that belongs to no stream."""
    return TransportError(f"no stream stores {subject!r}", fix="create one with create_stream()")
