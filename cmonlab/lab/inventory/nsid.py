"""Which namespace the other end of a veth pair is in.

An ifindex is unique within its namespace only. The kernel says in which namespace the other end is with an id
(``IFLA_LINK_NETNSID``), but every namespace numbers the others in its own way. So each namespace is asked once for its
ids of the other ones (RTM_GETNSID).
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ..netns import inside

if TYPE_CHECKING:
    from .follow import Followed

_SIOCGSKNS = 0x894C  # returns a file descriptor of a socket's namespace (linux/sockios.h)
_GETNSID, _NEWNSID, _REQUEST = 90, 88, 1
_NSID, _FD = 1, 3  # NETNSA_…


def resolve_peer_namespaces(followed: Collection[Followed]) -> None:
    """Find out in which of the followed namespaces the other ends of interfaces are.

    Parameters
    ----------
    followed : collection of Followed
        Closed ones do not change. The host's namespace should be first, because most other ends are there.
    """
    alive = [one for one in followed if one.fileno() >= 0]
    asking = [one for one in alive if one.interfaces.unresolved_nsids()]
    if not asking:
        return
    handles: dict[int, int] = {}
    try:
        with suppress(OSError):  # an unprivileged process follows its own namespace only and needs no ids
            for one in alive:
                handles[one.netns] = fcntl.ioctl(one.fileno(), _SIOCGSKNS)
        for one in asking:
            others = {netns: handle for netns, handle in handles.items() if netns != one.netns}
            if one.netns in handles:
                ask = partial(_ask, others, one.interfaces.unresolved_nsids())
                one.interfaces.add_nsid_mapping(inside(handles[one.netns], ask))
    finally:
        for handle in handles.values():
            os.close(handle)


def _ask(others: Mapping[int, int], wanted: Collection[int]) -> dict[int, int]:
    """Return id → inode number of those namespaces that have a wanted id in the current namespace.

    Parameters
    ----------
    others : mapping of int to int
        Inode number → file descriptor of the namespaces to try.
    wanted : collection of int
        Ids.
    """
    found: dict[int, int] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asking:
        asking.bind((0, 0))
        for netns, handle in others.items():
            if found.keys() >= set(wanted):
                break
            if (nsid := _nsid(asking, handle)) in wanted:
                found[nsid] = netns
    return found


def _nsid(asking: socket.socket, handle: int) -> int:
    """Return the current namespace's id of another one, -1 if it has none (rtnetlink(7), RTM_GETNSID)."""
    question = struct.pack("=BxxxHHI", socket.AF_UNSPEC, 8, _FD, handle)
    asking.send(struct.pack("=IHHII", 16 + len(question), _GETNSID, _REQUEST, 0, 0) + question)
    answer = asking.recv(1 << 13)
    kind = struct.unpack_from("=4xH", answer)[0]
    at = 20  # after the headers of netlink (16 bytes) and of the message (4 bytes)
    while kind == _NEWNSID and at + 4 <= len(answer):
        size, name = struct.unpack_from("=HH", answer, at)
        if name == _NSID:
            return struct.unpack_from("=i", answer, at + 4)[0]
        at += (size + 3) & ~3
    return -1
