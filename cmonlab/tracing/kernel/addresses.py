"""Addresses as the programs know them: 32 bits, IPv6 folded (``bpf/packet.h``)."""

from __future__ import annotations

import struct
from ipaddress import ip_address

_M64 = (1 << 64) - 1


def mix(a: int, b: int) -> int:
    """Return the hash of two 32-bit words."""
    m = (a ^ 0x9E3779B97F4A7C15) * 0xFF51AFD7ED558CCD & _M64
    m ^= m >> 32
    m = (m ^ b) * 0xC4CEB9FE1A85EC53 & _M64
    return (m ^ m >> 32) & 0xFFFFFFFF


def address_key(address: str) -> int:
    """Return the key of an IP address in records and maps.

    Parameters
    ----------
    address : str
        IPv4 or IPv6, without prefix length.

    Raises
    ------
    ValueError
        It is no address.
    """
    packed = ip_address(address).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return words[0] if len(words) == 1 else mix(mix(*words[:2]), mix(*words[2:]))
