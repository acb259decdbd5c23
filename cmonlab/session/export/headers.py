"""The headers of recorded packets, made again by scapy from the columns of their events.

What was recorded of a packet is what its header says of addresses, ports, flags, sequence and lengths. The rest is
not known: TCP's acknowledgement number and window are 0, the time to live is 64. So a TCP header ends before its
options, one that has none before its checksum: Wireshark shows a packet that is cut off there, and draws no
conclusion (zero window, acknowledged unseen) from what is not known; scapy shows those without options as bytes.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

from cmonlab.data.analysis.names import Names

_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58
_TCP_WORDS, _TCP_CUT = 5, 16  # words of TCP's header before options, bytes of it before the checksum
_IPV6, _FRAGMENT, _WORDS_SHIFT = 0x01, 0x04, 3  # bits of the column `shape`
_UNSPECIFIED = "::"  # an IPv6 address whose key is not in the address table


class Header(NamedTuple):
    """What an event tells of its packet's header: columns of the events table."""

    saddr: int
    daddr: int
    sport: int
    dport: int
    proto: int
    tcp_flags: int
    len_bytes: int
    shape: int


class Headers:
    """Builds packets' headers.

    Parameters
    ----------
    names : Names
        Of the recording: it knows IPv6 addresses by their keys.
    """

    def __init__(self, names: Names):
        self._names = names
        # scapy takes half a millisecond a packet; but for sequence and identification, packets of a flow look alike.
        self._alike = lru_cache(maxsize=1 << 16)(self._build)

    def of(self, header: Header, seq: int, ident: int) -> bytes:
        """Return the header of a packet as on the wire, as far as it was recorded.

        Parameters
        ----------
        header : Header
        seq, ident : int
            Sequence and IPv4 identification, as in the events table.
        """
        if header.shape & _FRAGMENT:  # `seq` is its offset, part of the IP header
            return self._build(header, seq, ident)
        packet = bytearray(self._alike(header))
        ipv6 = header.shape & _IPV6
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

        size, later = header.len_bytes, bool(header.shape & _FRAGMENT)
        if header.shape & _IPV6:
            src, dst = self._address6(header.saddr), self._address6(header.daddr)
            packet = IPv6(src=src, dst=dst, nh=44 if later else header.proto, plen=_length(size - 40))
            if later:
                return bytes(packet / IPv6ExtHdrFragment(nh=header.proto, offset=offset))
            return bytes(packet) + _transport(header, 40)
        src, dst = self._names.address(header.saddr, False), self._names.address(header.daddr, False)
        packet = IP(src=src, dst=dst, proto=header.proto, len=_length(size), id=ident, frag=offset)
        return bytes(packet) + (b"" if later else _transport(header, 20))

    def _address6(self, key: int) -> str:
        return self._names.address(key, True) if key in self._names.addresses6 else _UNSPECIFIED


def _length(size: int) -> int:
    """Return a length for 16 bits; larger packets (BIG TCP) carry 0 there."""
    return size if 0 <= size < 1 << 16 else 0


def _transport(header: Header, ip_bytes: int) -> bytes:
    """Return the transport header as far as it was recorded."""
    from scapy.layers.inet import TCP, UDP

    if header.proto == _TCP:
        words = min(max((header.shape >> _WORDS_SHIFT) - ip_bytes // 4, _TCP_WORDS), 15)
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
