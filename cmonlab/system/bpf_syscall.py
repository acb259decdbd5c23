"""The system call bpf(2), for which the C library has no function."""

from __future__ import annotations

import ctypes
import os
import platform

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_libc = ctypes.CDLL(None, use_errno=True)


def call(command: int, attr: bytes) -> int:
    """Call bpf(2).

    Parameters
    ----------
    command : int
        ``enum bpf_cmd``.
    attr : bytes
        ``union bpf_attr``, or its first bytes.

    Returns
    -------
    int
        Result of the call: a file descriptor or 0.

    Raises
    ------
    OSError
        The call failed; with the kernel's errno.
    """
    return call_with(command, ctypes.create_string_buffer(attr, len(attr)))


def call_with(command: int, buffer: ctypes.Array) -> int:
    """Call bpf(2) with a buffer that the kernel may write to.

    Parameters
    ----------
    command : int
        ``enum bpf_cmd``.
    buffer : ctypes array
        ``union bpf_attr``, or its first bytes; holds the results afterwards.

    Returns
    -------
    int
        Result of the call: a file descriptor or 0.

    Raises
    ------
    OSError
        The call failed; with the kernel's errno.
    """
    number = _SYSCALL[platform.machine()]
    result = _libc.syscall(number, command, buffer, len(buffer))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
