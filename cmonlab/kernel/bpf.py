"""The bpf(2) calls that bcc has no function for.

Layouts follow ``union bpf_attr`` in ``include/uapi/linux/bpf.h``; the kernel
accepts a shorter attribute than its own and takes the rest as zero.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

MAP_CREATE, MAP_UPDATE_ELEM, PROG_LOAD, PROG_TEST_RUN = 0, 2, 5, 10
OBJ_GET_INFO_BY_FD, RAW_TRACEPOINT_OPEN, ENABLE_STATS = 15, 17, 32

MAP_TYPE_RINGBUF = 27
PROG_TYPE_TRACING = 26
TRACE_RAW_TP = 23

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_libc = ctypes.CDLL(None, use_errno=True)


def call(command: int, attr: bytes) -> int:
    """Call bpf(2) and return its result.

    Raises
    ------
    OSError
        With the kernel's errno.
    """
    buffer = ctypes.create_string_buffer(attr, len(attr))
    number = _SYSCALL[platform.machine()]
    result = _libc.syscall(number, command, buffer, len(attr))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def create_ringbuf(size_bytes: int) -> int:
    """Create a ring buffer map and return its fd; the size is a power of two of at least a page."""
    return call(MAP_CREATE, struct.pack("<5I", MAP_TYPE_RINGBUF, 0, 0, size_bytes, 0))


def update_fd(map_fd: int, key: int, value_fd: int) -> None:
    """Put a map into an array of maps."""
    k, v = (ctypes.c_uint32(n) for n in (key, value_fd))
    call(MAP_UPDATE_ELEM, struct.pack("<IIQQQ", map_fd, 0, ctypes.addressof(k), ctypes.addressof(v), 0))


def load_tracing(instructions: bytes, name: str, btf_id: int, attach_type: int = TRACE_RAW_TP) -> int:
    """Load a typed raw tracepoint program and return its fd.

    Parameters
    ----------
    instructions : bytes
        eBPF instructions, map fds filled in.
    name : str
        Shown by ``bpftool prog``; cut to 15 characters.
    btf_id : int
        Id of the tracepoint's ``btf_trace_*`` type in the kernel's BTF.

    Raises
    ------
    OSError
        The kernel's errno; for a program the verifier refuses, its log's end is
        in the message.
    """
    try:
        return _load(instructions, name, btf_id, attach_type, None)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL):
            raise
    log = ctypes.create_string_buffer(1 << 22)
    try:
        return _load(instructions, name, btf_id, attach_type, log)
    except OSError as error:
        tail = log.value.decode(errors="replace").strip().splitlines()[-12:]
        raise OSError(error.errno, f"{os.strerror(error.errno)}; the verifier says:\n" + "\n".join(tail)) from None


def _load(instructions: bytes, name: str, btf_id: int, attach_type: int, log) -> int:
    code, licence = ctypes.create_string_buffer(instructions), ctypes.create_string_buffer(b"Dual BSD/GPL")
    attr = struct.pack(
        "<IIQQIIQII16sIIIIQIIQII",
        PROG_TYPE_TRACING, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(licence),
        1 if log else 0, len(log) if log else 0, ctypes.addressof(log) if log else 0,
        0, 0, name.encode()[:15], 0, attach_type,
        0, 0, 0, 0, 0, 0, 0, btf_id,
    )  # fmt: skip
    return call(PROG_LOAD, attr)


def attach_tracing(prog_fd: int) -> int:
    """Attach a typed raw tracepoint program; the returned fd holds the link."""
    return call(RAW_TRACEPOINT_OPEN, struct.pack("<QI4x", 0, prog_fd))


def enable_run_time_stats() -> int:
    """Count run time and runs of all programs while the returned fd is open."""
    return call(ENABLE_STATS, struct.pack("<I", 0))


def program_stats(prog_fd: int) -> tuple[int, int, int]:
    """Return (run_time_ns, run_cnt, recursion_misses) of a program (struct bpf_prog_info)."""
    info = ctypes.create_string_buffer(232)
    call(OBJ_GET_INFO_BY_FD, struct.pack("<IIQ", prog_fd, len(info), ctypes.addressof(info)))
    return struct.unpack_from("<QQQ", info, 192)
