"""Read the running kernel's type information (BTF).

Offsets of struct members, enum values and ids of tracepoints come from here and never from header files, which may
describe another kernel. The format is documented in ``Documentation/bpf/btf.rst`` of the Linux source.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from cmonlab.errors import NotTraceable

VMLINUX = Path("/sys/kernel/btf/vmlinux")  # next to it: one file per loaded module

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF = range(1, 9)
VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC = range(9, 16)
FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(16, 20)

_MODIFIERS = {TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG}
_FIXED_TAIL = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}
_MEMBER_SIZE = {STRUCT: 12, UNION: 12, ENUM: 8, FUNC_PROTO: 8, DATASEC: 12, ENUM64: 12}
_SIGNED = 1 << 24  # a bit of the word that follows an INT


@dataclass(frozen=True)
class Field:
    """Position and type of a struct's member.

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
    """Types of a kernel, or of one of its modules, which can be found by kind and name.

    Parameters
    ----------
    raw : bytes
        The contents of a BTF file, native byte order.
    base : Btf, optional
        For a module: the kernel's types. A module's ids and string offsets continue those of the kernel.

    Raises
    ------
    NotTraceable
        The bytes are not BTF.
    """

    def __init__(self, raw: bytes, base: Btf | None = None):
        if len(raw) < 24 or struct.unpack_from("<H", raw)[0] != 0xEB9F:
            raise NotTraceable(
                "the kernel's type information cannot be read",
                why=f"{VMLINUX} does not start with the BTF magic number",
                fix="boot a kernel built with CONFIG_DEBUG_INFO_BTF=y",
            )
        self._raw = raw
        hdr_len, type_off, type_len, str_off, self._strings_len = struct.unpack_from("<IIIII", raw, 4)
        self._strings, self._base = hdr_len + str_off, base
        self._first_id: int = len(base._offsets) if base else 0
        self._first_string: int = base._strings_len if base else 0
        self._offsets: array[int] = self._index(hdr_len + type_off, type_len)
        at = np.asarray(self._offsets, np.int64) >> 2
        self._names, kinds = self._words[at], self._words[at + 1] >> 24 & 0x1F
        self._kinds = kinds.astype(np.uint8)
        if not base:
            self._kinds[0] = 0  # type 0 is void and not in the file

    @property
    def _words(self) -> np.ndarray:
        return np.frombuffer(self._raw, "<u4", len(self._raw) // 4)

    def _index(self, start: int, length: int) -> array[int]:
        """Return the position of every type in the file, in bytes."""
        words, offsets = array("I", self._raw[: (start + length) // 4 * 4]), array("I", [] if self._base else [0])
        at, end = start // 4, (start + length) // 4
        sizes = [3 + _FIXED_TAIL.get(kind, 0) // 4 for kind in range(32)]
        each = [_MEMBER_SIZE.get(kind, 0) // 4 for kind in range(32)]
        while at < end:
            info = words[at + 1]
            offsets.append(4 * at)
            kind = info >> 24 & 0x1F
            at += sizes[kind] + (info & 0xFFFF) * each[kind]
        return offsets

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the type information, hexadecimal: it identifies a build of the kernel."""
        return hashlib.sha256(self._raw).hexdigest()

    def _string(self, offset: int) -> str:
        if self._base and offset < self._first_string:
            return self._base._string(offset)
        start = self._strings + offset - self._first_string
        return self._raw[start : self._raw.index(b"\0", start)].decode()

    def _head(self, type_id: int) -> tuple[str, int, int, int]:
        """Return (name, kind, vlen, size or referred type id) of a type."""
        raw, at = self._place(type_id)
        name_off, info, size = struct.unpack_from("<III", raw, at)
        return self._string(name_off), (info >> 24) & 0x1F, info & 0xFFFF, size

    def _place(self, type_id: int) -> tuple[bytes, int]:
        """Return the file and the position in it where a type is described."""
        if self._base and type_id < self._first_id:
            return self._base._place(type_id)
        return self._raw, self._offsets[type_id - self._first_id]

    def id_of(self, kind: int, name: str) -> int | None:
        """Return the id of the first type of a kind and name; a module's own types only.

        Parameters
        ----------
        kind : int
            `STRUCT`, `FUNC` and so on.
        name : str
            The type's name.

        Returns
        -------
        int or None
            None if there is no such type.
        """
        known = self._kinds == kind
        for offset in self._string_offsets(name):
            found = np.flatnonzero(known & (self._names == offset))
            if len(found):
                return self._first_id + int(found[0])
        return None

    def _string_offsets(self, name: str) -> list[int]:
        """Return the string offsets of a name; a module may use strings of the kernel."""
        at = self._raw.find(b"\0" + name.encode() + b"\0", self._strings)
        own = [at + 1 - self._strings + self._first_string] if at >= 0 and name else []
        return (self._base._string_offsets(name) if self._base else []) + own

    def names(self, kind: int) -> list[str]:
        """Return the names of all types of a kind."""
        return [self._string(int(offset)) for offset in np.unique(self._names[self._kinds == kind])]

    def kind(self, type_id: int) -> int:
        """Return a type's kind: `INT`, `PTR` and so on."""
        return self._head(type_id)[1]

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
            elem, count = self.element(type_id)
            return count * self.size_of(elem)
        return size

    def element(self, type_id: int) -> tuple[int, int]:
        """Return the type id of an array's elements, and their number."""
        raw, at = self._place(type_id)
        elem, _, count = struct.unpack_from("<III", raw, at + 12)
        return elem, count

    def c_type(self, type_id: int) -> str:
        """Return the C type of a number or a pointer, empty for other types.

        Numbers are ``u8`` to ``s64``. A pointer is ``void *`` unless it points to a struct or a number.
        """
        _, kind, _, size = self._head(type_id := self.resolve(type_id))
        if kind == PTR:
            struct_name = self.pointee(type_id)
            target = "" if struct_name or not size else self.c_type(size)
            return f"struct {struct_name} *" if struct_name else f"{target or 'void'} *".replace("* *", "**")
        if kind not in (INT, ENUM, ENUM64) or size not in (1, 2, 4, 8):
            return ""
        raw, at = self._place(type_id)
        signed = kind == INT and struct.unpack_from("<I", raw, at + 12)[0] & _SIGNED
        return f"{'s' if signed else 'u'}{8 * size}"

    def pointee(self, type_id: int) -> str | None:
        """Return the name of the struct that a pointer points to, None for any other type."""
        name, kind, _, target = self._head(self.resolve(type_id))
        if kind != PTR or not target:
            return None
        name, kind, _, _ = self._head(self.resolve(target))
        return name if kind == STRUCT else None

    def fields(self, struct_name: str, whole_bytes: bool = False) -> dict[str, Field]:
        """Return a struct's members by name, including those of anonymous members.

        Parameters
        ----------
        struct_name : str
            For instance ``"sk_buff"``.
        whole_bytes : bool
            Include bit fields of whole bytes at a byte offset; `Field.size_bytes` is then the size of their type.

        Returns
        -------
        dict of str to Field
            Without other bit fields, which have no byte offset.

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
        return self.fields_of(type_id, whole_bytes)

    def fields_of(self, type_id: int, whole_bytes: bool = False) -> dict[str, Field]:
        """Return the members of a struct or union by name, as `fields` does.

        Parameters
        ----------
        type_id : int
            Id of the struct or union, or of a typedef or qualifier of it.
        whole_bytes : bool
            As in `fields`.

        Returns
        -------
        dict of str to Field
        """
        return dict(self._walk(self.resolve(type_id), 0, whole_bytes))

    def _walk(self, type_id: int, base: int, whole_bytes: bool) -> Iterator[tuple[str, Field]]:
        vlen = self._head(type_id)[2]
        bitfields = self._info_flag(type_id)
        for name_off, member, offset in self._members(type_id, vlen, "<III"):
            bits = offset >> 24 if bitfields else 0
            if bits and not (whole_bytes and bits % 8 == 0 and offset % 8 == 0):
                continue
            at = base + (offset & 0xFFFFFF if bitfields else offset) // 8
            if name_off:
                yield self._string(name_off), Field(at, self.size_of(member), member)
            else:
                yield from self._walk(self.resolve(member), at, whole_bytes)

    def _info_flag(self, type_id: int) -> bool:
        raw, at = self._place(type_id)
        return bool(struct.unpack_from("<I", raw, at + 4)[0] >> 31)

    def _members(self, type_id: int, vlen: int, fmt: str) -> Iterator[tuple[int, ...]]:
        raw, at = self._place(type_id)
        return struct.iter_unpack(fmt, raw[at + 12 : at + 12 + vlen * struct.calcsize(fmt)])

    def enum(self, name: str) -> dict[int, str]:
        """Return an enum's names by value, empty if there is no such enum."""
        type_id = self.id_of(ENUM, name)
        if type_id is None:
            return {}
        vlen = self._head(type_id)[2]
        return {value: self._string(off) for off, value in self._members(type_id, vlen, "<Ii")}

    def tracepoint(self, name: str) -> int | None:
        """Return the id of a tracepoint's type, which programs are loaded with, or None if there is none."""
        return self.id_of(TYPEDEF, f"btf_trace_{name}")

    def arguments(self, tracepoint: str) -> list[str | None]:
        """Return the names of the structs that a tracepoint's arguments point to, None for other arguments."""
        type_id = self.tracepoint(tracepoint)
        if type_id is None:
            return []
        return self._parameters(self._head(self.resolve(type_id))[3])[1:]  # without the tracepoint's own data

    def parameters(self, function: str) -> list[str | None]:
        """Return the names of the structs that a function's parameters point to, None for other parameters."""
        type_id = self.id_of(FUNC, function)
        return [] if type_id is None else self._parameters(self._head(type_id)[3])

    def _parameters(self, proto: int) -> list[str | None]:
        proto = self.resolve(proto)
        params = self._members(proto, self._head(proto)[2], "<II")
        return [self.pointee(member) if member else None for _, member in params]


@lru_cache(maxsize=1)
def vmlinux() -> Btf:
    """Return the running kernel's types.

    Raises
    ------
    NotTraceable
        The kernel provides no BTF.
    """
    try:
        return Btf(VMLINUX.read_bytes())
    except OSError as error:
        raise NotTraceable(
            "this kernel has no type information (BTF)",
            why=f"{VMLINUX}: {error.strerror}",
            fix="boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (Debian 11, Ubuntu 20.10 or newer have it)",
        ) from error
