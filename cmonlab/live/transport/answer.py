"""Replies to requests; the error of a handler travels as a reply and is raised at the requester."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping

from cmonlab import errors
from cmonlab.errors import CmonlabError, TransportError

from .subject import MAX_BYTES

_ERROR = "Cmonlab-Error"
_MAX_CHARACTERS = 50_000
_log = logging.getLogger("cmonlab.live.transport")


def answer(handler: Callable[[bytes], bytes], payload: bytes) -> tuple[bytes, dict[str, str]]:
    """Call a handler with a request.

    Parameters
    ----------
    handler : callable
        Takes the content of the request, and returns that of the reply.
    payload : bytes
        Content of the request.

    Returns
    -------
    payload : bytes
        Content of the reply, or of the error that the handler raised.
    headers : dict of str to str
        Headers of the reply; they name the class of an error.
    """
    try:
        reply = handler(payload)
        if len(reply) > MAX_BYTES:
            raise TransportError(f"the answer has {len(reply):,} bytes", why=f"the limit is {MAX_BYTES:,} bytes")
        return reply, {}
    except CmonlabError as error:
        return _packed(error)
    except Exception as error:
        _log.exception("a request could not be answered")
        why = f"{type(error).__name__}: {error}"
        return _packed(TransportError("the answering side failed", why=why, fix="see its log"))


def _packed(error: CmonlabError) -> tuple[bytes, dict[str, str]]:
    parts = {name: getattr(error, name)[:_MAX_CHARACTERS] for name in ("what", "why", "fix")}
    return json.dumps(parts).encode(), {_ERROR: type(error).__name__}


def payload_or_error(payload: bytes, headers: Mapping[str, str] | None) -> bytes:
    """Return the content of a reply, or raise the error in it.

    Parameters
    ----------
    payload : bytes
        Content of the reply.
    headers : mapping of str to str or None
        Headers of the reply.

    Raises
    ------
    CmonlabError
        The error of the handler, with the same class; a `TransportError` if this class does not exist here.
    """
    name = (headers or {}).get(_ERROR)
    if name is None:
        return payload
    known = getattr(errors, name, None)
    kind = known if isinstance(known, type) and issubclass(known, CmonlabError) else TransportError
    try:
        parts = json.loads(payload)
        what, why, fix = (str(parts[part]) for part in ("what", "why", "fix"))
    except (ValueError, TypeError, KeyError):
        raise TransportError("the other side answered with an error that cannot be read") from None
    # Subclasses have other arguments, from which they build the message.
    error = kind.__new__(kind)
    CmonlabError.__init__(error, what, why=why, fix=fix)
    raise error
