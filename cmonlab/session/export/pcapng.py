"""Recorded packets as a pcapng file, which Wireshark, tshark and scapy open.

One packet per journey, or one per hop. A comment on each packet has what was measured of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from cmonlab.data.correlation.order import runs
from cmonlab.data.tables.tables import Tables
from cmonlab.errors import UnknownName
from cmonlab.points.records import SHAPE_HEADER_SHIFT
from cmonlab.system.files import export_file

from .choice import choose, describe
from .comments import hop_comments, journey_comments
from .headers import Header, Headers

PACKETS = ("journeys", "hops")
_RAW_IP = 101  # LINKTYPE_RAW
_NANOSECONDS = b"\x09"  # if_tsresol: 10^-9
_PART = 8192  # packets whose comments are in memory at a time


class _Packets(NamedTuple):
    """The packets to write, in order of time.

    Attributes
    ----------
    event, journey : numpy.ndarray of int64, shape (packets,)
        Event and journey that each packet stands for.
    header : numpy.ndarray of int64, shape (packets,)
        The event that has the packet's header.
    """

    event: np.ndarray
    journey: np.ndarray
    header: np.ndarray


def pcapng(
    session: Tables, path: str | Path, *, journeys: int | Sequence[int] | None = None, packets: str = "journeys"
) -> Path:
    """Write packets to a pcapng file.

    Parameters
    ----------
    session : Tables
        For instance a `Session`.
    path : str or Path
        A new file.
    journeys : int or sequence of int, optional
        The journeys to write: see `choose`; all by default.
    packets : {"journeys", "hops"}
        One packet per journey, at the time when it left its source, or one packet per hop.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ExportError
        The session has no journey, the file exists or cannot be written.
    UnknownName
        There is no such journey, or `packets` is something else.

    Notes
    -----
    Payload was not recorded: a packet's captured length is the length of its headers, its original length is that of
    the IP packet. Times are wall clock if the manifest has the offset of CLOCK_MONOTONIC, else time since boot.
    """
    if packets not in PACKETS:
        raise UnknownName("kind of packets", packets, PACKETS)
    table = session.journeys()
    chosen = choose(table, journeys)
    with export_file(Path(path)) as file:
        _write(file, session, chosen, packets, describe(table, chosen))
    return Path(path)


def _write(file: BinaryIO, session: Tables, chosen: np.ndarray, packets: str, which: str) -> None:
    from pcapng import FileWriter, blocks

    listed = _hops(session, chosen) if packets == "hops" else _journeys(session, chosen)
    place, interfaces = _interfaces(session, listed.event)
    section = blocks.SectionHeader(
        options={
            "opt_comment": _section_comment(session, packets, which),
            "shb_hardware": str(session.manifest["host"].get("cpu") or ""),
            "shb_os": f"Linux {session.manifest['host'].get('kernel', '')}",
            "shb_userappl": f"cmonlab {session.manifest['host'].get('python_packages', {}).get('cmonlab', '')}",
        }
    )
    for options in interfaces:
        section.new_member(blocks.InterfaceDescription, link_type=_RAW_IP, options=options)
    writer, new = FileWriter(file, section), partial(section.new_member, blocks.EnhancedPacket)
    at_ns = session.columns["ts_ns"][listed.event].astype(np.int64) + _offset_ns(session)
    content = zip(
        at_ns.tolist(),
        place.tolist(),
        _headers(session, listed.header),
        _comments(session, listed, packets),
        strict=True,
    )
    for ts, interface, (data, size), comment in content:
        block = new(options={"opt_comment": comment})
        block.interface_id, block.packet_data, block.packet_len = interface, data, max(size, len(data))
        block.timestamp_high, block.timestamp_low = divmod(ts, 1 << 32)
        writer.write_block(block)


def _journeys(session: Tables, chosen: np.ndarray) -> _Packets:
    event = session.correlated.first_tx[chosen]
    order = np.argsort(session.columns["ts_ns"][event], kind="stable")
    return _Packets(event[order], chosen[order], event[order])


def _hops(session: Tables, chosen: np.ndarray) -> _Packets:
    """Return the hops of journeys. Sockets see no header: their hops have that of the packet's first transmission."""
    found, columns = session.correlated, session.columns
    length = found.length[chosen]
    event = found.event[runs(found.start[chosen], length)].astype(np.int64)
    journey = np.repeat(chosen, length)
    header = np.where(columns["shape"][event] >> SHAPE_HEADER_SHIFT, event, found.first_tx[journey])
    order = np.lexsort((journey, columns["ts_ns"][event]))
    return _Packets(event[order], journey[order], header[order])


