"""Which namespace the other end of an interface is in: what a namespace calls others is a number of its own."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from ..netns import inside

if TYPE_CHECKING:
    from .follow import Followed

_SIOCGSKNS = 0x894C  # the namespace of a socket, as a file descriptor
_GETNSID, _NEWNSID, _REQUEST = 90, 88, 1
_NSID, _FD = 1, 3  # NETNSA_…


def introduce(followed: Collection[Followed]) -> None:
    """Tell interfaces which of the followed namespaces their other ends are in.

    An ifindex is unique within its namespace only, and what netlink calls the namespace of
    a veth's other end (``IFLA_LINK_NETNSID``) means something only in the namespace that
    says so. So each is asked what it calls the others, once.

    Parameters
    ----------
    followed : collection of Followed
        Those that are closed are left as they are. The host's namespaces first, as most
        other ends are there.
    """
    alive = [one for one in followed if one.fileno() >= 0]
    asking = [one for one in alive if one.interfaces.strangers()]
    if not asking:
        return
    handles: dict[int, int] = {}
    try:
        with suppress(OSError):  # without privileges only one's own namespace is followed, and nothing to be told
            for one in alive:
                handles[one.netns] = fcntl.ioctl(one.fileno(), _SIOCGSKNS)
        for one in asking:
            others = {netns: handle for netns, handle in handles.items() if netns != one.netns}
            wanted = one.interfaces.strangers()
            if one.netns in handles:
                found = inside(handles[one.netns], lambda others=others, wanted=wanted: _ask(others, wanted))
                one.interfaces.meet(found)
    finally:
        for handle in handles.values():
            os.close(handle)


def _ask(others: Mapping[int, int], wanted: Collection[int]) -> dict[int, int]:
    """Return which namespaces have the wanted numbers in the one that we are in.

    Parameters
    ----------
    others : mapping of int to int
        Inode number → file descriptor of each that may.
    wanted : collection of int
    """
    found: dict[int, int] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as asking:
        asking.bind((0, 0))
        for netns, handle in others.items():
            if found.keys() >= set(wanted):
                break
            if (number := _number(asking, handle)) in wanted:
                found[number] = netns
    return found


def _number(asking: socket.socket, handle: int) -> int:
    """Ask for one (rtnetlink(7), RTM_GETNSID)."""
    question = struct.pack("=BxxxHHI", socket.AF_UNSPEC, 8, _FD, handle)
    asking.send(struct.pack("=IHHII", 16 + len(question), _GETNSID, _REQUEST, 0, 0) + question)
    answer = asking.recv(1 << 13)
    kind = struct.unpack_from("=4xH", answer)[0]
    at = 20  # behind the headers of netlink and of the message
    while kind == _NEWNSID and at + 4 <= len(answer):
        size, name = struct.unpack_from("=HH", answer, at)
        if name == _NSID:
            return struct.unpack_from("=i", answer, at + 4)[0]
        at += (size + 3) & ~3
    return -1
