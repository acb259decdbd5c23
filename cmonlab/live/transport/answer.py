"""An answer to a request, and an error that travels in its place."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping

from cmonlab import errors
from cmonlab.errors import CmonlabError, TransportError

from .subject import MAX_BYTES

_ERROR = "Cmonlab-Error"
_LONGEST = 50_000
_log = logging.getLogger("cmonlab.live.transport")


def answer(handler: Callable[[bytes], bytes], payload: bytes) -> tuple[bytes, dict[str, str]]:
    """Call a handler; return (payload, headers) of its answer or of its error."""
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
    parts = {name: getattr(error, name)[:_LONGEST] for name in ("what", "why", "fix")}
    return json.dumps(parts).encode(), {_ERROR: type(error).__name__}


def opened(payload: bytes, headers: Mapping[str, str] | None) -> bytes:
    """Return the payload of an answer, or raise the error that it carries.

    Raises
    ------
    CmonlabError
        Of the class that was raised at the other side; `TransportError` where that class is not known here.
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
    # Subclasses compose their message from other arguments.
    error = kind.__new__(kind)
    CmonlabError.__init__(error, what, why=why, fix=fix)
    raise error
