"""The include tree that lets bcc compile without kernel headers.

bcc requires a kernel source tree. It gets a small one, which points to the user-space headers of ``linux-libc-dev``,
and ``kernel.h``: the few kernel structs that the programs read, with each member at its offset in the running kernel,
which BTF gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count, groupby
from pathlib import Path
from types import MappingProxyType

from cmonlab.errors import NotTraceable

from .btf import Btf

#: Struct → member → C type. A member of an embedded struct is written with dots, and "+8" means 8 bytes after the
#: beginning of a member; in C both become underscores.
STRUCTS: dict[str, dict[str, str]] = {
    "net": {"ns.inum": "unsigned int"},
    "net_device": {
        "ifindex": "int",
        "nd_net.net": "struct net *",
        "priv_flags": "unsigned int",  # may be a bit field, see differences.py
        "rx_handler": "void *",
    },
    "nsproxy": {"net_ns": "struct net *"},
    "task_struct": {"nsproxy": "struct nsproxy *"},
    "sock": {
        "__sk_common.skc_daddr": "unsigned int",
        "__sk_common.skc_rcv_saddr": "unsigned int",
        "__sk_common.skc_family": "unsigned short",
        "__sk_common.skc_num": "unsigned short",
        "__sk_common.skc_v6_daddr": "u64",
        "__sk_common.skc_v6_daddr+8": "u64",
        "__sk_common.skc_v6_rcv_saddr": "u64",
        "__sk_common.skc_v6_rcv_saddr+8": "u64",
        "__sk_common.skc_dport": "unsigned short",
        "__sk_common.skc_net.net": "struct net *",
        "sk_protocol": "unsigned short",
    },
    "sk_buff": {
        "dev": "struct net_device *",
        "sk": "struct sock *",
        "len": "unsigned int",
        "protocol": "unsigned short",
        "network_header": "unsigned short",
        "tail": "unsigned int",
        "end": "unsigned int",
        "head": "unsigned char *",
        "data": "unsigned char *",
    },
}

_KCONFIG = """\
#define CONFIG_BPF_SYSCALL 1
#define PAGE_SIZE 4096
#define NULL ((void *)0)
typedef unsigned char u8; typedef signed char s8;
typedef unsigned short u16; typedef short s16;
typedef unsigned int u32; typedef int s32;
typedef unsigned long long u64; typedef long long s64;
typedef unsigned long size_t; typedef unsigned long uintptr_t; typedef _Bool bool;
struct pt_regs { unsigned long unused[64]; };
"""

_LIBC = "linux-libc-dev (apt install linux-libc-dev)"


def system_headers() -> tuple[Path, Path]:
    """Find the user-space kernel headers.

    Returns
    -------
    system, asm : Path
        The directory that has ``linux/types.h``, and the one that is included as ``asm``.

    Raises
    ------
    NotTraceable
        The headers are not installed.
    """
    system = Path("/usr/include")
    asm = next((path for path in (*system.glob("*-linux-gnu/asm"), system / "asm") if path.is_dir()), None)
    if asm is None or not (system / "linux/types.h").exists():
        raise NotTraceable(
            "the eBPF programs cannot be compiled", why=f"there is no {system}/linux", fix=f"install {_LIBC}"
        )
    return system, asm


def write_tree(root: Path) -> None:
    """Write the include tree below `root`, for ``BCC_KERNEL_SOURCE``.

    Parameters
    ----------
    root : Path
        An empty directory.

    Raises
    ------
    NotTraceable
        The user-space kernel headers are not installed.
    """
    system, asm = system_headers()
    include = root / "include"
    _link_all(system / "linux", include / "linux")
    _link_all(system / "linux", include / "uapi/linux")
    _link_all(asm, include / "asm")
    (include / "asm-generic").symlink_to(system / "asm-generic")
    for name, text in {
        "linux/kconfig.h": _KCONFIG,
        "linux/log2.h": "",
        "linux/bpf.h": "",  # bcc brings its own copy
        "uapi/linux/bpf.h": "",
        "asm/page.h": "",
    }.items():
        path = include / name
        path.unlink(missing_ok=True)
        path.write_text(text)


def _link_all(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for entry in source.iterdir():
        (target / entry.name).symlink_to(entry)


@dataclass(frozen=True)
class Member:
    """A member of a kernel struct, or of structs embedded in it.

    Attributes
    ----------
    path : tuple of str
        Names of the embedded structs, then the member's own name.
    offset_bytes : tuple of int
        Offset of each name of `path` in its struct.
    ctype : str
        The member's C type; of an array, the type of its elements.
    count : int
        Number of elements of an array, 0 for other members.
    """

    path: tuple[str, ...]
    offset_bytes: tuple[int, ...]
    ctype: str
    count: int = 0


Members = Mapping[str, Sequence[Member]]
NO_MEMBERS: Members = MappingProxyType({})


def kernel_header(btf: Btf, members: Members = NO_MEMBERS) -> str:
    """Return ``kernel.h``: definitions of structs with every member at its offset in the kernel.

    Parameters
    ----------
    btf : Btf
        The kernel's types.
    members : mapping of str to sequence of Member
        By struct: members besides those of `STRUCTS`.

    Returns
    -------
    str
        C code; the compiler checks the offsets.

    Raises
    ------
    NotTraceable
        This kernel lacks a struct or member.
    """
    names = dict.fromkeys([*STRUCTS, *members])
    pointed = (re.findall(r"struct (\w+)", member.ctype) for ones in members.values() for member in ones)
    forward = "".join(f"struct {name};\n" for name in dict.fromkeys([*names, *chain(*pointed)]))
    parts = (_struct(btf, name, STRUCTS.get(name, {}), members.get(name, ())) for name in names)
    return forward + "".join(parts)


def offset_of(btf: Btf, struct: str, member: str) -> int:
    """Return the offset of a member.

    Parameters
    ----------
    btf : Btf
        The kernel's types.
    struct : str
        Name of a struct.
    member : str
        Name of the member: with dots for embedded structs, with ``+n`` at the end for n bytes after its beginning.

    Returns
    -------
    int
        Bytes from the beginning of the struct.

    Raises
    ------
    NotTraceable
        This kernel lacks the struct or the member.
    """
    path, _, behind = member.partition("+")
    fields, base = btf.fields(struct, whole_bytes=True), int(behind or 0)
    *outer, last = path.split(".")
    for name in outer:
        field = fields.get(name)
        if field is None:
            raise _missing(struct, member)
        base += field.offset_bytes
        fields = btf.fields_of(field.type_id)
    if last not in fields:
        raise _missing(struct, member)
    return base + fields[last].offset_bytes


def _missing(struct: str, member: str) -> NotTraceable:
    return NotTraceable(
        f"this kernel's struct {struct} has no member {member}",
        why="cmonlab does not know this kernel version's layout",
        fix="report the kernel version (uname -r)",
    )


def _identifier(member: str) -> str:
    return member.replace(".", "_").replace("+", "_")


_SIZES = {"unsigned int": 4, "int": 4, "unsigned short": 2}


def _struct(btf: Btf, name: str, members: dict[str, str], more: Sequence[Member] = ()) -> str:
    placed = sorted((offset_of(btf, name, m), _identifier(m), t) for m, t in members.items())
    lines, at = [], 0
    for offset, member, ctype in placed:
        if offset > at:
            lines.append(f"\tchar _pad{at}[{offset - at}];")
        lines.append(f"\t{ctype}{'' if ctype.endswith('*') else ' '}{member};")
        at = offset + _SIZES.get(ctype, 8)
    body = "\n".join(lines)
    more = [member for member in more if member.path[0] not in {m for _, m, _ in placed}]
    if more:
        body = f"union {{ struct {{\n{body}\n}};\n{_union_of(more, 0, count())}}};"
    named = [(m, o) for o, m, _ in placed] + [(".".join(m.path), sum(m.offset_bytes)) for m in more]
    checks = "".join(
        f'_Static_assert(__builtin_offsetof(struct {name}, {m}) == {o}, "{name}.{m}");\n' for m, o in named
    )
    return f"struct {name} {{\n{body}\n}};\n{checks}"


def _union_of(members: Sequence[Member], level: int, numbers: Iterator[int]) -> str:
    """Return members as parts of a union, each after as many bytes as its offset.

    So they may come in any order, and may overlap.
    """
    text = ""
    for name, group in groupby(sorted(set(members), key=lambda m: m.path), key=lambda m: m.path[level]):
        first, *others = group
        if len(first.path) > level + 1:
            inner = _union_of([first, *others], level + 1, numbers)
            declared = f"struct {{ union {{\n{inner}}}; }} {name}"
        else:
            declared = f"{first.ctype} {name}" + (f"[{first.count}]" if first.count else "")
        offset = first.offset_bytes[level]
        text += f"struct {{ {f'char _behind{next(numbers)}[{offset}]; ' if offset else ''}{declared}; }};\n"
    return text
