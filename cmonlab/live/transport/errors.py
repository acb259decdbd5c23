"""What can go wrong with every transport, said in one way."""

from __future__ import annotations

from cmonlab.errors import TransportError


def closed() -> TransportError:
    """Return the error of whatever is asked after `close`."""
    return TransportError("this transport is closed")


def nobody_answers(subject: str) -> TransportError:
    """Return the error of a request that reached nobody."""
    return TransportError(f"nobody answers to {subject!r}", why="nothing serves it", fix="start `cmonlab agent`")


def no_answer(subject: str, timeout_s: float) -> TransportError:
    """Return the error of a request that was not answered in time."""
    return TransportError(f"no answer from {subject!r} in {timeout_s:g} s", why="the other side is busy or hangs")


def nobody_keeps(subject: str) -> TransportError:
    """Return the error of a subject that belongs to no stream."""
    return TransportError(f"nothing keeps {subject!r}", why="no stream has that subject", fix="make one with keep()")
