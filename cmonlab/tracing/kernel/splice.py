"""Fill rules into compiled programs, without compiling again (``bpf/splice.h``).

The problem: rules change while packets pass. A change should take milliseconds, and code that no active rule needs
should cost a packet nothing.

Why the obvious approaches fail: compiling the C code for each rule set starts a compiler, which takes long and needs
much memory. Reading the rules from a map in the programs takes a lookup and several branches per packet and rule; the
verifier cannot remove any code, because it does not know what is in the map; and a rule's filter is code, which no map
can hold.

The approach: the code is compiled once, with placeholders. They are replaced in the compiled instructions.

1. A constant is compiled to a 64-bit load (``BPF_LD_IMM64``), which consists of two instructions of 8 bytes. Its upper
   half is ``CONSTANT_MARK``, its lower half the constant's number. Names and numbers are read from ``splice.h``.
2. `splice` finds these loads by the mark and replaces both halves by the constant's value.
3. The constant ``STATE_ADDRESS`` becomes the address of the only element of a map: the load gets the map's file
   descriptor and the flag ``BPF_PSEUDO_MAP_VALUE``. So programs read the map without a lookup.
4. The filters of all rules of a point are translated to one function (`cmonlab.filters.translate.match_program`),
   which is appended to the program. The C code calls it as a helper with the number ``SPLICE_MATCH``, which the kernel
   does not have; these calls become calls of a subprogram (``BPF_PSEUDO_CALL``) at the distance to the appended code.
5. Calls of the number ``SPLICE_READABLE`` become calls of the kernel function ``bpf_rdonly_cast``
   (``BPF_PSEUDO_KFUNC_CALL``), whose id differs between kernels.
6. The result is loaded once per point. The verifier knows the constants, follows branches on them, and removes what
   cannot be reached.

Instruction formats are those of ``Documentation/bpf/standardization/instruction-set.rst`` and
``include/uapi/linux/bpf.h`` of the Linux source.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .defines import defines, splice_constants

_INSTRUCTION = np.dtype([("code", "u1"), ("registers", "u1"), ("offset", "<i2"), ("immediate", "<i4")])
_CALL, _LOAD_64 = 0x85, 0x18
_SUBPROGRAM, _KERNEL_FUNCTION = 1 << 4, 2 << 4  # source register of a call: BPF_PSEUDO_CALL, BPF_PSEUDO_KFUNC_CALL
_MAP_VALUE = 2 << 4  # source register of a 64-bit load: BPF_PSEUDO_MAP_VALUE
_DEFINED = defines("splice.h")
_MARK, _MATCH, _READABLE = (_DEFINED[name] for name in ("CONSTANT_MARK", "SPLICE_MATCH", "SPLICE_READABLE"))
_ADDRESS = "STATE_ADDRESS"


def splice(program: bytes, constants: Mapping[str, int], match: bytes = b"", readable_id: int = 0) -> bytes:
    """Return a program that can be loaded.

    Parameters
    ----------
    program : bytes
        Compiled instructions, 8 bytes each.
    constants : mapping of str to int
        Values (64 bits, unsigned) by the constants' names in ``splice.h``. All that the program uses must be there.
        The value of ``STATE_ADDRESS`` is the fd of the map.
    match : bytes
        The function that `cmonlab.filters.translate.match_program` returns; appended where the program calls it.
    readable_id : int
        BTF id of the kernel function ``bpf_rdonly_cast``; 0 if the program does not call it.

    Returns
    -------
    bytes
        Instructions, 8 bytes each.

    Raises
    ------
    KeyError
        The program uses a constant that has no value, or a name is not in ``splice.h``.
    """
    numbers = splice_constants()
    values = {numbers[name]: value for name, value in constants.items()}
    code = np.frombuffer(program, _INSTRUCTION).copy()
    for at in np.flatnonzero((code["code"] == _LOAD_64) & (np.roll(code["immediate"], -1) == _MARK)):
        number = int(code["immediate"][at])
        value = values[number]
        halves = np.array([value & 0xFFFFFFFF, value >> 32], np.uint32).view(np.int32)
        code["immediate"][at], code["immediate"][at + 1] = halves
        if number == numbers[_ADDRESS]:
            code["registers"][at] |= _MAP_VALUE
    calls = np.flatnonzero((code["code"] == _CALL) & (code["immediate"] == _MATCH))
    code["registers"][calls] = _SUBPROGRAM
    code["immediate"][calls] = len(code) - calls - 1
    casts = np.flatnonzero((code["code"] == _CALL) & (code["immediate"] == _READABLE))
    code["registers"][casts] = _KERNEL_FUNCTION
    code["immediate"][casts] = readable_id
    return code.tobytes() + (match if len(calls) else b"")
