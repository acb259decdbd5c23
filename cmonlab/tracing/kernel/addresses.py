"""Addresses as the programs have them: 32 bits, IPv6 addresses hashed (``bpf/packet.h``)."""

from __future__ import annotations

import struct
from ipaddress import ip_address

_M64 = (1 << 64) - 1


def mix(a: int, b: int) -> int:
    """Return the hash of two 32-bit words, as ``mix()`` of ``bpf/packet.h``.

    Parameters
    ----------
    a, b : int
        0 to 2**32 - 1.

    Returns
    -------
    int
        0 to 2**32 - 1.
    """
    m = (a ^ 0x9E3779B97F4A7C15) * 0xFF51AFD7ED558CCD & _M64
    m ^= m >> 32
    m = (m ^ b) * 0xC4CEB9FE1A85EC53 & _M64
    return (m ^ m >> 32) & 0xFFFFFFFF


def address_key(address: str) -> int:
    """Return the number that represents an IP address in records and maps.

    Parameters
    ----------
    address : str
        IPv4 or IPv6, without prefix length.

    Returns
    -------
    int
        IPv4: the address as on the wire, read as a 32-bit number in host order. IPv6: a 32-bit hash.

    Raises
    ------
    ValueError
        `address` is not an IP address.
    """
    packed = ip_address(address).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return words[0] if len(words) == 1 else mix(mix(*words[:2]), mix(*words[2:]))
