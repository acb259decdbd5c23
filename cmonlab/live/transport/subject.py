"""What a message may look like: subjects, headers and size, the same for every transport."""

from __future__ import annotations

import re
from collections.abc import Mapping

from cmonlab.errors import TransportError

#: The default limit of a NATS server; headers count too.
MAX_BYTES = 1 << 20
_TOKEN = re.compile(r"[!-)+-\-/-=?-~]+")  # printable ASCII without "*", "." and ">"
_KEY = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_STREAM = re.compile(r"[A-Za-z0-9_-]+")
# Such headers steer the server (one empties a stream), or are words of its own.
_RESERVED = re.compile(r"nats-.*|status|description", re.IGNORECASE)


def check_subject(subject: str, wildcards: bool = False) -> None:
    """Refuse what is not a subject: words joined by dots.

    Parameters
    ----------
    subject : str
    wildcards : bool
        Let ``*`` stand for one word and a last ``>`` for one word or more.

    Raises
    ------
    TransportError
        It is not a subject.
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
    """Tell whether a subject, without wildcards, falls under a pattern."""
    wanted, found = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        wanted.pop()
        if len(found) <= len(wanted):
            return False
        found = found[: len(wanted)]
    return len(wanted) == len(found) and all(a in ("*", b) for a, b in zip(wanted, found, strict=True))


def overlap(one: str, other: str) -> bool:
    """Tell whether some subject falls under both patterns."""
    for a, b in zip(ours := one.split("."), theirs := other.split("."), strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return len(ours) == len(theirs)


def message_bytes(payload: bytes, headers: Mapping[str, str] | None) -> int:
    """Return how many bytes of a server's limit a message takes."""
    lines = sum(len(key) + len(value) + 4 for key, value in headers.items()) + 12 if headers else 0
    return len(payload) + lines


def check_message(payload: bytes, headers: Mapping[str, str] | None, limit_bytes: int = MAX_BYTES) -> None:
    """Refuse a message that is too large, or headers that would not arrive as they are.

    Raises
    ------
    TransportError
        It cannot be sent.
    """
    for key, value in (headers or {}).items():
        plain = value.isascii() and value.isprintable() and value == value.strip()
        if not plain or not _KEY.fullmatch(key) or _RESERVED.fullmatch(key):
            raise TransportError(
                f"header {key!r}: {value!r} cannot be sent",
                why="names are words except Status, Description and Nats-…, values one line of printable ASCII",
                fix="put anything else into the payload",
            )
    size = message_bytes(payload, headers)
    if size > limit_bytes:
        raise TransportError(
            f"a message of {size:,} bytes cannot be sent",
            why=f"the limit is {limit_bytes:,} bytes",
            fix="send batches of 32 to 256 KiB",
        )


def visible(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return headers without those that are between us and the server."""
    return {key: value for key, value in (headers or {}).items() if not _RESERVED.fullmatch(key)}


def check_stream(stream: str, subjects: list[str], max_bytes: int, max_age_s: float) -> None:
    """Refuse a stream that no transport could keep.

    Raises
    ------
    TransportError
        Of its name, its subjects or its limits.
    """
    if not _STREAM.fullmatch(stream):
        raise TransportError(f"{stream!r} is not the name of a stream", fix="use letters, digits, '-' and '_'")
    for subject in subjects:
        check_subject(subject, wildcards=True)
    if not subjects or max_bytes <= 0 or max_age_s <= 0:
        raise TransportError(
            f"stream {stream!r} would keep nothing", fix="give it a subject, and a limit of bytes and of age above 0"
        )
