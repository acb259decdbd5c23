"""bpf(2), which the C library has no function for."""

from __future__ import annotations

import ctypes
import os
import platform

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_libc = ctypes.CDLL(None, use_errno=True)


def call(command: int, attr: bytes) -> int:
    """Call bpf(2) and return its result.

    Raises
    ------
    OSError
        With the kernel's errno.
    """
    return call_with(command, ctypes.create_string_buffer(attr, len(attr)))


def call_with(command: int, buffer: ctypes.Array) -> int:
    """Call bpf(2) with a buffer that the kernel may write to; see `call`."""
    number = _SYSCALL[platform.machine()]
    result = _libc.syscall(number, command, buffer, len(buffer))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
