"""Rules for subjects, headers, sizes and streams, the same for every transport."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cmonlab.errors import TransportError

#: Largest message, headers included: the default limit of a NATS server.
MAX_BYTES = 1 << 20
_TOKEN = re.compile(r"[!-)+-\-/-=?-~]+")  # printable ASCII without "*", "." and ">"
_KEY = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_STREAM = re.compile(r"[A-Za-z0-9_-]+")
# Headers that control the server (one of them empties a stream), or that it sets itself.
_RESERVED = re.compile(r"nats-.*|status|description", re.IGNORECASE)


def check_subject(subject: str, wildcards: bool = False) -> None:
    """Check that a text is a subject: words joined by dots.

    Parameters
    ----------
    subject : str
        The text.
    wildcards : bool
        Whether ``*`` (one word) and ``>`` at the end (one or more words) are allowed.

    Raises
    ------
    TransportError
        The text is not a subject.
    """
    tokens = subject.split(".")
    if wildcards:
        last = tokens[-1] == ">"
        tokens = [token for token in (tokens[:-1] if last else tokens) if token != "*"]
    if not all(_TOKEN.fullmatch(token) for token in tokens):
        raise TransportError(
            f"{subject!r} is not a subject",
            why="a subject is words of printable ASCII joined by dots",
            fix="'*' (one word) and a last '>' (the rest) are for subscribers" if not wildcards else "",
        )


def matches(pattern: str, subject: str) -> bool:
    """Return whether a pattern covers a subject.

    Parameters
    ----------
    pattern : str
        Subject, wildcards allowed.
    subject : str
        Subject without wildcards.
    """
    wanted, found = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(found) <= len(wanted):
            return False
        found = found[: len(wanted)]
    return len(wanted) == len(found) and all(a in ("*", b) for a, b in zip(wanted, found, strict=True))


def overlap(one: str, other: str) -> bool:
    """Return whether a subject exists that both patterns cover.

    Parameters
    ----------
    one, other : str
        Subjects, wildcards allowed.
    """
    for a, b in zip(ours := one.split("."), theirs := other.split("."), strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return len(ours) == len(theirs)


def message_bytes(payload: bytes, headers: Mapping[str, str] | None) -> int:
    """Return the size in bytes of a message, as a server counts it.

    Parameters
    ----------
    payload : bytes
        Content.
    headers : mapping of str to str or None
        Headers.
    """
    lines = sum(len(key) + len(value) + 4 for key, value in headers.items()) + 12 if headers else 0
    return len(payload) + lines


def check_message(payload: bytes, headers: Mapping[str, str] | None, limit_bytes: int = MAX_BYTES) -> None:
    """Check that a message can be sent.

    Parameters
    ----------
    payload : bytes
        Content.
    headers : mapping of str to str or None
        Headers.
    limit_bytes : int
        Largest size, headers included.

    Raises
    ------
    TransportError
        The message is too large, or a header would not arrive unchanged.
    """
    for key, value in (headers or {}).items():
        plain = value.isascii() and value.isprintable() and value == value.strip()
        if not plain or not _KEY.fullmatch(key) or _RESERVED.fullmatch(key):
            raise TransportError(
                f"header {key!r}: {value!r} cannot be sent",
                why="a name is one word, but not Status, Description or Nats-…; a value is one line of printable ASCII",
                fix="put other data into the payload",
            )
    size = message_bytes(payload, headers)
    if size > limit_bytes:
        raise TransportError(
            f"a message of {size:,} bytes cannot be sent",
            why=f"the limit is {limit_bytes:,} bytes",
            fix="send batches of 32 to 256 KiB",
        )


def visible(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return the headers without those between client and server."""
    return {key: value for key, value in (headers or {}).items() if not _RESERVED.fullmatch(key)}


def check_stream(stream: str, subjects: list[str], max_bytes: int, max_age_s: float) -> None:
    """Check that a stream can be created.

    Parameters
    ----------
    stream : str
        Name.
    subjects : list of str
        Subjects, wildcards allowed.
    max_bytes : int
        Largest size in bytes.
    max_age_s : float
        Largest age of a message, in seconds.

    Raises
    ------
    TransportError
        The name, a subject or a limit is not valid.
    """
    if not _STREAM.fullmatch(stream):
        raise TransportError(f"{stream!r} is not the name of a stream", fix="use letters, digits, '-' and '_'")
    for subject in subjects:
        check_subject(subject, wildcards=True)
    if not subjects or max_bytes <= 0 or max_age_s <= 0:
        raise TransportError(
            f"stream {stream!r} would store nothing", fix="give it a subject, and limits of size and age above 0"
        )
