"""Read the running kernel's type information (BTF).

Struct offsets, enum values and tracepoint ids come from here and never from
header files, which describe some other kernel.  The format is documented in
``Documentation/bpf/btf.rst`` of the Linux source.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from ..errors import NotTraceable

VMLINUX = Path("/sys/kernel/btf/vmlinux")

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF = range(1, 9)
VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC = range(9, 16)
FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(16, 20)

_MODIFIERS = {TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG}
_FIXED_TAIL = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}
_MEMBER_SIZE = {STRUCT: 12, UNION: 12, ENUM: 8, FUNC_PROTO: 8, DATASEC: 12, ENUM64: 12}


@dataclass(frozen=True)
class Field:
    """Where a struct's member lies.

    Attributes
    ----------
    offset_bytes : int
        Offset from the start of the outermost struct.
    size_bytes : int
        Size of the member's type.
    type_id : int
        BTF id of the member's type, modifiers included.
    """

    offset_bytes: int
    size_bytes: int
    type_id: int


class Btf:
    """Types of one kernel, indexed by kind and name.

    Parameters
    ----------
    raw : bytes
        The contents of a BTF file, native byte order.

    Raises
    ------
    NotTraceable
        The bytes are not BTF.
    """

    def __init__(self, raw: bytes):
        if len(raw) < 24 or struct.unpack_from("<H", raw)[0] != 0xEB9F:
            raise NotTraceable(
                "the kernel's type information cannot be read",
                why=f"{VMLINUX} does not start with the BTF magic number",
                fix="boot a kernel built with CONFIG_DEBUG_INFO_BTF=y",
            )
        self._raw = raw
        hdr_len, type_off, type_len, str_off, _ = struct.unpack_from("<IIIII", raw, 4)
        self._strings = hdr_len + str_off
        self._offsets, self._ids = self._index(hdr_len + type_off, type_len)

    def _index(self, start: int, length: int) -> tuple[list[int], dict[tuple[int, int], int]]:
        """Record the position of every type, and the first id of each (kind, name)."""
        raw, unpack = self._raw, struct.Struct("<III").unpack_from
        offsets, ids, at, end = [0], {}, start, start + length
        while at < end:
            name_off, info, _ = unpack(raw, at)
            kind = (info >> 24) & 0x1F
            if name_off:
                ids.setdefault((kind, name_off), len(offsets))
            offsets.append(at)
            members = (info & 0xFFFF) * _MEMBER_SIZE.get(kind, 0)
            at += 12 + _FIXED_TAIL.get(kind, 0) + members
        return offsets, ids

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the type information, the identity of this kernel build."""
        return hashlib.sha256(self._raw).hexdigest()

    @cached_property
    def _by_name(self) -> dict[tuple[int, str], int]:
        return {(kind, self._string(off)): i for (kind, off), i in reversed(self._ids.items())}

    def _string(self, offset: int) -> str:
        start = self._strings + offset
        return self._raw[start : self._raw.index(b"\0", start)].decode()

    def _head(self, type_id: int) -> tuple[str, int, int, int]:
        """Return (name, kind, vlen, size or referred type id) of a type."""
        name_off, info, size = struct.unpack_from("<III", self._raw, self._offsets[type_id])
        return self._string(name_off), (info >> 24) & 0x1F, info & 0xFFFF, size

    def id_of(self, kind: int, name: str) -> int | None:
        """Return the id of the first type of that kind and name, or None."""
        return self._by_name.get((kind, name))

    def resolve(self, type_id: int) -> int:
        """Follow typedefs and qualifiers to the underlying type's id."""
        while self._head(type_id)[1] in _MODIFIERS:
            type_id = self._head(type_id)[3]
        return type_id

    def size_of(self, type_id: int) -> int:
        """Return a type's size in bytes."""
        type_id = self.resolve(type_id)
        _, kind, _, size = self._head(type_id)
        if kind == PTR:
            return 8
        if kind == ARRAY:
            elem, _, count = struct.unpack_from("<III", self._raw, self._offsets[type_id] + 12)
            return count * self.size_of(elem)
        return size

    def pointee(self, type_id: int) -> str | None:
        """Return the struct name a pointer refers to, or None when it is no such pointer."""
        name, kind, _, target = self._head(self.resolve(type_id))
        if kind != PTR or not target:
            return None
        name, kind, _, _ = self._head(self.resolve(target))
        return name if kind == STRUCT else None

    def fields(self, struct_name: str) -> dict[str, Field]:
        """Return a struct's named members, those of anonymous members included.

        Parameters
        ----------
        struct_name : str
            For instance ``"sk_buff"``.

        Returns
        -------
        dict of str to Field
            Bit fields are left out: they have no byte offset.

        Raises
        ------
        NotTraceable
            The kernel has no such struct.
        """
        type_id = self.id_of(STRUCT, struct_name)
        if type_id is None:
            raise NotTraceable(
                f"this kernel has no struct {struct_name}",
                why="its type information does not name it",
                fix="use a kernel that has the network stack built in",
            )
        return self.fields_of(type_id)

    def fields_of(self, type_id: int) -> dict[str, Field]:
        """Return the members of the struct or union that `type_id` resolves to."""
        return dict(self._walk(self.resolve(type_id), 0))

    def _walk(self, type_id: int, base: int):
        vlen = self._head(type_id)[2]
        bitfields = self._info_flag(type_id)
        for name_off, member, offset in self._members(type_id, vlen, "<III"):
            if bitfields and offset >> 24:
                continue
            at = base + (offset & 0xFFFFFF if bitfields else offset) // 8
            if name_off:
                yield self._string(name_off), Field(at, self.size_of(member), member)
            else:
                yield from self._walk(self.resolve(member), at)

    def _info_flag(self, type_id: int) -> bool:
        return bool(struct.unpack_from("<I", self._raw, self._offsets[type_id] + 4)[0] >> 31)

    def _members(self, type_id: int, vlen: int, fmt: str):
        start = self._offsets[type_id] + 12
        return struct.iter_unpack(fmt, self._raw[start : start + vlen * struct.calcsize(fmt)])

    def enum(self, name: str) -> dict[int, str]:
        """Return an enum's names by value, empty when the kernel has no such enum."""
        type_id = self.id_of(ENUM, name)
        if type_id is None:
            return {}
        vlen = self._head(type_id)[2]
        return {value: self._string(off) for off, value in self._members(type_id, vlen, "<Ii")}

    def tracepoint(self, name: str) -> int | None:
        """Return the id that a typed raw tracepoint program is loaded with, or None."""
        return self.id_of(TYPEDEF, f"btf_trace_{name}")

    def arguments(self, tracepoint: str) -> list[str | None]:
        """Return the struct each argument of a tracepoint points to (None: a plain value)."""
        type_id = self.tracepoint(tracepoint)
        if type_id is None:
            return []
        pointer = self.resolve(type_id)
        proto = self.resolve(self._head(pointer)[3])
        params = list(self._members(proto, self._head(proto)[2], "<II"))
        return [self.pointee(member) if member else None for _, member in params[1:]]


@lru_cache(maxsize=1)
def vmlinux() -> Btf:
    """Return the running kernel's types.

    Raises
    ------
    NotTraceable
        The kernel exposes no BTF.
    """
    try:
        return Btf(VMLINUX.read_bytes())
    except OSError as error:
        raise NotTraceable(
            "this kernel has no type information (BTF)",
            why=f"{VMLINUX}: {error.strerror}",
            fix="boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian 11, Ubuntu 20.10 or newer have it)",
        ) from error
