"""Compilation of pcap expressions to classic BPF by libpcap."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from functools import lru_cache

from cmonlab.errors import NotTraceable

from .cbpf import Instruction
from .pcapwords import EXAMPLE, refused, screen

__all__ = ["MAX_CHARACTERS", "MAX_INSTRUCTIONS", "Instruction", "compile_expression", "disassemble"]

MAX_CHARACTERS = 2000
MAX_INSTRUCTIONS = 256

_DLT_RAW = 12  # packets begin with their IP header
_SNAPLEN_BYTES = 65535
_NETMASK_UNKNOWN = 0xFFFFFFFF
# Of Debian and Ubuntu; of other distributions; of development packages.
_SONAMES = ("libpcap.so.0.8", "libpcap.so.1", "libpcap.so")
_PARSER_LOCK = threading.Lock()  # before 1.8, libpcap's parser kept its state in global variables


class _Insn(ctypes.Structure):
    """``struct bpf_insn``."""

    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    """``struct bpf_program``."""

    _fields_ = (("bf_len", ctypes.c_uint), ("bf_insns", ctypes.POINTER(_Insn)))


def compile_expression(expression: str) -> list[Instruction]:
    """Compile a pcap expression, as tcpdump takes it, into classic BPF.

    Parameters
    ----------
    expression : str
        Expression in the language of pcap-filter(7). It is applied to a packet from its IP header on; the empty
        string matches every IP packet. Addresses are numeric: names are never looked up over the network (see
        :mod:`cmonlab.filters.pcapwords`).

    Returns
    -------
    list of Instruction
        At most `MAX_INSTRUCTIONS`, optimised by libpcap.

    Raises
    ------
    RuleError
        The expression does not parse, is too long, contains the name of a host or network, or is not about IP
        packets (``vlan``, ``ether``, ``inbound``).
    NotTraceable
        libpcap is not installed.

    Notes
    -----
    Source: libpcap's pcap_compile(3PCAP) for link type DLT_RAW, and the instruction set in the kernel's
    Documentation/networking/filter.rst.
    """
    if len(expression) > MAX_CHARACTERS:
        why = f"it has {len(expression)} characters of at most {MAX_CHARACTERS}"
        raise refused(expression, why, "use networks and port ranges instead of lists")
    text = screen(expression)
    instructions = _compiled(text, expression)
    if len(instructions) > MAX_INSTRUCTIONS:
        why = f"it compiles into {len(instructions)} instructions of at most {MAX_INSTRUCTIONS}"
        raise refused(expression, why, "use networks and port ranges instead of lists")
    return instructions


def _compiled(text: str, expression: str) -> list[Instruction]:
    """Run libpcap's compiler on the checked `text`; errors quote the `expression`."""
    library = _libpcap()
    with _PARSER_LOCK:
        handle = library.pcap_open_dead(_DLT_RAW, _SNAPLEN_BYTES)
        if not handle:
            raise MemoryError("pcap_open_dead")
        program = _Program()
        try:
            if library.pcap_compile(handle, ctypes.byref(program), text.encode("ascii"), 1, _NETMASK_UNKNOWN) < 0:
                message = library.pcap_geterr(handle).decode("utf-8", "replace")
                raise refused(expression, f"libpcap says: {message}", f"see `man pcap-filter`; {EXAMPLE}")
            return [Instruction(insn.code, insn.jt, insn.jf, insn.k) for insn in program.bf_insns[: program.bf_len]]
        finally:
            library.pcap_freecode(ctypes.byref(program))
            library.pcap_close(handle)


def disassemble(program: Sequence[Instruction]) -> tuple[str, ...]:
    """Return a program as ``tcpdump -d`` prints it, one line per instruction; printed by libpcap's ``bpf_image()``."""
    image = _libpcap().bpf_image
    image.restype, image.argtypes = ctypes.c_char_p, [ctypes.POINTER(_Insn), ctypes.c_int]
    lines = []
    for at, one in enumerate(program):
        insn = _Insn(one.code, one.jt, one.jf, one.k)
        lines.append(image(ctypes.byref(insn), at).decode("ascii", "replace").rstrip())
    return tuple(lines)


@lru_cache(maxsize=1)
def _libpcap() -> ctypes.CDLL:
    library, tried = None, []
    for name in _SONAMES:
        try:
            library = ctypes.CDLL(name)
            break
        except OSError as error:
            tried.append(str(error))
    if library is None:
        raise NotTraceable(
            "rules cannot be compiled: libpcap is missing",
            why="; ".join(tried),
            fix="apt install libpcap0.8 (libpcap0.8t64 on Debian 13, Ubuntu 24.04 and later)",
        )
    program, handle = ctypes.POINTER(_Program), ctypes.c_void_p
    library.pcap_open_dead.restype, library.pcap_open_dead.argtypes = handle, [ctypes.c_int, ctypes.c_int]
    library.pcap_compile.argtypes = [handle, program, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint32]
    library.pcap_geterr.restype, library.pcap_geterr.argtypes = ctypes.c_char_p, [handle]
    library.pcap_freecode.restype, library.pcap_freecode.argtypes = None, [program]
    library.pcap_close.restype, library.pcap_close.argtypes = None, [handle]
    return library
