"""The bpf(2) calls that bcc has no function for.

Layouts follow ``union bpf_attr`` in ``include/uapi/linux/bpf.h``; the kernel
accepts a shorter attribute than its own and takes the rest as zero.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

import numpy as np

from cmonlab.system.bpf_syscall import call, call_with

MAP_CREATE, MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM, MAP_DELETE_ELEM, PROG_LOAD, PROG_TEST_RUN = 0, 1, 2, 3, 5, 10
OBJ_GET_INFO_BY_FD, RAW_TRACEPOINT_OPEN = 15, 17
BTF_GET_FD_BY_ID, BTF_GET_NEXT_ID = 19, 23
MAP_LOOKUP_BATCH, ENABLE_STATS = 24, 32

MAP_TYPE_ARRAY, MAP_TYPE_RINGBUF = 2, 27
MAPS_OF_MAPS = (12, 13)  # BPF_MAP_TYPE_ARRAY_OF_MAPS, _HASH_OF_MAPS
PER_CPU_MAPS = (5, 6, 10)  # BPF_MAP_TYPE_PERCPU_HASH, _PERCPU_ARRAY, _LRU_PERCPU_HASH
PROG_TYPE_SCHED_CLS, PROG_TYPE_TRACING = 3, 26
TRACE_RAW_TP, TRACE_FENTRY = 23, 24


def create_map(
    kind: int, key_bytes: int, value_bytes: int, entries: int, flags: int = 0, inner_fd: int = 0, name: str = ""
) -> int:
    """Create a map and return its fd; of a ring buffer, `entries` is its size in bytes."""
    attr = struct.pack(
        "<7I16s", kind, key_bytes, value_bytes, entries, flags, inner_fd, 0, name.encode()[:15].replace(b".", b"_")
    )
    return call(MAP_CREATE, attr)


def update(map_fd: int, key: bytes, value: bytes) -> None:
    """Set an element of a map."""
    k, v = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    call(MAP_UPDATE_ELEM, struct.pack("<IIQQQ", map_fd, 0, ctypes.addressof(k), ctypes.addressof(v), 0))


def delete(map_fd: int, key: bytes) -> None:
    """Remove an element of a map."""
    k = ctypes.create_string_buffer(key, len(key))
    call(MAP_DELETE_ELEM, struct.pack("<IIQQQ", map_fd, 0, ctypes.addressof(k), 0, 0))


def update_fd(map_fd: int, key: int, value_fd: int) -> None:
    """Put a map into an array of maps.

    Returns once programs that ran before have ended on every processor
    (kernel/bpf/syscall.c, maybe_wait_bpf_programs).
    """
    update(map_fd, struct.pack("<I", key), struct.pack("<I", value_fd))


def lookup(map_fd: int, key: bytes, size_bytes: int) -> bytes:
    """Return an element of a map; `size_bytes` is that of its value, of all CPUs where each has one."""
    k, v = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(size_bytes)
    call(MAP_LOOKUP_ELEM, struct.pack("<IIQQQ", map_fd, 0, ctypes.addressof(k), ctypes.addressof(v), 0))
    return v.raw


def read_all(map_fd: int, keys: np.ndarray, values: np.ndarray) -> int:
    """Copy every element of a map into arrays, in one call, and return their number.

    Parameters
    ----------
    keys, values : numpy.ndarray
        Of the map's layouts, with room for as many elements as the map.
    """
    attr = ctypes.create_string_buffer(56)
    position = ctypes.create_string_buffer(8)
    struct.pack_into(
        "<QQQQIIQQ",
        attr,
        0,
        0,
        ctypes.addressof(position),
        keys.ctypes.data,
        values.ctypes.data,
        len(keys),
        map_fd,
        0,
        0,
    )
    try:
        call_with(MAP_LOOKUP_BATCH, attr)
    except OSError as error:
        if error.errno != errno.ENOENT:  # which tells that this was the end
            raise
    return struct.unpack_from("<I", attr, 32)[0]


def load_tracing(instructions: bytes, name: str, btf_id: int, attach_type: int = TRACE_RAW_TP, btf_fd: int = 0) -> int:
    """Load a program of a tracepoint or a function's entry and return its fd.

    Parameters
    ----------
    instructions : bytes
        eBPF instructions, map fds filled in.
    name : str
        Shown by ``bpftool prog``; cut to 15 characters.
    btf_id : int
        Id of the tracepoint's ``btf_trace_*`` type, or of the function, in the kernel's BTF.
    attach_type : int
        `TRACE_RAW_TP` or `TRACE_FENTRY`.
    btf_fd : int
        Of the type information that `btf_id` is in: a module's (`module_btf`), 0 for the kernel's.

    Raises
    ------
    OSError
        The kernel's errno; for a program the verifier refuses, its log's end is
        in the message.
    """
    try:
        return _load(instructions, name, btf_id, attach_type, btf_fd, None)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EINVAL):
            raise
    log = ctypes.create_string_buffer(1 << 22)
    try:
        return _load(instructions, name, btf_id, attach_type, btf_fd, log)
    except OSError as error:
        tail = log.value.decode(errors="replace").strip().splitlines()[-12:]
        raise OSError(error.errno, f"{os.strerror(error.errno)}; the verifier says:\n" + "\n".join(tail)) from None


def _load(instructions: bytes, name: str, btf_id: int, attach_type: int, btf_fd: int, log) -> int:
    code, licence = ctypes.create_string_buffer(instructions), ctypes.create_string_buffer(b"Dual BSD/GPL")
    attr = struct.pack(
        "<IIQQIIQII16sIIIIQIIQIII4x",
        PROG_TYPE_TRACING,
        len(instructions) // 8,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        1 if log else 0,
        len(log) if log else 0,
        ctypes.addressof(log) if log else 0,
        0,
        0,
        name.encode()[:15],
        0,
        attach_type,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        btf_id,
        btf_fd,
    )
    return call(PROG_LOAD, attr)


def load_classifier(instructions: bytes) -> int:
    """Load a program of a queueing discipline's filter (tc) and return its fd.

    Raises
    ------
    OSError
        With the kernel's errno.
    """
    code, licence = ctypes.create_string_buffer(instructions), ctypes.create_string_buffer(b"Dual BSD/GPL")
    attr = struct.pack(
        "<IIQQ", PROG_TYPE_SCHED_CLS, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(licence)
    )
    return call(PROG_LOAD, attr)


def module_btf(name: str) -> int:
    """Return an fd of a loaded module's type information.

    Raises
    ------
    OSError
        There is none of that name.
    """
    attr, text = ctypes.create_string_buffer(12), ctypes.create_string_buffer(64)
    while True:
        call_with(BTF_GET_NEXT_ID, attr)  # from one id to the next; ENOENT behind the last one
        number = struct.unpack_from("<I", attr, 4)[0]
        try:
            handle = call(BTF_GET_FD_BY_ID, struct.pack("<III", number, 0, 0))
        except FileNotFoundError:  # unloaded in between
            struct.pack_into("<I", attr, 0, number)
            continue
        # struct bpf_btf_info: btf, btf_size, id, name, name_len, kernel_btf
        info = ctypes.create_string_buffer(struct.pack("<QIIQII", 0, 0, 0, ctypes.addressof(text), len(text), 0), 32)
        call(OBJ_GET_INFO_BY_FD, struct.pack("<IIQ", handle, len(info), ctypes.addressof(info)))
        if struct.unpack_from("<I", info, 28)[0] and text.value.decode() == name:
            return handle
        os.close(handle)
        struct.pack_into("<I", attr, 0, number)


def attach_tracing(prog_fd: int) -> int:
    """Attach such a program; the returned fd holds the link."""
    return call(RAW_TRACEPOINT_OPEN, struct.pack("<QI4x", 0, prog_fd))


def enable_run_time_stats() -> int:
    """Count run time and runs of all programs while the returned fd is open."""
    return call(ENABLE_STATS, struct.pack("<I", 0))


def program_stats(prog_fd: int) -> tuple[int, int, int]:
    """Return (run_time_ns, run_cnt, recursion_misses) of a program (struct bpf_prog_info)."""
    info = ctypes.create_string_buffer(232)
    call(OBJ_GET_INFO_BY_FD, struct.pack("<IIQ", prog_fd, len(info), ctypes.addressof(info)))
    return struct.unpack_from("<QQQ", info, 192)
