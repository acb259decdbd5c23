"""Calls of bpf(2).

Layouts follow ``union bpf_attr`` in ``include/uapi/linux/bpf.h``; the kernel accepts a shorter attribute than its own
and takes the rest as zero.
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
    """Create a map.

    Parameters
    ----------
    kind : int
        ``BPF_MAP_TYPE_…``.
    key_bytes, value_bytes : int
        Sizes of a key and a value; both 0 for a ring buffer.
    entries : int
        Largest number of elements; of a ring buffer, its size in bytes.
    flags : int
        ``BPF_F_…``.
    inner_fd : int
        For a map of maps: the fd of a map like those that it will hold.
    name : str
        Shown by ``bpftool map``; cut to 15 characters.

    Returns
    -------
    int
        The map's fd.

    Raises
    ------
    OSError
        The kernel refuses.
    """
    attr = struct.pack(
        "<7I16s", kind, key_bytes, value_bytes, entries, flags, inner_fd, 0, name.encode()[:15].replace(b".", b"_")
    )
    return call(MAP_CREATE, attr)


def update(map_fd: int, key: bytes, value: bytes) -> None:
    """Set an element of a map.

    Parameters
    ----------
    map_fd : int
        The map.
    key, value : bytes
        Of the map's sizes.

    Raises
    ------
    OSError
        The kernel refuses.
    """
    k, v = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    call(MAP_UPDATE_ELEM, struct.pack("<IIQQQ", map_fd, 0, ctypes.addressof(k), ctypes.addressof(v), 0))


def delete(map_fd: int, key: bytes) -> None:
    """Remove an element of a map.

    Parameters
    ----------
    map_fd : int
        The map.
    key : bytes
        Of the map's size.

    Raises
    ------
    OSError
        There is no such element.
    """
    k = ctypes.create_string_buffer(key, len(key))
    call(MAP_DELETE_ELEM, struct.pack("<IIQQQ", map_fd, 0, ctypes.addressof(k), 0, 0))


def update_fd(map_fd: int, key: int, value_fd: int) -> None:
    """Put a map into an array of maps.

    Returns when all programs that were running have ended on every CPU (kernel/bpf/syscall.c,
    maybe_wait_bpf_programs).

    Parameters
    ----------
    map_fd : int
        The array.
    key : int
        Index.
    value_fd : int
        The map to put there.

    Raises
    ------
    OSError
        The kernel refuses.
    """
    update(map_fd, struct.pack("<I", key), struct.pack("<I", value_fd))


def lookup(map_fd: int, key: bytes, size_bytes: int) -> bytes:
    """Return an element of a map.

    Parameters
    ----------
    map_fd : int
        The map.
    key : bytes
        Of the map's size.
    size_bytes : int
        Size of a value; of a map with values per CPU, of the values of all CPUs.

    Returns
    -------
    bytes

    Raises
    ------
    OSError
        There is no such element.
    """
    k, v = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(size_bytes)
    call(MAP_LOOKUP_ELEM, struct.pack("<IIQQQ", map_fd, 0, ctypes.addressof(k), ctypes.addressof(v), 0))
    return v.raw


def read_all(map_fd: int, keys: np.ndarray, values: np.ndarray) -> int:
    """Copy all elements of a map into arrays, in one call.

    Parameters
    ----------
    map_fd : int
        The map.
    keys, values : numpy.ndarray, shape (entries,)
        Arrays to write to, of the map's dtypes and with room for as many elements as the map.

    Returns
    -------
    int
        Number of elements.

    Raises
    ------
    OSError
        The kernel refuses.
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
        if error.errno != errno.ENOENT:  # ENOENT: there are no more elements
            raise
    return struct.unpack_from("<I", attr, 32)[0]


def load_tracing(instructions: bytes, name: str, btf_id: int, attach_type: int = TRACE_RAW_TP, btf_fd: int = 0) -> int:
    """Load a program for a tracepoint or the entry of a function.

    Parameters
    ----------
    instructions : bytes
        eBPF instructions with the fds of maps filled in.
    name : str
        Shown by ``bpftool prog``; cut to 15 characters.
    btf_id : int
        Id of the tracepoint's ``btf_trace_*`` type, or of the function, in the kernel's BTF.
    attach_type : int
        `TRACE_RAW_TP` or `TRACE_FENTRY`.
    btf_fd : int
        fd of the type information that has `btf_id`: a module's (`module_btf`), or 0 for the kernel's.

    Returns
    -------
    int
        The program's fd.

    Raises
    ------
    OSError
        The kernel refuses. If its verifier does, the message has the last lines of its log.
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


def _load(
    instructions: bytes, name: str, btf_id: int, attach_type: int, btf_fd: int, log: ctypes.Array[ctypes.c_char] | None
) -> int:
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
    """Load a classifier of packets (``BPF_PROG_TYPE_SCHED_CLS``) and return its fd.

    Raises
    ------
    OSError
        The kernel refuses.
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
        No module of that name is loaded, or it has no type information.
    """
    attr, text = ctypes.create_string_buffer(12), ctypes.create_string_buffer(64)
    while True:
        call_with(BTF_GET_NEXT_ID, attr)  # the next id; ENOENT after the last one
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
    """Attach a program that `load_tracing` loaded; closing the returned fd detaches it."""
    return call(RAW_TRACEPOINT_OPEN, struct.pack("<QI4x", 0, prog_fd))


def enable_run_time_stats() -> int:
    """Count run time and runs of all programs as long as the returned fd is open.

    Raises
    ------
    OSError
        The kernel cannot count them.
    """
    return call(ENABLE_STATS, struct.pack("<I", 0))


def program_stats(prog_fd: int) -> tuple[int, int, int]:
    """Return what the kernel counts of a program (struct bpf_prog_info).

    Returns
    -------
    run_time_ns, run_cnt, recursion_misses : int
        The first two count only while `enable_run_time_stats` is in force.
    """
    info = ctypes.create_string_buffer(232)
    call(OBJ_GET_INFO_BY_FD, struct.pack("<IIQ", prog_fd, len(info), ctypes.addressof(info)))
    return struct.unpack_from("<QQQ", info, 192)
