"""Each container in the host's namespace connects from its own loopback address.

The kernel gives every connection over loopback the source 127.0.0.1, and few programs let users choose another one. So
an eBPF program on the container's cgroup binds a socket to the container's address when it connects. It runs once per
connection, not per packet, and the kernel removes it when the process that holds it ends.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from ipaddress import IPv4Address
from pathlib import Path

from cmonlab.errors import DockerError
from cmonlab.system.bpf_syscall import call

from ..docker.running import Running

_PROG_LOAD, _LINK_CREATE = 5, 28
_CGROUP_SOCK_ADDR, _INET4_CONNECT = 18, 10
_BIND = 64
_SOCKADDR_BYTES = 16
_LITTLE = sys.byteorder == "little"


def bind_connections(machine: Running, address: str) -> int:
    """Bind a container's connections over loopback to an address.

    Parameters
    ----------
    machine : Running
        The container.
    address : str
        IPv4 address in 127.0.0.0/8.

    Returns
    -------
    int
        A file descriptor; closing it ends the binding.

    Raises
    ------
    DockerError
        The kernel refused, or has no cgroup of version 2 for the container.
    """
    what = f"container {machine.name} cannot be given its own loopback address"
    try:
        cgroup = os.open(_cgroup(machine.pid), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            program = _load(_instructions(address))
            try:
                return call(_LINK_CREATE, struct.pack("=IIII", program, cgroup, _INET4_CONNECT, 0))
            finally:
                os.close(program)
        finally:
            os.close(cgroup)
    except OSError as error:
        raise DockerError(what, why=str(error), fix="run as root (sudo), where cgroup version 2 is mounted") from error


def _cgroup(pid: int) -> Path:
    """Return the directory of a process's cgroup (version 2).

    Raises
    ------
    FileNotFoundError
        It is in the root cgroup only.
    """
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    root = next((words[1] for words in mounts if words[2] == "cgroup2"), "")
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    path = next((line[3:] for line in lines if line.startswith("0::")), "/")
    if not root or path == "/":  # the root cgroup contains all processes
        raise FileNotFoundError(2, "the container is in no cgroup of version 2")
    return Path(root + path)


def _instructions(address: str) -> bytes:
    """Return the program: if the destination is on loopback, bind the socket to the address."""
    (number,) = struct.unpack("=I", IPv4Address(address).packed)
    first_byte = _insn(0x57, 2, imm=0xFF) if _LITTLE else _insn(0x77, 2, imm=24)  # and, or shift right
    return b"".join([
        _insn(0x61, 2, 1, 4),  # r2 = ctx->user_ip4
        first_byte,
        _insn(0x55, 2, 0, 7, 127),  # if r2 != 127 goto the last two
        _insn(0x62, 10, 0, -16, socket.AF_INET if _LITTLE else socket.AF_INET << 16),  # port 0: the kernel's choice
        _insn(0x62, 10, 0, -12, number - (number >> 31 << 32)),
        _insn(0x7A, 10, 0, -8, 0),
        _insn(0xBF, 2, 10) + _insn(0x07, 2, imm=-16),  # r2 = address of it
        _insn(0xB7, 3, imm=_SOCKADDR_BYTES),
        _insn(0x85, imm=_BIND),  # fails if the application has bound the socket itself, which is fine
        _insn(0xB7, 0, imm=1),  # r0 = 1: connect
        _insn(0x95),
    ])  # fmt: skip


def _insn(code: int, to: int = 0, source: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    registers = source << 4 | to if _LITTLE else to << 4 | source
    return struct.pack("=BBhi", code, registers, offset, imm)


def _load(instructions: bytes) -> int:
    code, licence = ctypes.create_string_buffer(instructions), ctypes.create_string_buffer(b"Dual BSD/GPL")
    head = _CGROUP_SOCK_ADDR, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(licence)
    name = b"cmonlab_source"
    return call(_PROG_LOAD, struct.pack("=IIQQIIQII16sII", *head, 0, 0, 0, 0, 0, name, 0, _INET4_CONNECT))
