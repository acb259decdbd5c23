"""How an agent and its clients talk: subjects, and what the payloads hold.

Questions and answers are JSON, long ones compressed (zlib, RFC 1950).  Events and cells
are the kernel's own records, whose layout the agent tells; nothing that is received is
ever executed.
"""

from __future__ import annotations

import json
import re
import socket
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cmonlab.errors import TransportError

HELLO = "cmonlab.hello"
BATCH_BYTES = 192 << 10
# No JSON begins like that: a window of 32 KiB, and deflate.
_ZLIB = b"\x78"
_LONG_BYTES, _LONGEST_BYTES = 64 << 10, 64 << 20


def host_word(name: str = "") -> str:
    """Return a host's name as one word of a subject, by default this host's."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name or socket.gethostname()) or "host"


def subject(host: str, word: str) -> str:
    """Return the subject of a host's agent for a question or for data."""
    return f"cmonlab.{host}.{word}"


def stream(host: str) -> str:
    """Return the name of the stream that keeps a host's data."""
    return f"cmonlab-{host}"


def pack(answer: Any) -> bytes:
    """Return an answer as JSON."""
    text = json.dumps(answer, ensure_ascii=False).encode()
    return zlib.compress(text) if len(text) > _LONG_BYTES else text


def unpack(payload: bytes) -> Any:
    """Return what JSON holds.

    Raises
    ------
    TransportError
        It is none, or longer than any answer is.
    """
    try:
        return json.loads(_text(payload) or b"null")
    except ValueError as error:
        raise TransportError("a message is no JSON", why=str(error), fix="use the same cmonlab on both ends") from error


def _text(payload: bytes) -> bytes:
    if not payload.startswith(_ZLIB):
        return payload
    packed = zlib.decompressobj()
    try:
        text = packed.decompress(payload, _LONGEST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not packed.eof:
        raise ValueError(f"it is cut off, or longer than {_LONGEST_BYTES:,} bytes")
    return text


def layout(dtype: np.dtype) -> list[list[str]]:
    """Return a record's layout as data."""
    return [[name, field[0].str] for name, field in dtype.fields.items()]


def dtype_of(told: Any) -> np.dtype:
    """Return the dtype of a layout that was received.

    Raises
    ------
    TransportError
        It is no layout of plain integers.
    """
    try:
        dtype = np.dtype([(str(name), str(kind)) for name, kind in told])
        if any(field[0].kind not in "iu" for field in dtype.fields.values()):
            raise TypeError("fields must be integers")
        return dtype
    except (TypeError, ValueError) as error:
        raise TransportError(
            "an agent tells a layout of records that is none", why=str(error), fix="use the same cmonlab on both ends"
        ) from error


def batches(records: np.ndarray) -> Iterator[bytes]:
    """Cut records into payloads of a good size."""
    step = max(1, BATCH_BYTES // records.itemsize)
    for at in range(0, len(records), step):
        yield records[at : at + step].tobytes()


def records_of(payload: bytes, dtype: np.dtype) -> np.ndarray:
    """Return the records of a payload.

    Raises
    ------
    TransportError
        Its length does not fit.
    """
    if len(payload) % dtype.itemsize:
        raise TransportError(
            "a message of records has a broken length",
            why=f"{len(payload)} bytes, records of {dtype.itemsize}",
            fix="use the same cmonlab on both ends",
        )
    return np.frombuffer(payload, dtype)


def number(headers: Mapping[str, str], name: str) -> int:
    """Return a number of a message's headers.

    Raises
    ------
    TransportError
        It is not there, or no number.
    """
    try:
        return int(headers[name])
    except (KeyError, ValueError) as error:
        raise TransportError(f"a message has no number {name!r} in its headers") from error
