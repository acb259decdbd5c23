"""The protocol between an agent and its clients: subjects and payloads.

Requests and answers are JSON; long ones are compressed (zlib, RFC 1950). Events and cells are the kernel's own
records; the agent describes their layout in its manifest. Nothing that is received is ever executed.
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
# The first byte of zlib data: deflate with a window of 32 KiB (RFC 1950). JSON never begins with it.
_ZLIB = b"\x78"
_LONG_BYTES, _LONGEST_BYTES = 64 << 10, 64 << 20


def host_word(name: str = "") -> str:
    """Return a host's name, by default this host's, as one word of a subject: letters, digits, ``_`` and ``-``."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name or socket.gethostname()) or "host"


def subject(host: str, word: str) -> str:
    """Return the subject under which a host's agent answers a request or publishes data.

    Parameters
    ----------
    host : str
        As `host_word` returns it.
    word : str
        Name of the request, or of the data: ``events`` or ``cells``.
    """
    return f"cmonlab.{host}.{word}"


def stream(host: str) -> str:
    """Return the name of the stream that stores the data of a host's agent."""
    return f"cmonlab-{host}"


def pack(value: Any) -> bytes:
    """Return a value as JSON, compressed when it is long."""
    text = json.dumps(value, ensure_ascii=False).encode()
    return zlib.compress(text) if len(text) > _LONG_BYTES else text


def unpack(payload: bytes) -> Any:
    """Return the value that `pack` packed; None for an empty payload.

    Raises
    ------
    TransportError
        The payload is not JSON, or longer than 64 MiB.
    """
    try:
        return json.loads(_text(payload) or b"null")
    except ValueError as error:
        raise TransportError(
            "a message is not JSON", why=str(error), fix="use the same cmonlab on both ends"
        ) from error


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


def layout_of(dtype: np.dtype) -> list[list[str]]:
    """Return a record's layout as JSON can hold it: name and type (``"<u4"``) of each field."""
    return [[name, dtype[name].str] for name in dtype.names or ()]


def dtype_of(layout: Any) -> np.dtype:
    """Return the dtype of a layout that was received; see `layout_of`.

    Raises
    ------
    TransportError
        It is not a layout of plain integers.
    """
    try:
        dtype = np.dtype([(str(name), str(kind)) for name, kind in layout])
        if any(dtype[name].kind not in "iu" for name in dtype.names or ()):
            raise TypeError("fields must be integers")
        return dtype
    except (TypeError, ValueError) as error:
        raise TransportError(
            "an agent sent an invalid layout of records", why=str(error), fix="use the same cmonlab on both ends"
        ) from error


def batches(records: np.ndarray) -> Iterator[bytes]:
    """Yield records, shape ``(records,)``, as payloads of at most `BATCH_BYTES`."""
    step = max(1, BATCH_BYTES // records.itemsize)
    for at in range(0, len(records), step):
        yield records[at : at + step].tobytes()


def records_of(payload: bytes, dtype: np.dtype) -> np.ndarray:
    """Return the records of a payload.

    Parameters
    ----------
    payload : bytes
        One of `batches`.
    dtype : numpy.dtype
        Layout of a record.

    Returns
    -------
    numpy.ndarray
        Of that dtype, shape ``(records,)``, read-only.

    Raises
    ------
    TransportError
        The length of the payload is not a multiple of a record's.
    """
    if len(payload) % dtype.itemsize:
        raise TransportError(
            "a message of records has a broken length",
            why=f"{len(payload)} bytes, records of {dtype.itemsize}",
            fix="use the same cmonlab on both ends",
        )
    return np.frombuffer(payload, dtype)


def number(headers: Mapping[str, str], name: str) -> int:
    """Return a message's header that holds an integer.

    Parameters
    ----------
    headers : mapping of str to str
        The headers of the message.
    name : str
        Name of the header.

    Raises
    ------
    TransportError
        The header is missing or not an integer.
    """
    try:
        return int(headers[name])
    except (KeyError, ValueError) as error:
        raise TransportError(f"a message has no number {name!r} in its headers") from error
