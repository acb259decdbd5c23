"""The headers of recorded packets, reconstructed by scapy from the columns of their events.

An event has the packet's addresses, ports, flags, sequence number and lengths. The other fields of its header are not
known: TCP's acknowledgement number and window are written as 0, the time to live as 64. A TCP header is therefore cut
off before its options, and one without options before its checksum. Wireshark then shows a truncated packet and draws
no conclusion ("zero window", "ACKed unseen segment") from fields that are not known; scapy shows a TCP header without
options as bytes.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

from cmonlab.data.analysis.names import Names
from cmonlab.points.records import SHAPE_FRAGMENT, SHAPE_HEADER_SHIFT, SHAPE_IPV6

_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58
_TCP_WORDS, _TCP_CUT = 5, 16  # words of TCP's header before options, bytes of it before the checksum
_UNSPECIFIED = "::"  # an IPv6 address whose key is not in the address table


class Header(NamedTuple):
    """The columns of the events table that describe a packet's header."""

    saddr: int
    daddr: int
    sport: int
    dport: int
    proto: int
    tcp_flags: int
    len_bytes: int
    shape: int


class Headers:
    """Builds the headers of packets.

    Parameters
    ----------
    names : Names
        The recording's names; they have the IPv6 addresses by their keys.
    """

    def __init__(self, names: Names):
        self._names = names
        # scapy takes half a millisecond per packet; packets of a flow differ in sequence and identification only.
        self._alike = lru_cache(maxsize=1 << 16)(self._build)

    def of(self, header: Header, seq: int, ident: int) -> bytes:
        """Return the header of a packet as it was on the wire, as far as it was recorded.

        Parameters
        ----------
        header : Header
        seq : int
            TCP sequence number, ICMP sequence, or the offset of a later fragment in units of 8 bytes, as in the
            events table.
        ident : int
            IPv4 identification.

        Returns
        -------
        bytes
            IP header and transport header; of a later fragment the IP header only.
        """
        if header.shape & SHAPE_FRAGMENT:  # `seq` is its offset, part of the IP header
            return self._build(header, seq, ident)
        packet = bytearray(self._alike(header))
        ipv6 = header.shape & SHAPE_IPV6
        at = 40 if ipv6 else 20
        if not ipv6:
            struct.pack_into("!H", packet, 4, ident)
            _seal(packet)
        if header.proto == _TCP:
            struct.pack_into("!I", packet, at + 4, seq)
        elif header.proto in (_ICMP, _ICMP6):
            struct.pack_into("!H", packet, at + 6, seq & 0xFFFF)
        return bytes(packet)

    def _build(self, header: Header, offset: int = 0, ident: int = 0) -> bytes:
        from scapy.layers.inet import IP  # takes a moment to load
        from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment

        size, later = header.len_bytes, bool(header.shape & SHAPE_FRAGMENT)
        if header.shape & SHAPE_IPV6:
            src, dst = self._address6(header.saddr), self._address6(header.daddr)
            packet6 = IPv6(src=src, dst=dst, nh=44 if later else header.proto, plen=_length(size - 40))
            if later:
                return bytes(packet6 / IPv6ExtHdrFragment(nh=header.proto, offset=offset))
            return bytes(packet6) + _transport(header, 40)
        src, dst = self._names.address(header.saddr, False), self._names.address(header.daddr, False)
        packet = IP(src=src, dst=dst, proto=header.proto, len=_length(size), id=ident, frag=offset)
        return bytes(packet) + (b"" if later else _transport(header, 20))

    def _address6(self, key: int) -> str:
        return self._names.address(key, True) if key in self._names.addresses6 else _UNSPECIFIED


def _length(size: int) -> int:
    """Return a length in bytes as a field of 16 bits has it; larger packets (BIG TCP) have 0 there."""
    return size if 0 <= size < 1 << 16 else 0


def _transport(header: Header, ip_bytes: int) -> bytes:
    """Return the transport header as far as it was recorded."""
    from scapy.layers.inet import TCP, UDP

    if header.proto == _TCP:
        words = min(max((header.shape >> SHAPE_HEADER_SHIFT) - ip_bytes // 4, _TCP_WORDS), 15)
        packet = TCP(sport=header.sport, dport=header.dport, flags=header.tcp_flags, dataofs=words, window=0, chksum=0)
        return bytes(packet)[: None if words > _TCP_WORDS else _TCP_CUT]
    if header.proto == _UDP:
        size = _length(header.len_bytes - ip_bytes)
        return bytes(UDP(sport=header.sport, dport=header.dport, len=size, chksum=0))
    if header.proto in (_ICMP, _ICMP6):
        return struct.pack("!HHHH", header.dport, 0, header.sport, 0)  # `dport` is type and code, `sport` identifier
    return b""


def _seal(packet: bytearray) -> None:
    """Write the checksum of an IPv4 header of 20 bytes."""
    packet[10:12] = b"\0\0"
    total = sum(struct.unpack_from("!10H", packet))
    total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", packet, 10, ~(total + (total >> 16)) & 0xFFFF)
