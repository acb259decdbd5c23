"""The analysis that tcpdump leaves to its user: read captures, find each packet on every interface, compute times.

A strong form of what one would write: one pass over the records in plain Python (their
lengths differ, so each one gives the start of the next), the rest vectorised.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

_MAGIC_NANO = 0xA1B23C4D
_ETHERNET, _SLL2 = 1, 276
#: Link type → offset of the IP header, and offset of the interface's number (-1: the file has one interface only).
_LINKS = {_ETHERNET: (14, -1), _SLL2: (20, 4)}
_HEADER, _RECORD = 24, 16


def read(file: Path, place: int) -> dict[str, np.ndarray]:
    """Return the IPv4 packets of a capture with nanoseconds: ts_ns, place, and columns that identify a packet.

    Parameters
    ----------
    file : Path
        As tcpdump writes it on a little-endian machine.
    place : int
        Number of the interface if the file does not contain it.

    Returns
    -------
    dict of str to numpy.ndarray, shape (packets,)
        ts_ns (int64), place (int64), flow, ident, seq (uint64).

    Raises
    ------
    ValueError
        It is no such capture.
    """
    data = file.read_bytes()
    magic, link = struct.unpack_from("<I16xI", data)
    if magic != _MAGIC_NANO or link not in _LINKS:
        raise ValueError(f"{file.name}: magic {magic:#x}, link type {link}")
    begin, interface = _LINKS[link]
    at, ts_ns = _records(data, begin + 28)
    octets = np.frombuffer(data, np.uint8)
    number = partial(_numbers, octets, at)
    ports = begin + 4 * (octets[at + begin] & 15).astype(np.int64)
    return {
        "ts_ns": ts_ns,
        "place": number(interface, 4).astype(np.int64) if interface >= 0 else np.full(len(at), place, np.int64),
        "flow": number(begin + 12, 8) ^ number(ports, 4) * np.uint64(0x9E3779B97F4A7C15),
        "ident": number(begin + 4, 2) << np.uint64(16) | number(begin + 2, 2),
        "seq": number(ports + 4, 4),  # TCP: sequence number; UDP: length and checksum
    }


def _numbers(octets: np.ndarray, at: np.ndarray, offset: np.ndarray | int, size: int) -> np.ndarray:
    """Return a big-endian number at an offset of each packet."""
    value = np.zeros(len(at), np.uint64)
    for byte in range(size):
        value = value << np.uint64(8) | octets[at + offset + byte]
    return value


def _records(data: bytes, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the offset and the time of each packet; truncated packets are left out."""
    starts, times, at, end = [], [], _HEADER, len(data)
    unpack = struct.Struct("<III").unpack_from
    while at + _RECORD <= end:
        seconds, nanoseconds, size = unpack(data, at)
        if size >= least:
            starts.append(at + _RECORD)
            times.append(seconds * 1_000_000_000 + nanoseconds)
        at += _RECORD + size
    return np.array(starts, np.int64), np.array(times, np.int64)


def join(captures: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Find each packet's observations and return the times between neighbours.

    Parameters
    ----------
    captures : sequence of dict
        From `read`.

    Returns
    -------
    dict of str to numpy.ndarray
        ``from``, ``to`` (places) and ``ns``, one row per packet and segment.
    """
    table = {name: np.concatenate([capture[name] for capture in captures]) for name in captures[0]}
    order = np.lexsort((table["ts_ns"], table["seq"], table["ident"], table["flow"]))
    table = {name: values[order] for name, values in table.items()}
    same = np.ones(max(0, len(order) - 1), bool)
    for name in ("flow", "ident", "seq"):
        same &= table[name][1:] == table[name][:-1]
    rows = np.flatnonzero(same)
    return {
        "from": table["place"][rows],
        "to": table["place"][rows + 1],
        "ns": table["ts_ns"][rows + 1] - table["ts_ns"][rows],
    }


def segments(files: Sequence[Path]) -> tuple[int, dict[str, np.ndarray]]:
    """Return the number of observations in captures, and the segments that follow from them."""
    captures = [read(file, number) for number, file in enumerate(sorted(files))]
    return sum(len(capture["ts_ns"]) for capture in captures), join(captures)
