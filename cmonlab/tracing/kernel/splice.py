"""Fill the rules into compiled programs (``bpf/splice.h``).

The C code is compiled once.  What a set of rules changes in it are constants, which
the verifier follows so that unused code costs nothing, and the filters, which become
a subprogram of each program.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_INSTRUCTION = np.dtype([("code", "u1"), ("registers", "u1"), ("offset", "<i2"), ("immediate", "<i4")])
_CALL, _LOAD_64, _EXIT = 0x85, 0x18, 0x95
_SUBPROGRAM, _KERNEL_FUNCTION = 1 << 4, 2 << 4  # source registers of a call
_MAP_VALUE = 2 << 4  # of a 64-bit load
_MATCH, _READABLE = 0x7F000001, 0x7F000002
_MARK = 0x636D6F6E

#: Constants by their number.
(
    EPOCH,
    RULES_ON,
    CAPTURE,
    AGGREGATE,
    SELECTED,
    OUTGOING,
    INCOMING,
    POINT_ID,
    PACKET_ARGUMENT,
    TELL_TURNS,
    RULES_END,
    PACKET_PLACE,
    SAMPLED,
    LIMITED,
    BY_FLOW,
    STATE,
    SLOTS,
) = range(17)


def splice(program: bytes, constants: Mapping[int, int], match: bytes = b"", readable_id: int = 0) -> bytes:
    """Return a program that can be loaded.

    Parameters
    ----------
    program : bytes
        Compiled instructions.
    constants : mapping of int to int
        Values by constant; those that the program names must be there. That of `STATE`
        is the fd of the map.
    match : bytes
        Subprogram from `translate.match_program`.
    readable_id : int
        BTF id of the kernel function ``bpf_rdonly_cast``; 0 where it is not used.
    """
    code = np.frombuffer(program, _INSTRUCTION).copy()
    for at in np.flatnonzero((code["code"] == _LOAD_64) & (np.roll(code["immediate"], -1) == _MARK)):
        number = int(code["immediate"][at])
        value = constants[number]
        halves = np.array([value & 0xFFFFFFFF, value >> 32], np.uint32).view(np.int32)
        code["immediate"][at], code["immediate"][at + 1] = halves
        if number == STATE:
            code["registers"][at] |= _MAP_VALUE
    calls = np.flatnonzero((code["code"] == _CALL) & (code["immediate"] == _MATCH))
    code["registers"][calls] = _SUBPROGRAM
    code["immediate"][calls] = len(code) - calls - 1
    casts = np.flatnonzero((code["code"] == _CALL) & (code["immediate"] == _READABLE))
    code["registers"][casts] = _KERNEL_FUNCTION
    code["immediate"][casts] = readable_id
    return code.tobytes() + (match if len(calls) else b"")