def _headers(session: Tables, events: np.ndarray) -> Iterator[tuple[bytes, int]]:
    """Yield (header, length of the IP packet in bytes) for each of these events."""
    headers, columns = Headers(session.facts.names), session.columns
    for at in range(0, len(events), _PART):
        part = events[at : at + _PART]
        fields = zip(*(columns[name][part].tolist() for name in Header._fields), strict=True)
        keys = zip(*(columns[name][part].tolist() for name in ("seq", "ident")), strict=True)
        for row, (seq, ident) in zip(map(Header._make, fields), keys, strict=True):
            yield headers.of(row, seq, ident), row.len_bytes


def _comments(session: Tables, listed: _Packets, packets: str) -> Iterator[str]:
    for at in range(0, len(listed.event), _PART):
        part = slice(at, at + _PART)
        if packets == "hops":
            yield from hop_comments(session, listed.journey[part], listed.event[part])
        else:
            yield from journey_comments(session, listed.journey[part])


def _interfaces(session: Tables, events: np.ndarray) -> tuple[np.ndarray, list[dict[str, object]]]:
    """Return (number of each event's interface, options that describe each interface)."""
    names = session.events["place"].iloc[events]
    number, places = names.factorize()
    links = session.links().drop_duplicates(["namespace", "name"], keep="last").set_index(["namespace", "name"])
    kernel, described = session.manifest["host"].get("kernel", ""), []
    for place in places.tolist():
        namespace, _, interface = place.partition(":")
        options = {"if_name": place, "if_tsresol": _NANOSECONDS, "if_os": f"Linux {kernel}"}
        if (namespace, interface) in links.index:
            link = links.loc[(namespace, interface)]
            options["if_description"] = f"{link['kind'] or 'interface'} {interface} of {namespace}, MTU {link['mtu']}"
        else:
            options["if_description"] = f"sockets of {namespace}" if not interface else f"{interface} of {namespace}"
        described.append(options)
    return number, described


def _offset_ns(session: Tables) -> int:
    return int(session.manifest.get("clock", {}).get("realtime_offset_ns", 0))


def _section_comment(session: Tables, packets: str, which: str) -> list[str]:
    clock = session.manifest.get("clock", {})
    times = "Times are CLOCK_MONOTONIC, since boot: how it relates to the wall clock was not recorded."
    if "realtime_offset_ns" in clock:
        times = (
            f"Times are wall clock: CLOCK_MONOTONIC + {clock['realtime_offset_ns']} ns, known to "
            f"{clock.get('realtime_offset_error_ns', '?')} ns when the recording was made."
        )
    one = "hop" if packets == "hops" else "journey, where the packet left its source"
    return [
        f"Reconstructed from a recording of cmonlab: one packet for each {one}; {which}. "
        f"Rules: {session.rules_summary}.",
        f"{session.lost_events:,} lost events (the tracer's own), "
        f"trace gaps: {session.trace_gap_ns / 1e6:.1f} ms in total.",
        "Not recorded, so cut off or 0: payload, options, TCP acknowledgement number, window and checksum; "
        "the time to live is 64. Inside a tunnel the packet is the inner one.",
        times,
    ]
